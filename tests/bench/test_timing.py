"""Percentiles and rates: the maths under every figure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.timing import Stopwatch, percentile, round_trip_results, timed


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 1.0), (1, 1.0), (50, 50.0), (99, 99.0), (99.1, 100.0), (100, 100.0)],
)
def test_nearest_rank_of_one_to_a_hundred(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([4.0], 99) == 4.0


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], -1), ([1.0], 101)])
def test_a_percentile_that_does_not_exist_is_refused(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError):
        percentile(values, percent)


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.floats(0, 100))
def test_a_percentile_was_really_measured(values: list[float], percent: float) -> None:
    assert percentile(values, percent) in values


@given(st.lists(st.integers(1, 10**9), min_size=1))
def test_p50_is_never_over_p99(round_trips_ns: list[int]) -> None:
    results = round_trip_results(round_trips_ns)
    assert results["round_trip_p50_ms"] <= results["round_trip_p99_ms"]


def test_round_trips_are_given_in_milliseconds() -> None:
    assert round_trip_results([2_000_000])["round_trip_p50_ms"] == 2.0


def test_a_rate_is_a_count_over_the_elapsed_time() -> None:
    assert Stopwatch(elapsed_ns=500_000_000).per_s(100) == 200.0


def test_a_rate_of_no_time_is_a_number() -> None:
    assert Stopwatch().per_s(1) == pytest.approx(1e9)


def test_timed_measures_the_block() -> None:
    with timed() as stopwatch:
        total = sum(range(1_000))
    assert total
    assert stopwatch.elapsed_ns > 0
    assert stopwatch.elapsed_ms == pytest.approx(stopwatch.elapsed_s * 1_000)
