"""Bad input: each point gets its stated outcome and a count, and nothing raises."""

from typing import Any

import numpy as np
import pytest

from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.actors.metrics.windows.accounts import DropReason
from callboard.actors.metrics.windows.core import ShardWindows
from callboard.actors.metrics.windows.settings import WindowSettings

from .batches import (
    DAY,
    HOUR,
    KEYS,
    LATENCY,
    MINUTE,
    SECOND,
    START,
    Point,
    at,
    balanced,
    batch_of,
    only,
    source_named,
)


def watermark_after_commit(core: ShardWindows, now_ns: int) -> int | None:
    core.take_commit(now_ns)
    return core.watermark_ns


@pytest.mark.parametrize(
    ("time_ns", "reason"),
    [
        (0, DropReason.TOO_OLD),
        (-1, DropReason.TOO_OLD),
        (-(2**63), DropReason.TOO_OLD),
        (2**63 - 1, DropReason.FUTURE),
        (7_258_118_400 * SECOND, DropReason.FUTURE),
        (START // SECOND, DropReason.WRONG_UNIT),
        (START // 10**6, DropReason.WRONG_UNIT),
        (START // 10**3, DropReason.WRONG_UNIT),
        (START - 2 * DAY, DropReason.TOO_OLD),
        (START + HOUR, DropReason.FUTURE),
    ],
)
def test_absurd_times_are_dropped_with_a_reason(time_ns: int, reason: DropReason) -> None:
    core = ShardWindows()
    points = [Point(LATENCY, time_ns, 1.0), at(0)]
    applied = core.apply(batch_of(points, watermark=START), START)
    assert (applied.counted, dict(applied.dropped)) == (1, {reason: 1})
    assert balanced(core)
    assert len(core._opened) == 1


def test_a_clock_that_jumps_does_not_advance_the_watermark() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(1)], watermark=START + DAY), START)
    assert watermark_after_commit(core, START) is None
    assert core.accounts.watermarks_ignored == 1
    core.apply(batch_of([at(2)], 1, watermark=START + MINUTE), START + SECOND)
    core.take_commit(START + SECOND)
    assert core.watermark_ns == START + SECOND  # Not further than the clock here.
    # The clock of the shard itself: no window with later points becomes late.
    core.take_commit(START + 300 * DAY)
    assert core.watermark_ns == START + MINUTE


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_number_are_dropped(value: float) -> None:
    core = ShardWindows()
    applied = core.apply(batch_of([at(1, value), at(2, 3.0)]), START + 2 * SECOND)
    assert (applied.counted, dict(applied.dropped)) == (1, {DropReason.NOT_FINITE: 1})
    assert only(core.open_rows([], MINUTE)).sum == 3.0


@pytest.mark.parametrize(
    "columns",
    [
        {"values": np.array([1.0])},
        {"series": np.zeros(0, np.int32)},
        {"times_ns": np.array([START, START], np.float64)},
        {"values": np.array(["a", "b"])},
        {"values": np.zeros((2, 1))},
        {"series": np.array([True, False])},
        {"values": np.array([1.0, 2.0], np.complex128)},
        {"values": np.array(1.0)},
    ],
    ids=repr,
)
def test_columns_that_do_not_fit_together_are_dropped_whole(columns: dict[str, Any]) -> None:
    core = ShardWindows()
    applied = core.apply(batch_of([at(1), at(2)], **columns), START)
    assert dict(applied.dropped) == {DropReason.MALFORMED: 2}
    assert core.accepted(source_named("a")).sequence == 2
    assert balanced(core)


def test_a_time_beyond_the_year_2262_is_dropped() -> None:
    core = ShardWindows()
    times = np.array([9_999_999_999 * SECOND, START], np.uint64)
    applied = core.apply(batch_of([at(1), at(2)], times_ns=times), START)
    assert (applied.counted, dict(applied.dropped)) == (1, {DropReason.TOO_OLD: 1})


def test_columns_of_other_numeric_types_are_taken() -> None:
    core = ShardWindows()
    columns: dict[str, Any] = {
        "series": np.array([2, 2], np.uint8),
        "times_ns": np.array([START, START], np.uint64),
        "values": np.array([1, 2], ">i2"),
    }
    assert core.apply(batch_of([at(1), at(2)], **columns), START).counted == 2


@pytest.mark.parametrize("number", [-1, 3, 2**31 - 1])
def test_points_of_series_that_nobody_defined_are_dropped(number: int) -> None:
    core = ShardWindows()
    applied = core.apply(batch_of([at(1, 1.0, number), at(1)]), START)
    assert (applied.counted, dict(applied.dropped)) == (1, {DropReason.UNKNOWN_SERIES: 1})


@pytest.mark.parametrize(
    "key",
    [
        SeriesKey(MetricKind.GAUGE, "not a name"),
        SeriesKey(MetricKind.GAUGE, "name", (("a-b", "c"),)),
        SeriesKey(MetricKind.GAUGE, "name", tuple((f"t{n}", "v") for n in range(10_000))),
        SeriesKey(MetricKind.GAUGE, "name", (("a", "x" * 5_000),)),
    ],
    ids=lambda key: key.name,
)
def test_points_of_a_series_with_a_wrong_key_are_dropped(key: SeriesKey) -> None:
    core = ShardWindows()
    applied = core.apply(batch_of([at(1, 1.0, 0), at(1, 1.0, 1)], keys=(key, KEYS[0])), START)
    assert (applied.counted, dict(applied.dropped)) == (1, {DropReason.UNKNOWN_SERIES: 1})
    assert core.accepted(source_named("a")).series == 2


def test_an_empty_batch_is_fine() -> None:
    core = ShardWindows()
    assert core.apply(batch_of([]), START).arrived == 0
    assert core.take_commit(START).windows == ()


def test_points_that_need_too_many_windows_are_dropped() -> None:
    core = ShardWindows(WindowSettings(cells_max=64 * 3))
    points = [at(-60.0 * minute) for minute in range(5)]
    applied = core.apply(batch_of(points, watermark=START - HOUR), START)
    assert applied.counted == 3
    assert dict(applied.dropped) == {DropReason.TOO_MANY_WINDOWS: 2}
    assert balanced(core)
