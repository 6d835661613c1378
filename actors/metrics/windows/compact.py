"""Bins in few bytes: for storing them, and for windows that are read seldom.

The bins of a sketch lie close together: so the columns have the first key of each sketch and then
steps, which fit into a byte or two, as most counts do. A bin takes about three bytes instead of
eight.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "COUNT_BITS",
    "COUNT_MAX",
    "KEY_BITS",
    "KEY_MASK",
    "SERIES_SHIFT",
    "WHOLE_TYPES",
    "BinColumns",
    "bins_of",
    "columns_of",
    "smallest_type",
]

Ints = npt.NDArray[np.int64]

KEY_BITS: Final = 18
KEY_MASK: Final = (1 << KEY_BITS) - 1
COUNT_BITS: Final = 26
COUNT_MAX: Final = (1 << COUNT_BITS) - 1
SERIES_SHIFT: Final = KEY_BITS + COUNT_BITS
WHOLE_TYPES: Final = tuple(
    np.dtype(name) for name in ("<u1", "<u2", "<u4", "<i1", "<i2", "<i4", "<i8")
)


@dataclass(frozen=True, slots=True)
class BinColumns:
    """Bins of many sketches, of whole numbers of any type."""

    series: npt.NDArray[Any]
    """The series of each sketch."""
    sizes: npt.NDArray[Any]
    """The number of bins of each sketch, at least 1."""
    first: npt.NDArray[Any]
    """The first key of each sketch."""
    steps: npt.NDArray[Any]
    """From each key to the next one of the same sketch."""
    counts: npt.NDArray[Any]
    """The count of each bin."""

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def size_bytes(self) -> int:
        """The memory of its columns."""
        return sum(column.nbytes for column in self.columns())

    def narrowed(self) -> "BinColumns":
        """The same in the smallest types."""
        return BinColumns(*(column.astype(smallest_type(column)) for column in self.columns()))

    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """Its five columns."""
        return (self.series, self.sizes, self.first, self.steps, self.counts)


def smallest_type(column: npt.NDArray[Any]) -> np.dtype[Any]:
    """The smallest type that holds all numbers of a column."""
    low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    for dtype in WHOLE_TYPES:
        info = np.iinfo(dtype)
        if info.min <= low and high <= info.max:
            return dtype
    raise AssertionError("an int64 holds every number of an int64")


def columns_of(runs: list[Ints]) -> BinColumns:
    """The columns of sorted runs of bins; a sketch does not go on from one run to the next."""
    bins = np.concatenate(runs)
    series, keys = bins >> SERIES_SHIFT, (bins >> COUNT_BITS) & KEY_MASK
    begins = np.zeros(len(bins), np.bool_)
    begins[1:] = series[1:] != series[:-1]
    sizes = np.array([len(run) for run in runs], np.int64)
    begins[(np.cumsum(sizes) - sizes)[sizes > 0]] = True
    starts = np.flatnonzero(begins)
    return BinColumns(
        series[starts],
        np.diff(starts, append=len(bins)),
        keys[starts],
        np.diff(keys, prepend=0)[~begins],
        bins & COUNT_MAX,
    )


def bins_of(columns: BinColumns) -> Ints:
    """The bins again, one run after the other."""
    series, sizes, first, rest, counts = (each.astype(np.int64) for each in columns.columns())
    starts = np.cumsum(sizes) - sizes
    begins = np.zeros(len(counts), np.bool_)
    begins[starts] = True
    steps = np.zeros(len(counts), np.int64)
    steps[~begins] = rest
    keys = np.cumsum(steps)
    keys += np.repeat(first - keys[starts], sizes)
    bins: Ints = (np.repeat(series, sizes) << SERIES_SHIFT) | (keys << COUNT_BITS) | counts
    return bins
