"""Sums are the same in each order and grouping, and as near to the exact sum as stated."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.windows.cells import CellColumns
from callboard.actors.metrics.windows.sums import (
    GRID_LOWEST,
    Parts,
    first_scales,
    float_sums,
    grids_of,
    split,
)

from ....thoroughness import examples

finite = st.floats(allow_nan=False, allow_infinity=False)


def cell_of(values: list[float]) -> CellColumns:
    """One cell with these values as one batch."""
    column = np.array(values)
    grids = grids_of(np.abs(column).max(keepdims=True))
    scale = float(first_scales(grids)[0])
    parts = split(column, scale, np.zeros(len(column), np.int64), 1)
    cell = CellColumns.empty(1)
    cell.grids, cell.high, cell.middle, cell.low = grids, *parts
    return cell


def sum_of(cell: CellColumns) -> float:
    return float(float_sums(cell.parts, cell.grids)[0])


def sum_in_groups(values: list[float], sizes: list[int]) -> float:
    """The sum, with values that come in groups and are merged one after another."""
    total = CellColumns.empty(1)
    while values:
        size = sizes.pop() if sizes else len(values)
        total.merge(slice(None), cell_of(values[:size]))
        values = values[size:]
    return sum_of(total)


@settings(max_examples=examples(400))
@given(
    st.lists(finite, min_size=1, max_size=40),
    st.lists(st.integers(1, 10), max_size=8),
    st.randoms(use_true_random=False),
)
def test_a_sum_does_not_depend_on_order_and_groups(
    values: list[float], sizes: list[int], random: object
) -> None:
    ordered = sum_in_groups(list(values), [])
    random.shuffle(values)  # type: ignore[attr-defined]
    assert sum_in_groups(values, sizes) == ordered


@settings(max_examples=examples(400))
@given(st.lists(finite, min_size=1, max_size=40))
def test_a_sum_is_as_near_to_the_exact_one_as_stated(values: list[float]) -> None:
    exact = sum(map(Fraction, values))
    found = sum_of(cell_of(values))
    if math.isinf(found):
        assert abs(exact) >= Fraction(np.finfo(np.float64).max)
        return
    largest = max(abs(Fraction(value)) for value in values)
    bound = len(values) * largest / 2**57 + abs(exact) / 2**52 + Fraction(5e-324)
    assert abs(Fraction(found) - exact) <= bound


@settings(max_examples=examples(100))
@given(st.lists(st.integers(-(2**52), 2**52), min_size=1, max_size=50))
def test_whole_numbers_are_summed_exactly(values: list[int]) -> None:
    assert sum_of(cell_of([float(value) for value in values])) == float(sum(values))


@settings(max_examples=examples(100))
@given(st.lists(st.floats(1e-3, 1e4).map(lambda value: round(value, 3)), min_size=1))
def test_decimal_values_have_the_sum_of_an_exact_adder(values: list[float]) -> None:
    assert sum_of(cell_of(values)) == pytest.approx(math.fsum(values), rel=2**-52)


@pytest.mark.parametrize(
    "values",
    [
        [5e-324],
        [5e-324, -5e-324, 1e-310],
        [1.7976931348623157e308],
        [-0.0, 0.0],
        [1e16, 1.0, -1e16],
        [0.1] * 10,
        [2.0**1023, 2.0**-1074],
    ],
    ids=repr,
)
def test_extreme_values(values: list[float]) -> None:
    assert sum_of(cell_of(values)) == pytest.approx(math.fsum(values), rel=2**-52)


def test_a_sum_beyond_the_largest_float_is_infinite() -> None:
    assert sum_of(cell_of([1.7e308, 1.7e308])) == math.inf
    assert sum_of(cell_of([-1.7e308, -1.7e308])) == -math.inf


def test_an_empty_cell_has_a_sum_of_zero_and_changes_nothing() -> None:
    cell = cell_of([1.5, 2.5])
    cell.merge(slice(None), CellColumns.empty(1))
    assert sum_of(cell) == 4.0
    assert sum_of(CellColumns.empty(1)) == 0.0
    assert int(CellColumns.empty(1).grids[0]) == GRID_LOWEST


def test_a_negative_sum_loses_no_digits() -> None:
    parts = Parts(np.array([0]), np.array([0]), np.array([-5]))
    assert float_sums(parts, np.array([0]))[0] == -5 * 2.0 ** (14 - 84)
