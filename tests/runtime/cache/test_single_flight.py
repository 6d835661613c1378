"""One load for all callers that want the same key at the same time."""

import asyncio

import pytest

from callboard.runtime.cache.local import LocalCache
from callboard.runtime.cache.single_flight import SingleFlight
from callboard.runtime.cache.tiers import TieredCache


class Source:
    """A load that waits for the test."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.calls = 0
        self.cancelled = 0
        self.error: Exception | None = None
        self.value: bytes | None = b"value"

    async def __call__(self) -> bytes | None:
        self.calls += 1
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.value


async def test_many_misses_load_once_and_a_cancelled_waiter_affects_no_other() -> None:
    cache, source = TieredCache(LocalCache()), Source()
    waiters = [asyncio.ensure_future(cache.get_or_load("k", source, 60)) for _ in range(20)]
    await asyncio.wait_for(source.begun.wait(), 5)
    waiters[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiters[0]
    source.go.set()
    assert await asyncio.wait_for(asyncio.gather(*waiters[1:]), 5) == [b"value"] * 19
    assert source.calls == 1
    assert cache.statistics().loads_shared == 19
    assert await cache.get_many(["k"]) == [b"value"]


async def test_without_waiters_the_load_is_cancelled_and_the_next_starts_again() -> None:
    flights, source = SingleFlight[bytes | None](), Source()
    waiters = [asyncio.ensure_future(flights.load("k", source)) for _ in range(3)]
    await asyncio.wait_for(source.begun.wait(), 5)
    for waiter in waiters:
        waiter.cancel()
    source.go.set()
    assert await asyncio.wait_for(flights.load("k", source), 5) == b"value"
    assert source.calls == 2
    assert source.cancelled == 1
    assert not flights._flights
    assert not flights._waiting


async def test_a_failure_is_shared_once_and_not_remembered() -> None:
    cache, source = TieredCache(LocalCache()), Source()
    source.error = ValueError("broken")
    waiters = [asyncio.ensure_future(cache.get_or_load("k", source, 60)) for _ in range(3)]
    await asyncio.wait_for(source.begun.wait(), 5)
    source.go.set()
    outcomes = await asyncio.wait_for(asyncio.gather(*waiters, return_exceptions=True), 5)
    assert all(outcome is source.error for outcome in outcomes)
    source.error = None
    assert await cache.get_or_load("k", source, 60) == b"value"
    assert source.calls == 2
    assert cache.statistics().loads_failed == 1


async def test_a_miss_is_not_remembered() -> None:
    cache, source = TieredCache(LocalCache()), Source()
    source.value = None
    source.go.set()
    assert await cache.get_or_load("k", source, 60) is None
    source.value = b"now"
    assert await cache.get_or_load("k", source, 60) == b"now"


async def test_a_load_that_takes_too_long_ends() -> None:
    flights, source = SingleFlight[bytes | None](timeout_s=0.01), Source()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flights.load("k", source), 5)


async def test_a_write_during_the_load_is_not_replaced_by_the_loaded_value() -> None:
    cache, source = TieredCache(LocalCache()), Source()
    waiter = asyncio.ensure_future(cache.get_or_load("k", source, 60))
    await asyncio.wait_for(source.begun.wait(), 5)
    await cache.set_many({"k": b"newer"}, 60)
    source.go.set()
    assert await asyncio.wait_for(waiter, 5) == b"value"
    assert await cache.get_many(["k"]) == [b"newer"]
