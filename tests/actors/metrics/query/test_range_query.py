"""Queries by name, tags, range and step, over all tiers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.query.range_query import (
    MetricsQuery,
    QueryResult,
    function_named,
    run_query,
)
from callboard.actors.metrics.query.readers import CombinedReader, MemoryWindows
from callboard.actors.metrics.rows import WINDOWS_NS, WindowFlag
from callboard.actors.metrics.series import Matcher, MatcherKind, MetricKind
from callboard.messages.core.errors import UsageError
from tests.actors.metrics.query.points import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    START_NS,
    Point,
    key,
    store,
    window,
    windows,
)
from tests.thoroughness import examples

COUNTER, OBSERVATION = MetricKind.COUNTER, MetricKind.OBSERVATION


def asked(function: str = "auto", hours: float = 1.0, **changes: object) -> MetricsQuery:
    given: dict[str, object] = {
        "name": "m",
        "from_ns": START_NS,
        "to_ns": START_NS + round(hours * HOUR_NS),
        "step_ns": MINUTE_NS,
        "function": function_named(function),
    }
    return MetricsQuery(**(given | changes))  # type: ignore[arg-type]


def at(minute: float, value: float, **tags: str) -> Point:
    return Point(key("m", MetricKind.GAUGE, **tags), START_NS + round(minute * MINUTE_NS), value)


def known(found: QueryResult, row: int = 0) -> dict[int, float]:
    """The values of a row by the minute at which their step begins."""
    return {
        (start - START_NS) // MINUTE_NS: value
        for start, value in zip(found.starts_ns.tolist(), found.values[row].tolist(), strict=True)
        if not math.isnan(value)
    }


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("auto", 3.0),
        ("last", 3.0),
        ("count", 4.0),
        ("sum", 10.0),
        ("avg", 2.5),
        ("min", 1.0),
        ("max", 4.0),
        ("rate", 10.0 / 60.0),
        ("p0", 1.0),
        ("p100", 4.0),
    ],
)
async def test_each_function_is_that_of_the_points(function: str, expected: float) -> None:
    reader = store([at(2, 1), at(2.2, 4), at(2.4, 2), at(2.6, 3), at(30, 7)])
    found = await run_query(reader, asked(function))
    assert known(found)[2] == pytest.approx(expected, rel=0.01)
    assert known(found).keys() == {2, 30}


async def test_a_percentile_over_a_day_is_within_one_percent() -> None:
    generator = np.random.default_rng(1)
    values = generator.lognormal(0.0, 2.0, 5_000)
    times = generator.integers(0, DAY_NS, 5_000)
    one = key(kind=OBSERVATION)
    reader = store([Point(one, START_NS + int(t), v) for t, v in zip(times, values, strict=True)])
    for name, q in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        for step in (DAY_NS, HOUR_NS):
            found = await run_query(reader, asked(name, 24.0, step_ns=step))
            exact = float(np.quantile(values, q, method="lower"))
            assert found.totals[0] == pytest.approx(exact, rel=0.01)


async def test_series_are_put_together_by_tags() -> None:
    points = [at(0, 1, job="a", host="1"), at(0, 2, job="a", host="2"), at(0, 5, job="b")]
    found = await run_query(store(points), asked("sum", by=("job",)))
    rows = {series.tags: found.totals[row] for row, series in enumerate(found.series)}
    assert rows == {(("job", "a"),): 3.0, (("job", "b"),): 5.0}
    whole = await run_query(store(points), asked("sum", by=()))
    assert whole.totals.tolist() == [8.0]


async def test_tags_select_series() -> None:
    points = [at(0, number, job=f"job-{number}") for number in range(20)]
    matchers = (
        Matcher("job", MatcherKind.MATCHES, "job-1.*"),
        Matcher("job", MatcherKind.IS_NOT, "job-13"),
    )
    found = await run_query(store(points), asked(matchers=matchers))
    assert len(found.series) == 10


async def test_the_top_series_come_first_over_the_whole_time() -> None:
    points = [at(minute, value, job=str(value)) for value in range(30) for minute in (0, 20)]
    found = await run_query(store(points), asked("max", top=3))
    assert [dict(series.tags)["job"] for series in found.series] == ["29", "28", "27"]
    assert found.totals.tolist() == [29.0, 28.0, 27.0]


async def test_flags_of_windows_are_in_the_answer() -> None:
    reader = MemoryWindows([window(key(), START_NS, MINUTE_NS, [at(0, 1)], flags=WindowFlag.OPEN)])
    found = await run_query(reader, asked())
    assert found.flags[0].tolist() == [WindowFlag.OPEN]


async def test_a_long_time_with_few_windows_costs_nothing() -> None:
    found = await run_query(store([at(5, 1)]), asked(from_ns=0, to_ns=2**61, step_ns=MINUTE_NS))
    assert known(found) == {5: 1.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"to_ns": START_NS}, "empty"),
        ({"from_ns": -1}, "before 1970"),
        ({"step_ns": 1}, "whole windows"),
        ({"step_ns": -MINUTE_NS}, "whole windows"),
        ({"name": ""}, "no metric"),
        ({"top": -1}, "top"),
        ({"series_max": 1}, "more than 1 series"),
        ({"rows_max": 1}, "more than 1 windows"),
    ],
)
async def test_a_wrong_query_is_refused(changes: dict[str, object], words: str) -> None:
    points = [at(0, 1, job="a"), at(0, 1, job="b"), at(59, 1, job="b")]
    with pytest.raises(UsageError, match=words):
        await run_query(store(points), asked(**changes))  # type: ignore[arg-type]


async def test_too_many_steps_are_refused() -> None:
    reader = store([at(0, 1), at(20_000, 1)])
    with pytest.raises(UsageError, match="20,160 steps"):
        await run_query(reader, asked(hours=1_000.0))


@pytest.mark.parametrize("name", ["", "p101", "p", "median", "quantile", "p99.99999999", "q2"])
def test_unknown_functions_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no function"):
        function_named(name)


async def test_last_is_refused_for_what_has_none() -> None:
    one = key(kind=COUNTER)
    with pytest.raises(UsageError, match="no last value"):
        await run_query(store([Point(one, START_NS, 1.0)]), asked("last"))


# --- tiers ------------------------------------------------------------------------------------


def tiered(points: list[Point], kept: dict[int, int], closed: dict[int, int]) -> CombinedReader:
    """Stores in which a width has the windows that begin from `kept` on, and end at `closed`."""
    parts = []
    for width in WINDOWS_NS:
        held = [
            point
            for point in points
            if point.time_ns - point.time_ns % width >= kept.get(width, 0)
            and point.time_ns - point.time_ns % width + width <= closed.get(width, 2**62)
        ]
        half = len(held) // 2
        # Two stores share a width, so that windows lie in either or in both.
        parts += [
            MemoryWindows([windows(held, width)]),
            MemoryWindows([windows(held[:half], width)]),
        ]
    return CombinedReader(parts)


async def test_expired_windows_are_replaced_by_coarser_ones() -> None:
    points = [at(minute, 1.0) for minute in range(300)]
    kept = {WINDOWS_NS[0]: START_NS + 142 * MINUTE_NS, WINDOWS_NS[1]: START_NS + 70 * MINUTE_NS}
    found = await run_query(tiered(points, kept, {}), asked("sum", 5.0))
    values = known(found)
    assert sum(values.values()) == 300.0
    assert (values[0], values[60]) == (60.0, 60.0)
    assert (values[120], values[140], values[145], values[146]) == (5.0, 5.0, 1.0, 1.0)
    assert sorted(set(found.widths_ns.tolist())) == [*WINDOWS_NS[:3]]
    assert found.starts_ns[0] == START_NS


async def test_windows_that_are_not_closed_are_replaced_by_finer_ones() -> None:
    points = [at(minute, 1.0) for minute in range(300)]
    closed = {HOUR_NS: START_NS + 3 * HOUR_NS, WINDOWS_NS[1]: START_NS + 290 * MINUTE_NS}
    closed[DAY_NS] = START_NS
    found = await run_query(tiered(points, {}, closed), asked("count", 5.0, step_ns=HOUR_NS))
    assert known(found) == {0: 60.0, 60: 60.0, 120: 60.0, 180: 60.0, 240: 60.0}


async def test_a_correction_of_a_fine_window_counts_before_the_coarse_one_has_it() -> None:
    before, after = [at(0, 1.0), at(7, 1.0)], [at(0, 1.0), at(7, 1.0), at(7.5, 1.0)]
    reader = MemoryWindows([windows(after, MINUTE_NS), windows(before, HOUR_NS)])
    found = await run_query(reader, asked("count", step_ns=HOUR_NS))
    assert known(found) == {0: 3.0}


STEPS = st.sampled_from([1, 2, 5, 7, 10, 15, 60, 90, 120, 1_440])


@settings(max_examples=examples(300))
@given(
    minutes=st.lists(st.integers(0, 4_400), min_size=1, max_size=120),
    ages=st.tuples(st.integers(0, 3_000), st.integers(0, 3_000), st.integers(0, 3_000)),
    lags=st.tuples(st.integers(0, 9), st.integers(0, 100), st.integers(0, 2_000)),
    begin=st.integers(0, 4_400),
    length=st.integers(1, 4_400),
    step=STEPS,
)
async def test_every_point_is_in_the_answer_once_whatever_has_expired_or_not_closed(
    minutes: list[int],
    ages: tuple[int, int, int],
    lags: tuple[int, int, int],
    begin: int,
    length: int,
    step: int,
) -> None:
    """Fine windows expire first, whole coarse windows at a time; coarse windows close last."""
    points = [at(minute + 0.5, 1.0, job=str(minute % 3)) for minute in minutes]
    oldest, newest = START_NS, START_NS + (max(minutes) + 1) * MINUTE_NS
    kept, closed = {}, {}
    for number, width in enumerate(WINDOWS_NS[:3]):
        coarser = WINDOWS_NS[number + 1]
        until = oldest + sum(ages[number:]) * MINUTE_NS // 3
        kept[width] = until - until % coarser
    for number, width in enumerate(WINDOWS_NS[1:]):
        kept_closed = newest - min(lags[number] * MINUTE_NS, 2 * width)
        closed[width] = kept_closed - kept_closed % width
    # A fine window expires only when the coarser one that holds it is closed.
    for number, width in enumerate(WINDOWS_NS[:3]):
        kept[width] = min(kept[width], closed[WINDOWS_NS[number + 1]])
    query = asked(
        "count",
        from_ns=START_NS + begin * MINUTE_NS,
        to_ns=START_NS + (begin + length) * MINUTE_NS,
        step_ns=step * MINUTE_NS,
        by=(),
    )
    found = await run_query(tiered(points, kept, closed), query)
    ends = found.starts_ns + found.widths_ns
    assert np.all(found.starts_ns[1:] == ends[:-1])
    first, last = (int(found.starts_ns[0]), int(ends[-1])) if len(ends) else (0, 0)
    held = sum(first <= point.time_ns < last for point in points)
    assert np.nansum(found.values) == held
    asked_for = sum(query.from_ns <= point.time_ns < query.to_ns for point in points)
    assert held >= asked_for
