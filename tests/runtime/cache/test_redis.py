"""Caches against a real Redis: the contract, a lost Redis, and two nodes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest

from callboard.messages.storage.stores import Cache
from callboard.runtime.cache.circuit import CircuitState
from callboard.runtime.cache.local import LocalCache
from callboard.runtime.cache.redis import KEY_S_MAX, RedisCache
from callboard.runtime.cache.tiers import TieredCache, open_cache
from tests.servers.redis_server import RedisServer

DEADLINE_S: Final = 20.0
CALL_S_MAX: Final = 0.3
SLACK_S: Final = 1.5
"""Allowance for a busy machine."""
STALE_S_MAX: Final = 0.4
LEFT: Final = """
local left = {}
for number, key in ipairs(redis.call('KEYS', '*jitter:*')) do
    left[number] = redis.call('PTTL', key)
end
return {ok = table.concat(left, ' ')}
"""
"""The remaining times of the keys of one test, in milliseconds, in one line."""


def versioned(number: int, text: bytes = b"") -> bytes:
    return number.to_bytes(8, "big") + text


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0.005)


def node(server: RedisServer, *, newest_wins: bool = True) -> TieredCache:
    return open_cache(
        server.url, newest_wins=newest_wins, stale_s_max=STALE_S_MAX, call_s_max=CALL_S_MAX
    )


def is_up(cache: TieredCache) -> bool:
    statistics = cache.statistics()
    assert statistics.redis is not None
    return (
        statistics.is_confirmed
        and statistics.subscriptions > statistics.subscriptions_lost
        and statistics.redis.state is CircuitState.CLOSED
    )


def redis_of(cache: TieredCache) -> RedisCache:
    assert cache.redis is not None
    return cache.redis


@pytest.fixture(params=["local", "redis", "tiers", "tiers_newest"])
async def cache(request: pytest.FixtureRequest, redis_server: RedisServer) -> AsyncIterator[Cache]:
    made: Cache
    match request.param:
        case "local":
            made = LocalCache()
        case "redis":
            made = RedisCache(redis_server.url, call_s_max=5.0)
        case kind:
            made = open_cache(redis_server.url, newest_wins=kind == "tiers_newest", call_s_max=5.0)
            assert isinstance(made, TieredCache)
            tiers = made
            await until(lambda: is_up(tiers), "the subscription stands")
    yield made
    await made.close()
    await made.close()


class TestContract:
    """The contract of the port, on every adapter."""

    async def test_values_come_back_in_the_order_asked_for(self, cache: Cache) -> None:
        await cache.set_many({"a": versioned(1), "b": versioned(2, b"\0\xff")}, 60)
        keys = ["b", "missing", "a", "b"]
        expected = [versioned(2, b"\0\xff"), None, versioned(1), versioned(2, b"\0\xff")]
        assert await cache.get_many(keys) == expected
        assert await cache.get_many([]) == []

    async def test_thousands_go_in_one_call(self, cache: Cache) -> None:
        values = {f"key-{number}": versioned(number) for number in range(2_345)}
        await cache.set_many(values, 60)
        assert await cache.get_many(list(values)) == list(values.values())
        await cache.delete_many(list(values))
        assert await cache.get_many(list(values)) == [None] * len(values)

    async def test_the_later_value_replaces(self, cache: Cache) -> None:
        await cache.set_many({"a": versioned(1)}, 60)
        await cache.set_many({"a": versioned(2)}, 60)
        assert await cache.get_many(["a"]) == [versioned(2)]

    async def test_no_value_outlives_its_time_to_live(self, cache: Cache) -> None:
        await cache.set_many({"a": versioned(1), "b": versioned(1)}, 0.3)
        asked_s = time.monotonic()
        await until(lambda: time.monotonic() >= asked_s + 0.3, "the time is over")
        assert await cache.get_many(["a", "b"]) == [None, None]

    async def test_a_time_to_live_of_zero_stores_nothing(self, cache: Cache) -> None:
        await cache.set_many({"a": versioned(1)}, 60)
        await cache.set_many({"a": versioned(2)}, 0)
        assert await cache.get_many(["a"]) == [None]


async def test_an_older_value_or_one_after_a_delete_is_refused(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.url, newest_wins=True, call_s_max=5.0)
    assert await cache.write({"a": versioned(7)}, 60) == []
    assert await cache.write({"a": versioned(6), "b": versioned(1)}, 60) == ["a"]
    assert await cache.get_many(["a", "b"]) == [versioned(7), versioned(1)]
    await cache.delete_many(["a"])
    assert await cache.write({"a": versioned(8)}, 60) == ["a"]
    assert await cache.get_many(["a"]) == [None]
    assert cache.statistics().refused_older == 2
    await cache.close()


async def test_values_cached_together_do_not_expire_together(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.url, call_s_max=5.0)
    names = [f"jitter:{number}" for number in range(200)]
    await cache.set_many(dict.fromkeys(names, b"x"), 3_600.0)
    left = redis_server.command("EVAL", LEFT, "0").removeprefix("+")
    left_ms = [int(each) for each in left.split()]
    assert len(left_ms) == len(names)
    assert max(left_ms) <= 3_600_000, "never later"
    assert min(left_ms) > 3_600_000 * 0.9 - DEADLINE_S * 1_000
    assert max(left_ms) - min(left_ms) > 3_600_000 * 0.1 / 2
    assert len(set(left_ms)) > 150
    await cache.close()


async def test_a_write_or_delete_reaches_the_local_tier_of_the_other_node(
    redis_server: RedisServer,
) -> None:
    one, two = node(redis_server), node(redis_server)
    await until(lambda: is_up(one) and is_up(two), "both listen")
    await one.set_many({"a": versioned(1)}, 60)
    assert await two.get_many(["a"]) == [versioned(1)]
    assert two.local.read(["a"]) == [versioned(1)]
    await one.set_many({"a": versioned(2)}, 60)
    await until(lambda: two.local.read(["a"]) == [None], "the old one is gone")
    assert await two.get_many(["a"]) == [versioned(2)]
    assert one.local.read(["a"]) == [versioned(2)], "the writer keeps its own"
    await two.delete_many(["a"])
    await until(lambda: one.local.read(["a"]) == [None], "the deleted one is gone")
    assert await one.get_many(["a"]) == [None]
    await one.close()
    await two.close()


async def test_a_flushed_redis_costs_only_speed(redis_server: RedisServer) -> None:
    cache = node(redis_server)
    await until(lambda: is_up(cache), "it listens")
    await cache.set_many({"a": versioned(1)}, 60)
    redis_server.flush()
    cache.local.clear()
    assert await cache.get_many(["a"]) == [None]
    await cache.set_many({"a": versioned(1)}, 60)
    assert await redis_of(cache).get_many(["a"]) == [versioned(1)]
    assert redis_of(cache).statistics().opened == 0
    await cache.close()


@pytest.mark.parametrize("loss", ["kill", "pause"])
async def test_a_redis_that_is_gone_or_hangs_costs_only_speed(
    redis_server: RedisServer, loss: str
) -> None:
    """An outdated value that Redis still holds after its return is not served either."""
    cache = node(redis_server)
    await until(lambda: is_up(cache), "it listens")
    await cache.set_many({"a": versioned(1), "b": versioned(1)}, 60)
    cache.local.clear()
    redis_server.kill() if loss == "kill" else redis_server.pause()
    for number in range(2, 12):
        began_s = time.monotonic()
        await cache.set_many({"a": versioned(number)}, 60)
        assert await cache.get_many(["a", "b"]) == [versioned(number), None]
        assert time.monotonic() - began_s < 2 * (CALL_S_MAX + 2 * KEY_S_MAX) + SLACK_S
    away = redis_of(cache).statistics()
    assert away.opened == 1
    assert away.timeouts + away.failures >= 1
    assert away.skipped >= 9, "only the first call was made"
    assert away.owed >= 1
    assert away.state is not CircuitState.CLOSED
    # No message of a write can reach this node, so it soon stops trusting its entries.
    await until(lambda: cache.statistics().subscriptions_lost == 1, "the loss is noticed")
    await until(lambda: not cache.statistics().is_confirmed, "the trust is over")
    set_s = time.monotonic()
    await until(lambda: time.monotonic() > set_s + STALE_S_MAX, "the bound is over")
    assert await cache.get_many(["a"]) == [None]
    redis_server.start() if loss == "kill" else redis_server.resume()
    await until(lambda: is_up(cache), "it is back")
    assert await cache.get_many(["a"]) == [None], "what it held was outdated"
    back = redis_of(cache).statistics()
    assert back.owed == 0
    assert back.repaid >= 1
    assert back.closed == 1
    assert back.probes >= 1
    await cache.set_many({"c": versioned(1)}, 60)
    cache.local.clear()
    assert await cache.get_many(["c"]) == [versioned(1)]
    await cache.close()


async def test_no_stale_value_beyond_the_bound_while_two_nodes_cannot_hear_each_other(
    redis_server: RedisServer,
) -> None:
    one, two = node(redis_server), node(redis_server)
    await until(lambda: is_up(one) and is_up(two), "both listen")
    await one.set_many({"a": versioned(1)}, 60)
    assert await two.get_many(["a"]) == [versioned(1)]
    redis_server.pause()
    await one.set_many({"a": versioned(2)}, 60)
    written_s = time.monotonic()
    await until(
        lambda: two.local.read(["a"], two._not_before_s(time.monotonic())) == [None],
        "the old value is not served any more",
    )
    assert time.monotonic() - written_s < STALE_S_MAX + SLACK_S
    assert await two.get_many(["a"]) == [None]
    redis_server.resume()
    await until(lambda: is_up(one) and is_up(two), "both are back")
    assert await two.get_many(["a"]) in ([None], [versioned(2)])
    await one.close()
    await two.close()
