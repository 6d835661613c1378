"""Aggregators as keyed actors: found by shard, restored from their store, and read by queries."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from callboard.actors.kernel.props import props
from callboard.actors.metrics.aggregation.actor import MetricsAggregator
from callboard.actors.metrics.aggregation.messages import (
    ReadLate,
    ReadShard,
    StageCommit,
)
from callboard.actors.metrics.aggregation.reader import AggregatorsReader, SystemReader
from callboard.actors.metrics.aggregation.storage import RemoteStorage
from callboard.actors.metrics.aggregation.store_actor import MetricsStoreActor
from callboard.actors.metrics.points import AppendPoints
from callboard.actors.metrics.ports import ShardState
from callboard.actors.metrics.rows import WINDOWS_NS, WindowRows
from callboard.actors.metrics.series import Matcher, MatcherKind
from callboard.messages.core.errors import UsageError, error_from_data
from callboard.messages.core.ref import Ref
from callboard.messages.storage.errors import StoreUnavailable, WriterFenced
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.metrics import SystemMetrics, open_windows
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System
from callboard.runtime.stores.choose import metrics_storage

from .faulty_storage import ALWAYS, BEGIN_NS, SECOND_NS, Clock, batch_of
from .window_rows import SERIES, Window, contents, rows_of

MINUTE_NS = WINDOWS_NS[0]
ALL = 1_000_000


@pytest.fixture
async def system() -> AsyncIterator[System]:
    async with start(engine="inline", hosts=2) as started:
        yield started


async def aggregators(system: System, store: Any, clock: Clock | None = None) -> Any:
    made = props(MetricsAggregator, store, clock_ns=clock or Clock.start())
    return await system.keyed(made, idle_s=1e9)


async def store_actor(system: System, url: str) -> Ref[Any]:
    return await system.spawn(props(MetricsStoreActor, partial(metrics_storage, url)), host=1)


async def test_points_reach_their_shard_and_are_durable_when_it_answers(
    system: System, tmp_path: Path
) -> None:
    path = str(tmp_path / "windows.db")
    await aggregators(system, await store_actor(system, path))
    for shard in range(4):
        answer = await system.ask(AppendPoints(shard=shard, batch=batch_of([1, 2, 3])))
        assert answer.sequence == 3
    figures = [await system.ask(ReadShard(shard=shard)) for shard in range(4)]
    assert [each.figures["counted"] for each in figures] == [3, 3, 3, 3]
    again = metrics_storage(path)
    again.open()
    assert all(again.claim(shard, 2**62).log for shard in range(4))
    again.close()


async def test_a_passivated_shard_goes_on_where_it_was(system: System) -> None:
    store = await store_actor(system, "memory:")
    first = await aggregators(system, store)
    await first.ask(AppendPoints(shard=0, batch=batch_of([1, 2])))
    await first.stop()
    second = await aggregators(system, store)
    assert (await second.ask(AppendPoints(shard=0, batch=batch_of([1, 2])))).sequence == 2
    assert (await second.ask(AppendPoints(shard=0, batch=batch_of([3], sequence=2)))).sequence == 3
    rows = await AggregatorsReader(system.ask, 1).windows((), MINUTE_NS, *ALWAYS, ALL)
    assert int(rows.counts.sum()) == 3


async def test_queries_see_the_newest_windows_of_all_shards(system: System) -> None:
    store = await store_actor(system, "memory:")
    clock = Clock.start()
    await aggregators(system, store, clock)
    for shard in range(3):
        await system.ask(AppendPoints(shard=shard, batch=batch_of([1, 61], series=[shard] * 2)))
    reader = SystemReader(AggregatorsReader(system.ask, 3), RemoteStorage(store))
    rows = await reader.windows((), MINUTE_NS, *ALWAYS, ALL)
    assert [len(rows), int(rows.counts.sum()), len(rows.series)] == [6, 6, 3]
    one = [Matcher("n", MatcherKind.IS, "1")]
    assert len(await reader.windows(one, MINUTE_NS, *ALWAYS, ALL)) == 2
    assert [key.tag("n") for key in await reader.series(one, *ALWAYS, ALL)] == ["1"]
    assert set(await reader.extents()) == set(WINDOWS_NS)
    with pytest.raises(UsageError):
        await reader.windows((), MINUTE_NS, *ALWAYS, 5)
    with pytest.raises(UsageError):
        await reader.series((), *ALWAYS, 2)


async def test_a_query_of_the_present_needs_no_store(system: System) -> None:
    class Unused:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            raise AssertionError(f"the store is asked for {name}")

    clock = Clock.start()
    await aggregators(system, partial(metrics_storage, "memory:"), clock)
    await system.ask(AppendPoints(shard=0, batch=batch_of([70])))
    reader = SystemReader(AggregatorsReader(system.ask, 1), Unused())
    from_ns = BEGIN_NS + 60 * SECOND_NS
    rows = await reader.windows((), MINUTE_NS, from_ns, from_ns + MINUTE_NS, ALL)
    assert int(rows.counts.sum()) == 1


async def test_late_points_can_be_read(system: System) -> None:
    clock = Clock.start()
    await aggregators(system, await store_actor(system, "memory:"), clock)
    await system.ask(AppendPoints(shard=0, batch=batch_of([1])))
    clock.pass_s(3_600)
    await system.ask(AppendPoints(shard=0, batch=batch_of([3_599], sequence=1)))
    late = batch_of([5, 6, 7], sequence=2, watermark_s=3_599)
    await system.ask(AppendPoints(shard=0, batch=late))
    read = await system.ask(ReadLate(shard=0, limit=2))
    assert read.times_ns.tolist() == [BEGIN_NS + 6 * SECOND_NS, BEGIN_NS + 7 * SECOND_NS]
    assert [read.values.tolist(), len(read.series), read.index.tolist()] == [[1, 1], 2, [0, 1]]


# --- the store behind an actor --------------------------------------------------------------


async def test_a_large_commit_travels_in_parts(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("storage", "store_actor"):
        monkeypatch.setattr(f"callboard.actors.metrics.aggregation.{module}.PART_BYTES", 1_000)
    storage = RemoteStorage(await store_actor(system, "memory:"))
    rows = rows_of([Window(key, 0, (1.0, 2.0)) for key in SERIES])
    state = np.random.default_rng(1).bytes(10_500)
    assert await storage.claim(0, 1) == ShardState(b"", ())
    await storage.commit(0, 1, state=state, windows=[rows])
    await storage.commit(0, 1, log=state[:2_000])
    await storage.commit(0, 1, log=b"short")
    assert await storage.claim(0, 1) == ShardState(state, (state[:2_000], b"short"))
    assert contents(await storage.windows((), MINUTE_NS, *ALWAYS, ALL)) == sorted(
        contents(rows), key=lambda row: row[0]
    )
    assert len(await storage.series((), *ALWAYS, ALL)) == len(SERIES)
    assert set(await storage.extents()) == {MINUTE_NS}
    with pytest.raises(WriterFenced):
        await storage.commit(0, 0, state=state)


async def test_a_part_that_is_lost_is_an_error_without_an_effect(system: System) -> None:
    store = await store_actor(system, "memory:")
    storage = RemoteStorage(store)
    await storage.claim(0, 1)
    answer = await store.ask(StageCommit(shard=0, fence=1, number=1, data=b"x"))
    assert answer.failure is not None
    error = error_from_data(answer.failure)
    assert isinstance(error, StoreUnavailable)
    assert not error.may_have_run
    assert (await storage.claim(0, 1)).log == ()


# --- a system -------------------------------------------------------------------------------


JOBS = [Matcher("__name__", MatcherKind.IS, "jobs")]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_setting_starts_metrics_and_its_store_is_read_afterwards(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # Requested here, so that the other store starts no server.
    is_file = kind == "sqlite"
    url = str(tmp_path / "windows.db") if is_file else request.getfixturevalue("postgres_url")
    async with start(engine="inline", hosts=2, metrics=url) as system:
        counter = system.meter.bind_counter("jobs", kind="a")
        for _ in range(5):
            counter.add(1)
        assert await system.metrics.flush() == 0
        rows = await system.metrics.reader.windows(JOBS, MINUTE_NS, *ALWAYS, ALL)
        assert float(rows.sums.sum()) == 5.0
        figures = await system.metrics.figures()
        assert sum(each.figures["counted"] for each in figures) >= 1
    async with open_windows(url) as reader:
        rows = await reader.windows(JOBS, MINUTE_NS, *ALWAYS, ALL)
        assert float(rows.sums.sum()) == 5.0, "windows that were open at the end, too"


async def test_a_system_without_the_setting_says_so(system: System) -> None:
    with pytest.raises(UsageError, match="metrics"):
        _ = system.metrics


async def followed(system: System) -> None:
    """Wait until the aggregator has a follower."""
    while not (await system.ask(ReadShard(shard=0))).figures["followers"]:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_followers_get_closed_windows(system: System) -> None:
    clock = Clock.start()
    made = await aggregators(system, await store_actor(system, "memory:"), clock)
    storage = RemoteStorage(made.refs[0])  # Not asked here.
    parts = (system, made.refs[0], made)
    metrics = SystemMetrics(system, host_of(system), "memory:", 1, storage, parts)
    seen: list[WindowRows] = []
    given = asyncio.Event()

    def subscriber(rows: WindowRows) -> None:
        seen.append(rows)
        given.set()

    await system.ask(AppendPoints(shard=0, batch=batch_of([1, 2])))
    async with asyncio.timeout(20.0), metrics.following(subscriber):
        await followed(system)
        clock.pass_s(3_600)
        await system.ask(AppendPoints(shard=0, batch=batch_of([3_599], sequence=2)))
        await given.wait()
    assert {rows.width_ns for rows in seen} >= {MINUTE_NS}
