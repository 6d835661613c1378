"""The collector: from the meter and from sources to the shards, and what it does without them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import numpy as np
import pytest

from callboard.actors.metrics.points import (
    MetricDataPoint,
    MetricSource,
    MetricTags,
    PointBatch,
    PointsAccepted,
    SourceKind,
)
from callboard.actors.metrics.recording.collector import Collector
from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.recording.meter import HostMeter
from callboard.actors.metrics.recording.options import RecordingLimits, RecordingOptions
from callboard.actors.metrics.recording.routes import shard_of
from callboard.actors.metrics.recording.sources import columns_of_points, polled
from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import HandlerFailed, UsageError
from tests.actors.metrics.recording.shards import WAIT_S, MemoryShards

QUICK = Backoff(min_s=0.001, max_s=0.01)
OPTIONS = RecordingOptions(shards=3, flush_s=0.01, backoff=QUICK, service="")


class Tasks:
    def __init__(self) -> None:
        self.started: list[asyncio.Task[None]] = []

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(coroutine)
        self.started.append(task)
        return task


class Recording:
    """A meter, a collector and shards in memory."""

    def __init__(self, options: RecordingOptions = OPTIONS, **more: Any) -> None:
        self.tasks = Tasks()
        self.meter = HostMeter(self.now, options.limits)
        self.shards: Any = MemoryShards(options.shards)
        self.collector = Collector(
            self.tasks,
            self.meter,
            self.shards,
            options,
            name="test/1/1",
            instance="host-1",
            wall_time=self.now,
            **more,
        )
        self.collector.start()

    def now(self) -> float:
        return 1_800_000_000.0 + asyncio.get_running_loop().time()

    async def drained(self) -> None:
        assert await self.collector.drain(WAIT_S) == 0

    async def close(self) -> None:
        self.collector.stop()
        await asyncio.gather(*self.tasks.started, return_exceptions=True)


@pytest.fixture
async def recording() -> AsyncIterator[Recording]:
    made = Recording()
    yield made
    await made.close()


async def test_points_arrive_at_the_shard_of_their_series(recording: Recording) -> None:
    for number in range(50):
        recording.meter.observe("took_seconds", float(number), step=str(number))
    await recording.drained()
    assert sorted(recording.shards.values("took_seconds")) == list(range(50))
    for place, shard in enumerate(recording.shards.shards):
        assert shard.points, "50 series are spread over all shards"
        assert all(shard_of(key, 3) == place for key, _, _ in shard.points)
        assert all(key.tag("instance") == "host-1" for key, _, _ in shard.points)


async def test_a_flush_comes_by_itself(recording: Recording) -> None:
    recording.meter.count("orders_total")
    await recording.shards.until("orders_total", 1)
    assert recording.shards.values("orders_total") == [1.0]


async def test_half_of_the_room_begins_a_flush_at_once() -> None:
    options = RecordingOptions(shards=1, flush_s=3_600.0, limits=RecordingLimits(points_max=1_000))
    recording = Recording(options)
    took = recording.meter.bind_histogram("a")
    await asyncio.sleep(0)  # The collector waits now.
    now_ns = int(recording.now() * 1e9)
    assert recording.meter.record(took, np.full(600, now_ns), np.arange(600.0)) == 600
    assert await recording.meter.until_room(WAIT_S)
    await recording.drained()
    assert len(recording.shards.values("a")) == 600
    await recording.close()


async def test_a_shard_that_is_away_or_loses_its_answers_gets_each_point_once(
    recording: Recording,
) -> None:
    recording.shards.away = {0}
    recording.shards.loses_answers = {1}
    for number in range(50):
        recording.meter.observe("took_seconds", float(number), step=str(number))
    while recording.shards.sent[0] < 2 or recording.shards.sent[1] < 2:
        assert await recording.collector.drain(0.01) > 0
    recording.shards.away.clear()
    recording.shards.loses_answers.clear()
    await recording.drained()
    assert sorted(recording.shards.values("took_seconds")) == list(range(50))
    assert recording.shards.shards[1].repeated > 0
    assert recording.collector.statistics()["retries"] > 0


async def test_the_accounts_hold_from_the_meter_to_the_shards(recording: Recording) -> None:
    for number in range(40):
        recording.meter.observe("a", float("nan") if number % 4 == 0 else 1.0)
    await recording.drained()
    figures = recording.collector.statistics()
    assert (figures["taken"], figures["accepted"]) == (40.0, 30.0)
    assert figures["dropped_validate_not_finite"] == 10.0
    assert figures["kept"] == 0.0


async def test_a_shard_that_fails_with_a_batch_does_not_get_it_for_ever() -> None:
    class Failing:
        async def append(self, shard: int, batch: PointBatch) -> PointsAccepted:
            raise HandlerFailed("it does not like this one.")

    options = RecordingOptions(
        shards=1, flush_s=0.01, backoff=QUICK, limits=RecordingLimits(refusals_max=3)
    )
    recording = Recording(options)
    recording.collector._sender = Failing()  # type: ignore[misc]
    recording.meter.observe("a", 1.0)
    await recording.drained()
    assert recording.collector.statistics()["dropped_refused"] == 1.0
    await recording.close()


async def test_taps_get_each_flush_and_their_failure_harms_nothing() -> None:
    tapped: list[int] = []

    def tap(columns: PointColumns) -> None:
        tapped.append(columns.points)
        raise OSError

    recording = Recording(taps=[tap])
    recording.meter.observe("a", 1.0)
    await recording.drained()
    assert tapped == [1]
    assert recording.shards.values("a") == [1.0]
    await recording.close()


# --- sources --------------------------------------------------------------------------------------


def point(value: float, time_s: float) -> MetricDataPoint:
    return MetricDataPoint(
        "temperature",
        value,
        int(time_s * 1e9),
        MetricTags(region="eu", other={"city": "Oslo"}),
        MetricSource(kind=SourceKind.RECEIVED, name="weather"),
        MetricKind.GAUGE,
    )


async def test_a_source_is_pulled_and_has_a_name_of_its_own(recording: Recording) -> None:
    class Weather:
        kind = SourceKind.RECEIVED
        name = "weather"

        async def columns(self) -> AsyncIterator[PointColumns]:
            for degrees in range(5):
                yield columns_of_points([point(degrees, recording.now())])

    recording.collector.add_source(Weather())
    await recording.shards.until("temperature", 5)
    names = {name for shard in recording.shards.shards for name in shard.sources}
    assert names == {"test/1/1/weather/1"}
    key = next(key for shard in recording.shards.shards for key, _, _ in shard.points)
    assert (key.tag("city"), key.tag("region")) == ("Oslo", "eu")


async def test_a_slow_shard_slows_a_source_down_and_nothing_is_dropped() -> None:
    options = RecordingOptions(
        shards=1, flush_s=0.01, backoff=QUICK, limits=RecordingLimits(unsent_bytes_max=20_000)
    )
    recording = Recording(options)
    recording.shards.away = {0}
    pulled: list[int] = []
    some = asyncio.Event()

    class Endless:
        kind = SourceKind.RECEIVED
        name = "endless"

        async def columns(self) -> AsyncIterator[PointColumns]:
            for number in range(200):
                pulled.append(number)
                if number == 5:
                    some.set()
                yield columns_of_points([point(number, recording.now())])

    recording.collector.add_source(Endless())
    await asyncio.wait_for(some.wait(), WAIT_S)
    assert await recording.collector.drain(0.05) > 0
    assert len(pulled) < 200
    recording.shards.away.clear()
    await recording.shards.until("temperature", 200)
    assert not recording.collector.statistics().get("dropped_unsent")
    await recording.close()


async def test_a_source_that_fails_begins_again(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard.actors.metrics.recording.collector.SOURCE_PAUSE_S", 0.001)
    calls = 0

    def poll() -> PointColumns:
        nonlocal calls
        calls += 1
        match calls:
            case 1:
                raise OSError
            case 2:
                return None  # type: ignore[return-value]
            case _:
                return columns_of_points([point(calls, recording.now())])

    recording.collector.add_source(polled("weather", poll, 0.01))
    await recording.shards.until("temperature", 1)
    assert recording.collector.source_failures == 2


async def test_a_source_that_ends_brings_its_points_and_its_name_is_free(
    recording: Recording,
) -> None:
    class Short:
        kind = SourceKind.RECEIVED
        name = "short"

        async def columns(self) -> AsyncIterator[PointColumns]:
            yield columns_of_points([point(1.0, recording.now())])

    recording.shards.away = {0, 1, 2}
    for times in (1, 2, 3):
        recording.collector.add_source(Short())
        recording.shards.away.clear()
        await recording.shards.until("temperature", times)
        while recording.collector.statistics()["accepted"] < times:
            await recording.drained()
    sources = {name for shard in recording.shards.shards for name in shard.sources}
    assert sources == {f"test/1/1/short/{number}" for number in (1, 2, 3)}


async def test_a_name_is_used_once_until_its_source_ends(recording: Recording) -> None:
    async def poll() -> PointColumns:
        return columns_of_points([])

    end = recording.collector.add_source(polled("weather", poll, 1.0))
    with pytest.raises(UsageError, match="weather"):
        recording.collector.add_source(polled("weather", poll, 1.0))
    end()
    recording.collector.add_source(polled("weather", poll, 1.0))
    with pytest.raises(UsageError, match="every_s"):
        polled("weather", poll, 0.0)


def test_the_shard_of_a_series_never_changes() -> None:
    """Windows of years are found by it: another hash would split each series in two."""
    keys = [SeriesKey(MetricKind.COUNTER, f"m{number}", (("a", "ä"),)) for number in range(8)]
    assert [shard_of(key, 4) for key in keys] == [2, 3, 0, 0, 3, 0, 1, 2]
