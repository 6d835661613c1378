"""Directions, ratios and medians: a wrong one would turn a loss into a win."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.comparison import direction_of, medians, ratio, ratios_against

POSITIVE = st.floats(min_value=1e-9, max_value=1e12)


@pytest.mark.parametrize(
    ("figure", "direction"),
    [
        ("pipelined_per_s", "higher"),
        ("actors_per_s", "higher"),
        ("round_trip_p50_ms", "lower"),
        ("round_trip_p50_us", "lower"),
        ("elapsed_s", "lower"),
        ("frame_bytes", "lower"),
        ("bytes_per_actor", "lower"),
        ("all_answering_ms_median", "lower"),
        ("all_answering_ms_worst", "lower"),
        ("restart_ms_p99", "lower"),
        ("median", None),
        ("actors", None),
        ("restarts", None),
    ],
)
def test_the_unit_says_which_direction_is_better(figure: str, direction: str | None) -> None:
    assert direction_of(figure) == direction


def test_a_rate_twice_as_high_is_twice_as_good() -> None:
    assert ratio("asks_per_s", 200.0, 100.0) == 2.0


def test_a_time_half_as_long_is_twice_as_good() -> None:
    assert ratio("wait_ms", 5.0, 10.0) == 2.0


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_value_that_cannot_be_compared_has_no_ratio(bad: float) -> None:
    assert ratio("wait_ms", bad, 1.0) is None
    assert ratio("wait_ms", 1.0, bad) is None


@given(POSITIVE, POSITIVE, st.sampled_from(["x_per_s", "x_ms"]))
def test_being_better_is_mutual(ours: float, theirs: float, figure: str) -> None:
    forth, back = ratio(figure, ours, theirs), ratio(figure, theirs, ours)
    assert forth is not None
    assert back is not None
    assert math.isclose(forth * back, 1.0)


def test_ratios_only_where_both_have_the_figure_and_it_has_a_direction() -> None:
    ours = {"asks_per_s": 30.0, "wait_ms": 1.0, "restarts": 2.0}
    theirs = {"asks_per_s": 10.0, "spawns_per_s": 5.0, "restarts": 1.0}
    assert ratios_against("peer", ours, theirs) == {"peer.asks_per_s": 3.0}


def test_medians_over_rounds_ignore_an_outlier() -> None:
    rounds = [{"wait_ms": 2.0}, {"wait_ms": 900.0}, {"wait_ms": 3.0}]
    assert medians(rounds) == {"wait_ms": 3.0}


def test_medians_of_an_even_number_of_rounds_lie_between() -> None:
    assert medians([{"wait_ms": 2.0}, {"wait_ms": 4.0}]) == {"wait_ms": 3.0}


def test_a_figure_of_some_rounds_only_is_kept() -> None:
    assert medians([{"a_ms": 1.0}, {"a_ms": 3.0, "b_ms": 5.0}]) == {"a_ms": 2.0, "b_ms": 5.0}


def test_medians_of_no_rounds_are_empty() -> None:
    assert medians([]) == {}
