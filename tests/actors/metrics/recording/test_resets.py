"""Cumulative counters become increases; each sample has its stated outcome."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.metrics.recording.resets import CounterResets, ResetOutcome
from callboard.actors.metrics.series import MetricKind, SeriesKey

SECOND = 1_000_000_000
KEY = SeriesKey(MetricKind.COUNTER, "requests_total")


def fed(resets: CounterResets, *samples: tuple[int, float]) -> list[float | None]:
    return [resets.increase("host:1", KEY, at_s * SECOND, value) for at_s, value in samples]


@pytest.mark.parametrize(
    ("samples", "increases"),
    [
        ([(1, 5.0)], [None]),
        ([(1, 5.0), (2, 7.0), (3, 7.0)], [None, 2.0, 0.0]),
        ([(1, 5.0), (2, 1.0), (3, 4.0)], [None, 1.0, 3.0]),
        ([(1, 5.0), (1, 6.0), (0, 9.0), (2, 7.0)], [None, None, None, 2.0]),
        ([(1, 5.0), (400, 9.0), (401, 10.0)], [None, None, 1.0]),
        ([(1, 5.0), (2, math.inf), (3, -1.0), (4, 6.0)], [None, None, None, 1.0]),
        ([(1, 5.0), (2, math.nan), (3, 9.0), (4, 10.0)], [None, None, None, 1.0]),
    ],
    ids=["first", "grows", "resets", "repeats", "pauses", "invalid", "ends"],
)
def test_increases(samples: list[tuple[int, float]], increases: list[float | None]) -> None:
    assert fed(CounterResets(), *samples) == increases


def test_a_counter_that_began_after_its_source_counts_from_zero() -> None:
    resets = CounterResets()
    other = SeriesKey(MetricKind.COUNTER, "errors_total")
    assert resets.increase("a", KEY, 10 * SECOND, 5.0, start_ns=SECOND) is None
    assert resets.increase("a", other, 20 * SECOND, 3.0, start_ns=15 * SECOND) == 3.0
    assert resets.outcomes == {ResetOutcome.FIRST: 1, ResetOutcome.BEGAN: 1}


def test_a_later_start_is_a_reset_although_the_value_is_larger() -> None:
    resets = CounterResets()
    resets.increase("a", KEY, 10 * SECOND, 5.0, start_ns=SECOND)
    assert resets.increase("a", KEY, 20 * SECOND, 9.0, start_ns=15 * SECOND) == 9.0


def test_a_forgotten_series_that_comes_back_is_no_spike() -> None:
    resets = CounterResets()
    other = SeriesKey(MetricKind.COUNTER, "errors_total")
    resets.increase("a", KEY, 10 * SECOND, 5.0)
    resets.increase("a", other, 11 * SECOND, 1_000.0, start_ns=10 * SECOND + 1)
    resets.increase("a", KEY, 390 * SECOND, 6.0)
    assert resets.forget_stale(400 * SECOND) == 1
    assert resets.increase("a", other, 400 * SECOND, 1_001.0, start_ns=10 * SECOND + 1) is None


def test_each_source_has_its_own_series_and_is_forgotten() -> None:
    resets = CounterResets()
    resets.increase("a", KEY, SECOND, 5.0)
    resets.increase("b", KEY, SECOND, 7.0)
    assert resets.increase("b", KEY, 2 * SECOND, 8.0) == 1.0
    resets.forget("b")
    resets.forget("unknown")
    assert resets.series == 1
    assert resets.increase("b", KEY, 3 * SECOND, 9.0) is None


def test_the_remembered_series_are_bounded() -> None:
    resets = CounterResets(series_max=10)
    for number in range(50):
        resets.increase("a", SeriesKey(MetricKind.COUNTER, f"m{number}"), SECOND, 1.0)
    assert resets.series == 10
    assert resets.outcomes[ResetOutcome.TOO_MANY] == 40


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.integers(0, 3),
            st.integers(0, 2_000),
            st.one_of(st.floats(), st.integers(0, 100).map(float)),
            st.sampled_from(["sample", "forget", "forget_stale"]),
        )
    )
)
def test_no_increase_is_negative_and_the_count_of_series_is_right(
    steps: list[tuple[str, int, int, float, str]],
) -> None:
    resets = CounterResets(series_max=5)
    samples = 0
    for source, series, at_s, value, step in steps:
        if step == "forget":
            resets.forget(source)
        elif step == "forget_stale":
            resets.forget_stale(at_s * SECOND)
        else:
            samples += 1
            key = SeriesKey(MetricKind.COUNTER, f"m{series}")
            increase = resets.increase(source, key, at_s * SECOND, value)
            assert increase is None or increase >= 0.0
        assert 0 <= resets.series <= 5
    assert sum(resets.outcomes.values()) == samples


@given(st.lists(st.integers(0, 1_000), min_size=1))
def test_the_increases_of_a_counter_that_never_resets_add_up(steps: list[int]) -> None:
    resets, total, found = CounterResets(), 0, 0.0
    fed(resets, (0, 0.0))
    for at_s, step in enumerate(steps, start=1):
        total += step
        found += fed(resets, (at_s, float(total)))[0] or 0.0
    assert found == total
