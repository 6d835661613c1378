"""DDSketch: a summary of values that gives quantiles with a bounded relative error.

A value belongs to the bin of its logarithm, so that all values of a bin differ by at most
`RELATIVE_ERROR` from the bin's own value. Sketches merge without loss: the counts of equal bins
are added. Source: Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", PVLDB 12 (2019).

The promise holds for values of at least 5e-306 in size, and for 0. Nearer to 0 a float64 has
fewer digits, and the error is at most 1 % or one of its smallest steps, 5e-324.

Keys of bins are whole numbers in the order of their values: 0 for 0, positive ones for positive
values, negative ones for negative values.
"""

import math
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["RELATIVE_ERROR", "SketchColumns", "keys_of", "merge_sketches", "values_of"]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

RELATIVE_ERROR: Final = 0.01
"""The promise for every quantile, in every tier."""
BIN_ERROR: Final = 0.0099
"""The error of the bins themselves: the margin covers the rounding of logarithms."""
GAMMA: Final = (1 + BIN_ERROR) / (1 - BIN_ERROR)
LOG_GAMMA: Final = math.log(GAMMA)
FLOAT_MAX: Final = float(np.finfo(np.float64).max)
KEY_OF_ONE: Final = 40_000
"""The key of the bin that ends at 1. Keys of all positive floats are between 1 and 80,000."""


class SketchColumns(NamedTuple):
    """The sketches of many windows: for window i the bins from `offsets[i]` to `offsets[i + 1]`."""

    offsets: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int32]
    """Ascending within a window."""
    counts: npt.NDArray[np.int64]

    def quantiles(self, q: float) -> Floats:
        """The quantile `q` (0 to 1) of each window; NaN where a window has no value."""
        windows = len(self.offsets) - 1
        found = np.full(windows, np.nan)
        cumulated = np.concatenate(([0], np.cumsum(self.counts)))
        before, after = cumulated[self.offsets[:-1]], cumulated[self.offsets[1:]]
        full = np.flatnonzero(after > before)
        rank = np.floor(q * (after[full] - before[full] - 1)).astype(np.int64)
        bins = np.searchsorted(cumulated, before[full] + rank, side="right") - 1
        found[full] = values_of(self.keys[bins])
        return found

    def of(self, windows: npt.NDArray[Any]) -> "SketchColumns":
        """The sketches of some windows, chosen by a mask or by their numbers."""
        sizes = np.diff(self.offsets)[windows]
        starts = self.offsets[:-1][windows]
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        places = np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])
        return SketchColumns(offsets, self.keys[places], self.counts[places])


def keys_of(values: Floats) -> npt.NDArray[np.int32]:
    """The key of the bin of each finite value.

    Always from the logarithm of the float64: the key of a value must not depend on the values
    that come with it.
    """
    if len(values) and values.min() > 0.0:
        keys = np.log(values)
        keys *= 1.0 / LOG_GAMMA
        np.ceil(keys, out=keys)
        keys += KEY_OF_ONE
        return keys.astype(np.int32)
    sizes = np.abs(values)
    is_zero = sizes == 0.0
    sizes[is_zero] = 1.0
    keys = np.ceil(np.log(sizes) * (1.0 / LOG_GAMMA)) + KEY_OF_ONE
    keys[is_zero] = 0.0
    return np.copysign(keys, values).astype(np.int32)


def values_of(keys: npt.NDArray[Any]) -> Floats:
    """The value that stands for each bin; finite also for the last bin, which goes beyond."""
    sizes = np.abs(keys).astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        found = np.exp((sizes - KEY_OF_ONE) * LOG_GAMMA) * (2.0 / (1.0 + GAMMA))
    np.minimum(found, FLOAT_MAX, out=found)
    return np.where(sizes > 0.0, np.copysign(found, keys), 0.0)


def merge_sketches(sketches: SketchColumns, groups: Ints, group_count: int) -> SketchColumns:
    """Merge the sketches of the windows of each group; `groups` has a number for each window."""
    owners = np.repeat(groups, np.diff(sketches.offsets))
    pairs, inverse = np.unique(
        owners.astype(np.int64) << 32 | (sketches.keys.astype(np.int64) + (1 << 31)),
        return_inverse=True,
    )
    counts = np.zeros(len(pairs), np.int64)
    np.add.at(counts, inverse, sketches.counts)
    found = pairs >> 32
    offsets = np.searchsorted(found, np.arange(group_count + 1))
    keys = ((pairs & 0xFFFFFFFF) - (1 << 31)).astype(np.int32)
    return SketchColumns(offsets.astype(np.int64), keys, counts)
