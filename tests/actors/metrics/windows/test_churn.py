"""Series that come and go: a shard forgets those that have neither a window nor a source."""

import numpy as np
import pytest

from callboard.actors.metrics.points import SOURCE_ENDED_NS
from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.actors.metrics.series import Matcher, MatcherKind, MetricKind, SeriesKey
from callboard.actors.metrics.windows.core import FORGET_MIN, ShardWindows
from callboard.actors.metrics.windows.settings import WindowSettings

from .batches import DAY, HOUR, MINUTE, SECOND, START, Point, batch_of

SETTINGS = WindowSettings(forget_ns=HOUR, past_ns=10 * DAY)
DAYS = 20
SERIES_BYTES_MAX = 4_000
"""The bytes of the cells of two generations' windows, for a series of one: with all twenty in
memory, it would be ten times as much."""


def keys_of(generation: int, count: int) -> tuple[SeriesKey, ...]:
    tags = (("execution", f"e{generation}"),)
    return tuple(
        SeriesKey(MetricKind.COUNTER, "work", (*tags, ("n", str(n)))) for n in range(count)
    )


def step(core: ShardWindows, now: int, generation: int, count: int) -> int:
    """A source with series of its own comes, sends a point for each, and ends."""
    keys = keys_of(generation, count)
    points = [Point(number, now - SECOND, 1.0) for number in range(count)]
    name = f"s{generation}"
    counted = core.apply(batch_of(points, source=name, keys=keys, watermark=now), now).counted
    core.apply(
        batch_of([], count, source=name, keys=keys, first_series=count, watermark=SOURCE_ENDED_NS),
        now,
    )
    return counted


@pytest.mark.parametrize("size", [2_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_memory_is_flat_while_twenty_generations_of_series_come_and_go(size: int) -> None:
    core = ShardWindows(SETTINGS)
    steady = (SeriesKey(MetricKind.GAUGE, "steady"),)
    sizes, series = list[int](), list[int]()
    state: bytes | None = None
    given: dict[int, int] = dict.fromkeys(WINDOWS_NS, 0)
    for day in range(DAYS):
        now = START + day * DAY
        core.apply(batch_of([Point(0, now, 1.0)], day, source="old", keys=steady), now)
        assert step(core, now, day, size) == size
        for later in (3 * MINUTE, DAY - HOUR):
            commit = core.take_commit(now + later, whole=later > HOUR)
            for rows in commit.windows:
                given[rows.width_ns] += int(rows.counts.sum())
            state = commit.state
        statistics = core.statistics()
        sizes.append(statistics.size_bytes)
        series.append(statistics.series)
    assert core.forgotten_series > (DAYS - 3) * size
    assert max(series) <= 2 * size + FORGET_MIN
    assert max(sizes[2:]) <= SERIES_BYTES_MAX * size
    # Every point is in a window of a minute, and nothing is counted twice.
    assert given[MINUTE] == core.accounts.counted == DAYS * (size + 1)
    assert state is not None
    again = ShardWindows(SETTINGS)
    again.restore(state, ())
    assert again.statistics().series == core.statistics().series


def test_a_series_that_comes_back_goes_on() -> None:
    core = ShardWindows(SETTINGS)
    count = 2 * FORGET_MIN
    step(core, START, 1, count)
    core.take_commit(START, whole=True)
    gone = START + 3 * DAY
    core.apply(batch_of([Point(0, gone, 1.0)], source="new"), gone)
    core.take_commit(gone)
    core.take_commit(gone, whole=True)
    assert core.forgotten_series == count
    assert step(core, gone, 1, 5) == 5
    found = core.open_rows([Matcher("n", MatcherKind.IS, "3")], MINUTE)
    assert [key.tags for key in found.series] == [(("execution", "e1"), ("n", "3"))]
    assert found.counts.tolist() == [1]


def test_the_windows_of_series_that_stay_are_the_same() -> None:
    """The same points in a shard that forgets, and in one that never had other series."""
    plain, forgets = ShardWindows(SETTINGS), ShardWindows(SETTINGS)
    step(forgets, START, 1, 3 * FORGET_MIN)
    forgets.take_commit(START, whole=True)
    later = START + 2 * DAY
    random = np.random.default_rng(1)
    points = [
        Point(int(n), later - int(seconds) * SECOND, float(value))
        for n, seconds, value in zip(
            random.integers(0, 3, 500), random.integers(0, 100, 500), random.normal(0, 9, 500),
            strict=True,
        )
    ]  # fmt: skip
    for core in (plain, forgets):
        core.apply(batch_of(points[:300], source="new"), later)
        core.take_commit(later)
        core.take_commit(later, whole=True)
        core.apply(batch_of(points[300:], 300, source="new", first_series=3), later)
    assert forgets.forgotten_series == 3 * FORGET_MIN
    for width in WINDOWS_NS:
        one, other = plain.open_rows((), width), forgets.open_rows((), width)
        assert one.series == other.series
        for name in ("counts", "sums", "minima", "maxima", "starts_ns"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist(), name
        assert one.sketches.keys.tolist() == other.sketches.keys.tolist()
        assert one.sketches.counts.tolist() == other.sketches.counts.tolist()
