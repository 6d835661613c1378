"""Expressions over windows: exact sums, whole windows, tiers, and what each kind gives."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.errors import QueryRefused
from callboard.actors.metrics.query.promql.evaluator import ExpressionEvaluator
from callboard.actors.metrics.query.readers import MemoryWindows
from callboard.actors.metrics.query.window_samples import WindowSamples
from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.messages.core.errors import UsageError
from tests.actors.metrics.query.points import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    START_NS,
    Point,
    key,
    store,
    windows,
)
from tests.thoroughness import examples

CALLS = key("calls", MetricKind.COUNTER, job="a")
HEAT = key("heat", MetricKind.GAUGE, job="a")
TOOK = key("took", MetricKind.OBSERVATION, job="a")
ALL = (CALLS, HEAT, TOOK)


def every_minute(series: SeriesKey, count: int, value: float = 1.0) -> list[Point]:
    return [Point(series, START_NS + n * MINUTE_NS + 1, value) for n in range(count)]


def after(minutes: float) -> int:
    return START_NS + round(minutes * MINUTE_NS)


async def value(reader: MemoryWindows, expression: str, at_ns: int) -> float:
    (found,) = await ExpressionEvaluator(WindowSamples(reader)).instant(expression, at_ns)
    return found.value


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rate(calls[5m])", 3.0 / 60.0),
        ("increase(calls[10m])", 30.0),
        ("increase(calls[90s])", 4.5),
        ("heat", 3.0),
        ("took", 3.0),
        ("avg_over_time(took[10m])", 3.0),
        ("sum_over_time(took[10m])", 30.0),
        ("count_over_time(took[10m])", 10.0),
        ("last_over_time(heat[10m])", 3.0),
        ("present_over_time(calls[10m])", 1.0),
        ("count(calls)", 1.0),
        ("count(calls and heat)", 1.0),
        ("heat and on(job) calls", 3.0),
        ("absent(none)", 1.0),
        ("scalar(heat)", 3.0),
        ("sum(rate(calls[5m])) by (job) * 60", 3.0),
    ],
)
async def test_values_over_windows(expression: str, expected: float) -> None:
    reader = store([point for series in ALL for point in every_minute(series, 30, 3.0)])
    assert await value(reader, expression, after(30)) == pytest.approx(expected)
    assert await value(reader, expression, after(25.7)) == pytest.approx(expected)


async def test_a_window_counts_when_it_has_ended() -> None:
    points = [Point(HEAT, after(0.5), 1.0), Point(HEAT, after(1.5), 2.0)]
    reader = store(points)
    evaluator = ExpressionEvaluator(WindowSamples(reader))
    assert await evaluator.instant("heat", after(0.9)) == ()
    assert await value(reader, "heat", after(1)) == 1.0
    assert await value(reader, "heat", after(1.99)) == 1.0
    assert await value(reader, "heat", after(2)) == 2.0
    assert await value(reader, "heat", after(6.5)) == 2.0
    assert await evaluator.instant("heat", after(7)) == ()


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("calls", "selector without a range has no meaning for calls, a counter"),
        ("sum(calls)", "selector without a range"),
        ("calls > 1", "selector without a range"),
        ("avg_over_time(calls[5m])", "avg_over_time has no meaning for calls"),
        ("rate(heat[5m])", "rate has no meaning for heat, a gauge"),
        ("rate(took[5m])", "rate has no meaning for took, an observation"),
        ("last_over_time(took[5m])", "last_over_time has no meaning for took"),
    ],
)
async def test_what_a_kind_does_not_have_is_refused_by_name(expression: str, words: str) -> None:
    reader = store([point for series in ALL for point in every_minute(series, 10)])
    with pytest.raises(QueryRefused, match=words) as caught:
        await value(reader, expression, after(10))
    assert "calls" in caught.value.advice or "5m" in caught.value.advice


async def test_a_quantile_over_time_is_of_all_points_and_within_one_percent() -> None:
    generator = np.random.default_rng(2)
    values = generator.lognormal(0.0, 3.0, 3_000)
    times = generator.integers(0, HOUR_NS, 3_000)
    reader = store([Point(TOOK, START_NS + int(t), v) for t, v in zip(times, values, strict=True)])
    for q in (0.0, 0.5, 0.95, 0.99, 1.0):
        found = await value(reader, f"quantile_over_time({q}, took[1h])", START_NS + HOUR_NS)
        assert found == pytest.approx(float(np.quantile(values, q, method="lower")), rel=0.01)
    assert await value(reader, "quantile_over_time(2, took[1h])", START_NS + HOUR_NS) == math.inf
    assert math.isnan(await value(reader, "quantile_over_time(NaN, took[1h])", START_NS + HOUR_NS))


@pytest.mark.parametrize(
    "operand",
    [
        "sum by (le) (rate(took_bucket[1h]))",
        "sum without (host, job) (rate(took_bucket{job='a'}[1h]))",
        "sum by (le, job) (increase(took_bucket[1h]))",
    ],
)
async def test_a_quantile_of_buckets_is_that_of_the_sketches_of_an_observation(
    operand: str,
) -> None:
    generator = np.random.default_rng(3)
    values = generator.lognormal(0.0, 3.0, 2_000)
    times = generator.integers(0, HOUR_NS, 2_000)
    hosts = [key("took", MetricKind.OBSERVATION, job="a", host=f"{n}") for n in range(3)]
    reader = store(
        [
            Point(hosts[n % 3], START_NS + int(time), value)
            for n, (time, value) in enumerate(zip(times, values, strict=True))
        ]
    )
    for q in (0.5, 0.99):
        found = await value(reader, f"histogram_quantile({q}, {operand})", START_NS + HOUR_NS)
        assert found == pytest.approx(float(np.quantile(values, q, method="lower")), rel=0.01)


async def test_a_quantile_of_buckets_that_were_counted_elsewhere() -> None:
    counts = {"0.1": 4.0, "0.2": 8.0, "+Inf": 10.0}
    points = [
        point
        for bound, count in counts.items()
        for point in every_minute(key("x_bucket", MetricKind.COUNTER, le=bound), 10, count)
    ]
    expression = "histogram_quantile(0.5, sum by (le) (rate(x_bucket[5m])))"
    assert await value(store(points), expression, after(10)) == pytest.approx(0.125)


async def test_observations_have_a_count_and_a_sum_as_histograms_do() -> None:
    reader = store(every_minute(TOOK, 10, 3.0))
    assert await value(reader, "increase(took_count[5m])", after(10)) == 5.0
    assert await value(reader, "rate(took_sum[5m])", after(10)) == pytest.approx(15.0 / 300.0)
    mean = "rate(took_sum[5m]) / rate(took_count[5m])"
    assert await value(reader, mean, after(10)) == pytest.approx(3.0)
    evaluator = ExpressionEvaluator(WindowSamples(reader))
    (found,) = await evaluator.instant("present_over_time(took_count[5m])", after(10))
    assert found.tags == (("job", "a"),)
    for none in ("rate(heat_count[5m])", "rate(count[5m])", "rate(_count[5m])", "took_count"):
        assert await evaluator.instant(none, after(10)) == ()


async def test_a_long_range_is_read_from_coarse_windows_at_any_time() -> None:
    points = every_minute(CALLS, 3 * 1_440)
    reader = store(points)
    few = ExpressionEvaluator(WindowSamples(reader, rows_max=120))
    for minute in (2_000, 2_001, 2_879, 2_880, 3_333):
        (found,) = await few.instant("increase(calls[1d])", after(minute))
        assert found.value == 1_440.0


async def test_expired_fine_windows_are_replaced_by_coarse_ones() -> None:
    points = every_minute(CALLS, 1_440)
    late = [point for point in points if point.time_ns >= after(720)]
    reader = MemoryWindows(
        [windows(late, MINUTE_NS), windows(points, HOUR_NS), windows(points, DAY_NS)]
    )
    evaluator = ExpressionEvaluator(WindowSamples(reader))
    found = await evaluator.range("rate(calls[5m])", after(60), after(1_440), 5 * MINUTE_NS)
    assert found.vector.present.all()
    assert np.allclose(found.vector.values, 1.0 / 60.0)
    grown = await evaluator.range("increase(calls[5m])", after(60), after(1_440), 5 * MINUTE_NS)
    assert np.allclose(grown.vector.values, 5.0)


async def test_limits_are_refused_with_their_number() -> None:
    points = [p for n in range(5) for p in every_minute(key("heat", job=str(n)), 10)]
    evaluator = ExpressionEvaluator(WindowSamples(store(points), series_max=4))
    with pytest.raises(UsageError, match="more than 4 series"):
        await evaluator.instant("heat", after(10))
    evaluator = ExpressionEvaluator(WindowSamples(store(points), rows_max=10))
    with pytest.raises(UsageError, match="more than 10 windows"):
        await evaluator.range("max_over_time(heat[7m])", after(0), after(10), MINUTE_NS)
    with pytest.raises(UsageError, match="steps"):
        await evaluator.range("heat", 0, 10**18, 1_000)
    with pytest.raises(UsageError, match="step"):
        await evaluator.range("heat", 0, 10, 0)
    with pytest.raises(UsageError, match="ends before"):
        await evaluator.range("heat", 10, 0, 1)


async def test_a_month_at_steps_of_an_hour_is_read_from_windows_of_an_hour() -> None:
    points = [Point(HEAT, START_NS + n * HOUR_NS + 1, float(n)) for n in range(720)]
    evaluator = ExpressionEvaluator(WindowSamples(store(points), rows_max=900))
    end = START_NS + 720 * HOUR_NS
    found = await evaluator.range("heat", START_NS + HOUR_NS, end, HOUR_NS)
    assert found.vector.values[0].tolist() == [float(n) for n in range(720)]


FUNCTIONS: dict[str, tuple[SeriesKey, Callable[[list[float]], float]]] = {
    "increase(calls{w}[{r}m])": (CALLS, sum),
    "sum_over_time(took{w}[{r}m])": (TOOK, sum),
    "count_over_time(took{w}[{r}m])": (TOOK, len),
    "avg_over_time(took{w}[{r}m])": (TOOK, lambda values: sum(values) / len(values)),
    "min_over_time(heat{w}[{r}m])": (HEAT, min),
    "max_over_time(heat{w}[{r}m])": (HEAT, max),
    "last_over_time(heat{w}[{r}m])": (HEAT, lambda values: values[-1]),
}


@settings(max_examples=examples(300))
@given(
    expression=st.sampled_from(sorted(FUNCTIONS)),
    samples=st.lists(
        st.tuples(st.integers(0, 200 * 60), st.integers(-100, 100)), min_size=1, max_size=60
    ),
    begin=st.integers(0, 250 * 4),
    steps=st.integers(1, 12),
    step=st.sampled_from([15, 60, 300, 3_600]),
    minutes=st.sampled_from([1, 3, 5, 10, 60, 120]),
    offset=st.sampled_from([0, 60, 90, -300]),
)
async def test_a_range_is_what_its_whole_minutes_hold(
    expression: str,
    samples: list[tuple[int, int]],
    begin: int,
    steps: int,
    step: int,
    minutes: int,
    offset: int,
) -> None:
    series, compute = FUNCTIONS[expression]
    points = sorted(
        (Point(series, START_NS + second * 10**9, float(number)) for second, number in samples),
        key=lambda point: point.time_ns,
    )
    text = expression.replace("{w}", '{job="a"}').replace("{r}", str(minutes))
    text = text.replace("])", f"] offset {offset}s)" if offset >= 0 else f"] offset -{-offset}s)")
    first = START_NS + begin * 15 * 10**9
    times = [first + number * step * 10**9 for number in range(steps)]
    # Two points of one second in one window have no order between them.
    unique = {point.time_ns: point for point in points}
    evaluator = ExpressionEvaluator(WindowSamples(store(list(unique.values()))))
    found = await evaluator.range(text, first, times[-1], step * 10**9)
    for column, time in enumerate(times):
        end = (time - offset * 10**9) // MINUTE_NS * MINUTE_NS
        held = [p.value for p in unique.values() if end - minutes * MINUTE_NS <= p.time_ns < end]
        if not held:
            assert not found.vector.present[:, column].any()
        else:
            assert found.vector.values[0, column] == pytest.approx(compute(held))
