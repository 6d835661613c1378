"""Sketches keep their promise of 1 %, however they are merged."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from ddsketch import DDSketch
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.sketch import (
    RELATIVE_ERROR,
    SketchColumns,
    keys_of,
    merge_sketches,
    values_of,
)

from ...thoroughness import examples

QUANTILES = (0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0)
SMALLEST = 5e-306
"""The promise holds from this size on; below it a float64 has too few digits."""


def sketch_of(windows: Sequence[npt.NDArray[np.float64]]) -> SketchColumns:
    counted = [np.unique(keys_of(values), return_counts=True) for values in windows]
    offsets = np.concatenate(([0], np.cumsum([len(keys) for keys, _ in counted])))
    return SketchColumns(
        offsets.astype(np.int64),
        np.concatenate([keys for keys, _ in counted]),
        np.concatenate([counts for _, counts in counted]).astype(np.int64),
    )


def check(values: npt.NDArray[np.float64], found: SketchColumns) -> None:
    for q in QUANTILES:
        exact = float(np.sort(values)[math.floor(q * (len(values) - 1))])
        estimate = float(found.quantiles(q)[0])
        assert abs(estimate - exact) <= RELATIVE_ERROR * abs(exact), q


promised = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda value: value == 0.0 or abs(value) >= SMALLEST
)


@settings(max_examples=examples(400))
@given(st.lists(promised, min_size=1, max_size=60))
def test_every_quantile_is_within_the_promise(values: list[float]) -> None:
    column = np.array(values)
    check(column, sketch_of([column]))


@settings(max_examples=examples(200))
@given(st.lists(st.lists(promised, max_size=20), min_size=2, max_size=6))
def test_merged_sketches_are_those_of_all_values(parts: list[list[float]]) -> None:
    columns = [np.array(part, np.float64) for part in parts]
    every = np.concatenate(columns)
    merged = merge_sketches(sketch_of(columns), np.zeros(len(columns), np.int64), 1)
    whole = sketch_of([every])
    assert merged.keys.tolist() == whole.keys.tolist()
    assert merged.counts.tolist() == whole.counts.tolist()
    if len(every):
        check(every, merged)


@settings(max_examples=examples(300))
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_value_is_near_the_value_of_its_bin(value: float) -> None:
    found = float(values_of(keys_of(np.array([value])))[0])
    assert math.isfinite(found)
    assert abs(found - value) <= max(RELATIVE_ERROR * abs(value), 5e-324)


@settings(max_examples=examples(100))
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=64))
def test_the_key_of_a_value_does_not_depend_on_the_others(values: list[float]) -> None:
    together = keys_of(np.array(values)).tolist()
    assert together == [int(keys_of(np.array([value]))[0]) for value in values]


def test_keys_are_in_the_order_of_their_values() -> None:
    values = np.array([-1e300, -1.0, -1e-300, 0.0, 1e-300, 1.0, 1e300])
    keys = keys_of(values)
    assert keys.tolist() == sorted(set(keys.tolist()))
    assert keys_of(np.array([-0.0])).tolist() == [0]


def test_borders_of_bins_are_within_the_promise() -> None:
    # The worst of all values: those next to the border between two bins.
    edges = values_of(np.arange(39_000, 41_000)) * (1 + RELATIVE_ERROR)
    near = np.concatenate([edges * (1 + step * 2.0**-52) for step in range(-8, 9)])
    found = values_of(keys_of(near))
    assert (np.abs(found - near) <= RELATIVE_ERROR * near).all()


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.lognormal(0, 2, 20_000),
        lambda rng: rng.pareto(0.6, 20_000),
        lambda rng: rng.normal(0, 1, 20_000),
        lambda rng: np.concatenate([np.zeros(15_000), rng.exponential(1, 5_000)]),
        lambda rng: -rng.lognormal(0, 3, 20_000),
        lambda rng: rng.integers(0, 5, 20_000).astype(float),
    ],
    ids=["lognormal", "pareto", "normal", "mostly zero", "negative", "whole numbers"],
)
def test_quantiles_agree_with_the_package_ddsketch(draw: object) -> None:
    values = draw(np.random.default_rng(7))  # type: ignore[operator]
    other = DDSketch(RELATIVE_ERROR)
    for value in values.tolist():
        other.add(value)
    found = sketch_of([values])
    check(values, found)
    for q in (0.5, 0.95, 0.99):
        estimate = other.get_quantile_value(q)
        assert estimate is not None
        assert float(found.quantiles(q)[0]) == pytest.approx(
            estimate, rel=2.1 * RELATIVE_ERROR, abs=1e-9
        )


def test_a_window_without_values_has_no_quantile() -> None:
    empty = SketchColumns(np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64))
    assert np.isnan(empty.quantiles(0.5)).all()


def test_some_of_the_sketches() -> None:
    sketches = sketch_of([np.array([1.0, 2.0]), np.zeros(0), np.array([3.0]), np.array([4.0, 4.0])])
    some = sketches.of(np.array([True, False, True, True]))
    assert some.offsets.tolist() == [0, 2, 3, 4]
    assert some.counts.tolist() == [1, 1, 1, 2]
    assert sketches.of(np.array([3])).keys.tolist() == keys_of(np.array([4.0])).tolist()
