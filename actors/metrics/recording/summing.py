"""Fewer points that say the same: sums of counters and last values of gauges, for each second."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["last_of_each_second", "sums_of_each_second"]

SECOND_NS = 1_000_000_000

Columns: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Numbers of series, times, and values."""


def sums_of_each_second(
    numbers: npt.NDArray[np.int32], times_ns: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> Columns:
    """One point for each series and second: the sum of its values, at the last of its times."""
    order, firsts, lasts = _groups(numbers, times_ns)
    if not len(order):
        return numbers, times_ns, values
    ends = order[lasts]
    return numbers[ends], times_ns[ends], np.add.reduceat(values[order], firsts)


def last_of_each_second(
    numbers: npt.NDArray[np.int32], times_ns: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> Columns:
    """One point for each series and second: the last one."""
    order, _, lasts = _groups(numbers, times_ns)
    ends = order[lasts]
    return numbers[ends], times_ns[ends], values[ends]


def _groups(
    numbers: npt.NDArray[np.int32], times_ns: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The order by series and time, and in it the first and the last place of each group."""
    order = np.lexsort((times_ns, numbers))
    in_order, seconds = numbers[order], times_ns[order] // SECOND_NS
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (np.diff(in_order) != 0) | (np.diff(seconds) != 0)
    firsts = np.flatnonzero(is_first)
    return order, firsts, np.append(firsts[1:], len(order))[: len(firsts)] - 1
