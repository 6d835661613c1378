"""Aggregations: one series for each group of series, or some series of each group."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .syntax import Aggregation
from .vectors import Flags, Floats, Tags, Vector, signature

__all__ = ["aggregate"]

Places = npt.NDArray[np.int64]
CHOOSES: Final = ("topk", "bottomk")


def aggregate(aggregation: Aggregation, vector: Vector, parameter: Floats | None) -> Vector:
    """Aggregate; the parameter has a value for each moment."""
    if not vector.tags:
        return vector
    places: dict[Tags, int] = {}
    groups = np.array(
        [
            places.setdefault(signature(tags, aggregation.grouping), len(places))
            for tags in vector.tags
        ]
    )
    if aggregation.operator in CHOOSES:
        assert parameter is not None
        return _chosen(vector, groups, parameter, is_top=aggregation.operator == "topk")
    if aggregation.operator == "quantile":
        assert parameter is not None
        values = _quantiles(vector, groups, len(places), parameter)
    else:
        values = _reduced(aggregation.operator, vector, groups, len(places))
    present = _counts(vector.present, groups, len(places)) > 0
    return Vector(tuple(places), np.where(present, values, np.nan), present)


def _counts(present: Flags, groups: Places, count: int) -> Floats:
    found = np.zeros((count, present.shape[1]))
    np.add.at(found, groups, present)
    return found


def _reduced(operator: str, vector: Vector, groups: Places, count: int) -> Floats:
    counts = _counts(vector.present, groups, count)
    with np.errstate(all="ignore"):
        match operator:
            case "count":
                return counts
            case "group":
                return np.ones(counts.shape)
            case "min" | "max":
                # Both leave NaN out, unless there is nothing else.
                found = np.full(counts.shape, np.nan)
                given = np.where(vector.present, vector.values, np.nan)
                (np.fmin if operator == "min" else np.fmax).at(found, groups, given)
                return found
            case "sum" | "avg":
                sums = _sums(vector.values, vector.present, groups, count)
                return sums if operator == "sum" else sums / counts
            case _:
                # From the least value on, so that equal values have a variance of exactly 0.
                least = _reduced("min", vector, groups, count)
                above = vector.values - least[groups]
                means = least + _sums(above, vector.present, groups, count) / counts
                squares = (vector.values - means[groups]) ** 2
                variance = _sums(squares, vector.present, groups, count) / counts
                return np.sqrt(variance) if operator == "stddev" else variance


def _sums(values: Floats, present: Flags, groups: Places, count: int) -> Floats:
    found = np.zeros((count, values.shape[1]))
    np.add.at(found, groups, np.where(present, values, 0.0))
    return found


def _chosen(vector: Vector, groups: Places, parameter: Floats, *, is_top: bool) -> Vector:
    """The series with the highest or lowest values of each group, at each moment."""
    limits = np.where(np.isnan(parameter), 0.0, np.floor(parameter))
    present = np.zeros(vector.present.shape, bool)
    sorted_rows: list[int] = []
    for group in range(int(groups.max()) + 1):
        rows = np.flatnonzero(groups == group)
        order = _order(vector.values[rows], vector.present[rows], is_top=is_top)
        ranks = np.argsort(order, axis=0)
        present[rows] = vector.present[rows] & (ranks < limits)
        sorted_rows += rows[order[:, -1]].tolist()
    chosen = [row for row in sorted_rows if present[row].any()]
    return Vector(vector.tags, vector.values, present).rows(chosen)


def _order(values: Floats, present: Flags, *, is_top: bool) -> npt.NDArray[Any]:
    """For each moment the series in order: values, then NaN, then those without a value."""
    is_nan = np.isnan(values)
    category = np.where(present, is_nan, 2)
    keys = np.where(is_nan, 0.0, -values if is_top else values)
    return np.lexsort((keys, category), axis=0)


def _quantiles(vector: Vector, groups: Places, count: int, parameter: Floats) -> Floats:
    found = np.full((count, vector.moments), np.nan)
    for group in range(count):
        rows = np.flatnonzero(groups == group)
        for moment in range(vector.moments):
            values = vector.values[rows, moment][vector.present[rows, moment]]
            found[group, moment] = quantile(values.tolist(), float(parameter[moment]))
    return found


def quantile(values: Sequence[float], q: float) -> float:
    """The quantile of some values, between the two values that are nearest to it."""
    if not values or q != q:  # noqa: PLR0124 - NaN
        return float("nan")
    if not 0.0 <= q <= 1.0:
        return float("-inf") if q < 0.0 else float("inf")
    ordered = sorted(values, key=lambda value: (value == value, value))  # noqa: PLR0124 - NaN first
    rank = q * (len(ordered) - 1)
    lower = int(rank)
    upper = min(lower + 1, len(ordered) - 1)
    weight = rank - lower
    return ordered[lower] * (1.0 - weight) + ordered[upper] * weight
