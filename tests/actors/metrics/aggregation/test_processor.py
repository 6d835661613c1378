"""The whole way of points in one object: validated, enriched, in windows, durable, and readable."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.aggregation.processor import MetricsProcessor
from callboard.actors.metrics.aggregation.shard import ShardLimits
from callboard.actors.metrics.aggregation.storage import ThreadStorage
from callboard.actors.metrics.points import (
    MetricDataPoint,
    MetricSource,
    MetricTags,
    SourceKind,
)
from callboard.actors.metrics.rows import WINDOWS_NS, WindowRows
from callboard.actors.metrics.series import Matcher, MatcherKind
from callboard.messages.control.spec import Backoff
from callboard.messages.storage.errors import StoreFull, StoreUnavailable, WriterFenced
from callboard.runtime.stores.choose import metrics_storage
from tests.thoroughness import examples

from .faulty_storage import ALWAYS, BEGIN_NS, SECOND_NS, Clock, FaultyStorage

MINUTE_NS, HOUR_NS = WINDOWS_NS[0], WINDOWS_NS[2]
SOURCE = MetricSource(kind=SourceKind.SERVICE, name="shop")
ALL = 1_000_000
AT_ONCE = Backoff(min_s=0.0, max_s=0.0)
FAULTS = ("lost", "unlost", None)


def point(value: float, at_s: float = 0.0, name: str = "latency", **tags: str) -> MetricDataPoint:
    """One point; a tag `bad` has a name that is none."""
    tags = {name.replace("bad", "bad tag"): text for name, text in tags.items()}
    time_ns = BEGIN_NS + round(at_s * SECOND_NS)
    return MetricDataPoint(name, value, time_ns, MetricTags(service="shop", other=tags), SOURCE)


def storage_at(path: Path) -> ThreadStorage:
    return ThreadStorage(metrics_storage(str(path), durability="off"))


async def test_points_are_in_windows_and_can_be_read(tmp_path: Path) -> None:
    storage = storage_at(tmp_path / "windows.db")
    await storage.open()
    clock = Clock.start()
    values = np.random.default_rng(1).lognormal(0, 1, 2_000)
    async with MetricsProcessor(
        storage, shards=3, tags={"region": "eu", "service": "?"}, clock_ns=clock
    ) as processor:
        clock.pass_s(100)
        done = await processor.process(
            [point(float(v), n / 40, host=f"h{n % 7}") for n, v in enumerate(values)]
        )
        assert done == (2_000, {})
        rows = await processor.reader.windows((), HOUR_NS, *ALWAYS, ALL)
        assert int(rows.counts.sum()) == 2_000
        assert {key.tag("region") for key in rows.series} == {"eu"}
        assert {key.tag("service") for key in rows.series} == {"shop"}, "its own tag counts"
        one = [Matcher("host", MatcherKind.IS, "h3")]
        (metric,) = (await processor.reader.windows(one, HOUR_NS, *ALWAYS, ALL)).metrics()
        exact = np.quantile(values[3::7], 0.99, method="lower")
        assert metric.p99 == pytest.approx(exact, rel=0.0101)
        assert metric.average == pytest.approx(values[3::7].mean())
    rows = await storage.windows(one, MINUTE_NS, *ALWAYS, ALL)
    assert int(rows.counts.sum()) == len(values[3::7]), "stored, also what was open"
    await storage.close()


async def test_a_later_processor_goes_on(tmp_path: Path) -> None:
    storage = storage_at(tmp_path / "windows.db")
    await storage.open()
    clock = Clock.start()
    for turn in range(3):
        clock.pass_s(1)
        async with MetricsProcessor(storage, clock_ns=clock) as processor:
            await processor.process([point(1.0, turn), point(2.0, turn)])
            rows = await processor.reader.windows((), MINUTE_NS, *ALWAYS, ALL)
            assert rows.counts.tolist() == [2 * turn + 2]
            assert rows.sums.tolist() == [3.0 * turn + 3.0]
    await storage.close()


async def test_wrong_names_and_values_are_counted() -> None:
    async with MetricsProcessor(FaultyStorage(), clock_ns=Clock.start()) as processor:
        done = await processor.process(
            [
                point(1.0),
                point(1.0, name="0 bad"),
                point(1.0, bad="x"),
                point(float("nan")),
                point(float("inf")),
                point(1.0, at_s=-(10.0**9)),
                point(1.0, at_s=10.0**9),
            ]
        )
        assert done == (5, {"malformed": 2})
        figures = processor.shards[0].figures()
        assert figures["counted"] == 1
        assert figures["dropped_not_finite"] == 2
        assert sum(v for k, v in figures.items() if k.startswith("dropped_")) == 4


async def test_a_store_that_is_away_is_waited_for_and_counts_once() -> None:
    storage = FaultyStorage()
    async with MetricsProcessor(storage, clock_ns=Clock.start()) as processor:
        storage.faults.extend(["lost", StoreFull("no room", may_have_run=False), "unlost"])
        for n in range(3):
            await processor.process([point(1.0, n)])
        rows = await processor.reader.windows((), MINUTE_NS, *ALWAYS, ALL)
        assert rows.counts.tolist() == [3]


async def test_a_processor_that_was_replaced_says_so() -> None:
    storage, clock = FaultyStorage(), Clock.start()
    async with MetricsProcessor(storage, clock_ns=clock) as old:
        clock.pass_s(1)
        async with MetricsProcessor(storage, clock_ns=clock):
            with pytest.raises(WriterFenced):
                await old.process([point(1.0)])


async def test_sinks_get_each_closed_window_once_it_is_durable() -> None:
    storage, clock = FaultyStorage(), Clock.start()
    seen: list[int] = []

    class Sink:
        def closed(self, shard: int, rows: WindowRows) -> None:
            stored = storage.store.windows((), rows.width_ns, *ALWAYS, ALL)
            assert set(rows.starts_ns.tolist()) <= set(stored.starts_ns.tolist())
            seen.extend([rows.width_ns] * len(rows))

    async with MetricsProcessor(storage, clock_ns=clock, sinks=[Sink()]) as processor:
        for minute in range(12):
            clock.pass_s(60)
            await processor.process([point(float(minute), 60.0 * minute + 30.0)])
    assert seen.count(MINUTE_NS) >= 10
    assert seen.count(WINDOWS_NS[1]) >= 1


@settings(max_examples=examples(40))
@given(seed=st.integers(0, 2**32), faults=st.lists(st.sampled_from(FAULTS), max_size=12))
async def test_faults_of_the_store_change_no_window(seed: int, faults: list[str | None]) -> None:
    draw = random.Random(seed)
    points = [
        point(draw.choice((1.0, 2.5, -3.0)), draw.uniform(0, 110), host=f"h{draw.randrange(3)}")
        for _ in range(60)
    ]

    async def windows_of(storage: FaultyStorage, ends: Callable[[], bool]) -> list[object]:
        clock = Clock.start()
        clock.pass_s(201)
        rest = list(points)
        while True:
            is_last = not rest
            if is_last:
                storage.faults.clear()
            async with MetricsProcessor(
                storage, shards=2, clock_ns=clock, limits=ShardLimits(retry=AT_ONCE)
            ) as processor:
                while rest and not ends():
                    await processor.process([rest.pop() for _ in range(min(7, len(rest)))])
            if is_last:
                return [_plain(storage, width) for width in WINDOWS_NS]
            clock.pass_s(0.001)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("callboard.actors.metrics.aggregation.processor.RETRY", AT_ONCE)
        right = await windows_of(FaultyStorage(), lambda: False)
        faulty = FaultyStorage()
        faulty.faults.extend(
            fault if isinstance(fault, str) else StoreUnavailable("away", may_have_run=False)
            for fault in faults
        )
        assert await windows_of(faulty, lambda: draw.random() < 0.2) == right


def _plain(storage: FaultyStorage, width_ns: int) -> tuple[object, ...]:
    rows = storage.store.windows((), width_ns, *ALWAYS, ALL)
    columns = (rows.starts_ns, rows.counts, rows.sums, rows.minima, rows.maxima)
    return (rows.series, *(column.tolist() for column in columns), rows.sketches.counts.tolist())
