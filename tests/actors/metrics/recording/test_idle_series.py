"""Series that nobody uses take no room: of the meter, and of what a source tells its shards."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.points import SOURCE_ENDED_NS, PointsAccepted, SourceKind
from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.recording.core import Send
from callboard.actors.metrics.recording.options import RecordingLimits, RecordingOptions
from callboard.actors.metrics.recording.routes import FORGET_MIN, Route
from callboard.actors.metrics.series import MetricKind, SeriesKey
from tests.thoroughness import examples

from .test_meter import Clock, dropped, rows, started

IDLE = 3
LIMITS = RecordingLimits(
    series_max=20, series_of_metric_max=20, points_max=10_000, idle_flushes_max=IDLE
)


class Seconds(Clock):
    """A clock that is a second later each time, as if each flush came a second after the last."""

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


def test_series_that_come_and_go_never_fill_the_meter() -> None:
    meter = started(LIMITS, Seconds())
    for generation in range(100):
        for number in range(5):
            meter.count("work", execution=f"e{generation}", n=str(number))
        assert len(rows(meter.take())) == 5
        meter.take()
    statistics = meter.statistics()
    assert statistics["series"] <= 20
    assert statistics["series_forgotten"] > 400
    assert dropped(meter) == {}


def test_an_instrument_that_somebody_keeps_comes_back_with_its_next_point() -> None:
    meter = started(LIMITS, Seconds())
    kept = meter.bind_counter("work", n="1")
    kept.add(1.0)
    assert [value for _, _, value in rows(meter.take())] == [1.0]
    for _ in range(IDLE + 2):
        assert not rows(meter.take())
    assert meter.statistics()["series"] == 0
    kept.add(2.0)
    meter.count("work", 4.0, n="1")
    assert sums(rows(meter.take())) == {"work": 6.0}
    for _ in range(IDLE + 2):
        meter.take()
    meter.count("work", 1.0, n="1")  # Another instrument has the series by now.
    kept.add(2.0)
    kept.add(3.0)
    assert sums(rows(meter.take())) == {"work": 6.0}


def test_columns_of_an_idle_instrument_are_recorded() -> None:
    meter = started(LIMITS, Seconds())
    kept = meter.bind_gauge("level")
    for _ in range(IDLE + 2):
        meter.take()
    assert meter.record(kept, np.array([10**9]), np.array([7.0])) == 1
    assert rows(meter.take()) == [("level", {}, 7.0)]


@settings(max_examples=examples(100))
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=60))
def test_no_point_is_lost_however_series_come_and_go(steps: list[tuple[int, int]]) -> None:
    meter = started(
        RecordingLimits(
            series_max=4, series_of_metric_max=3, idle_flushes_max=2, points_max=10_000
        ),
        Seconds(),
    )
    kept = [meter.bind_counter("work", n=str(number)) for number in range(6)]
    given_, got = 0, 0.0
    for number, how in steps:
        if how == 0:
            got += sum(value for _, _, value in rows(meter.take()))
            continue
        given_ += 1
        if how == 1:
            kept[number].add()
        else:
            meter.count("work", n=str(number))
    got += sum(value for _, _, value in rows(meter.take()))
    assert got == given_
    assert not dropped(meter)


def sums(points: list[tuple[str, dict[str, str], float]]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for name, _, value in points:
        totals[name] = totals.get(name, 0.0) + value
    return totals


def columns(generation: int, count: int) -> PointColumns:
    series = tuple(
        SeriesKey(MetricKind.COUNTER, "work", (("e", str(generation)), ("n", str(n))))
        for n in range(count)
    )
    index = np.arange(count, dtype=np.int32)
    return PointColumns(series, index, np.full(count, 10**18), np.ones(count))


def accepted(send: Send) -> PointsAccepted:
    batch = send.batch
    return PointsAccepted(
        sequence=batch.sequence + len(batch.values),
        series=batch.first_series + len(batch.new_series),
        credit=10**6,
    )


def test_instruments_that_come_back_under_other_numbers_stay_apart() -> None:
    meter = started(LIMITS, Seconds())
    kept = [meter.bind_counter("work", n=str(number)) for number in range(3)]
    for _ in range(IDLE + 2):
        meter.take()
    kept[0].add(1.0)  # Gets the number that another one had.
    for _ in range(IDLE + 2):
        meter.take()
    for number, counter in enumerate(kept):
        counter.add(float(number + 1))
    got = {tags["n"]: value for _, tags, value in rows(meter.take())}
    assert got == {"0": 1.0, "1": 2.0, "2": 3.0}


def test_a_route_begins_new_dictionaries_when_most_series_are_not_used() -> None:
    options = RecordingOptions(shards=2, limits=LIMITS_OF_ROUTE)
    route = Route(SourceKind.SERVICE, "source", "host", options)
    taken, ended, names, dictionary = 0, [], set[str](), 0
    for generation in range(12):
        now_s = float(generation)
        route.end_flush()
        route.give(columns(generation, FORGET_MIN), 10**18)
        while sends := list(route.outgoing.due(now_s)):
            for send in sends:
                assert len(send.batch.new_series) <= 2 * FORGET_MIN
                if send.batch.watermark_ns == SOURCE_ENDED_NS:
                    ended.append(send.batch.source.name)
                names.add(send.batch.source.name)
                taken += len(send.batch.values)
                dictionary = max(dictionary, send.batch.first_series + len(send.batch.new_series))
                route.outgoing.accept(send, accepted(send), now_s)
    assert taken == 12 * FORGET_MIN
    assert dictionary <= 4 * FORGET_MIN
    # Each generation but the last one has informed both shards of its end.
    assert len(names) == len(set(ended)) + 1
    assert len(ended) == 2 * len(set(ended)) >= 4


LIMITS_OF_ROUTE = RecordingLimits(idle_flushes_max=2)
