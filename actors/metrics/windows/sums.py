"""Sums that do not depend on the order of the points, to the last bit.

A sum is kept in three whole numbers. They count multiples of three units, each 2^-28 of the one
before. The grid of a cell says which units: it follows from the largest size among the cell's
values, so that no value is over 2^28 of the first unit. A value is split over the three by
rounding, and whole numbers add up the same in each order.

When a larger value arrives, the grid moves up: the numbers move down by one place, and the last
one is dropped. That is exactly what rounding to the coarser unit would have left of each value.
So the numbers depend on the set of values only, not on their order, batches or windows in between.

Bound: each value is rounded to 2^-56 of the largest size in the window or finer, so a sum of n
values is within n * 2^-57 of the largest one, apart from the last rounding to a float64 (a naive
sum: n * 2^-53 of the sum). It is exact for values of like size, such as whole numbers below 2^53.
A window has room for 2^35 points.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["GRID_LOWEST", "Parts", "first_scales", "float_sums", "grids_of", "moved", "split"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STEP_BITS: Final = 28
UNIT: Final = float(1 << STEP_BITS)
OFFSET_BITS: Final = 14
"""Grid 0 is for sizes up to 2^14: seconds and bytes do not meet at its border."""
GRID_LOWEST: Final = -36
"""Its last unit is below the smallest float64, so it holds everything exactly."""
LOW: Final = (1 << STEP_BITS) - 1


class Parts(NamedTuple):
    """The three numbers of each sum, the one of the largest unit first."""

    high: Ints
    middle: Ints
    low: Ints


def grids_of(sizes: Floats) -> Ints:
    """The grid for values of at most this size."""
    _, exponents = np.frexp(sizes)
    grids = -((OFFSET_BITS - exponents.astype(np.int64)) // STEP_BITS)
    grids[sizes == 0.0] = GRID_LOWEST
    return np.maximum(grids, GRID_LOWEST)


def first_scales(grids: Ints) -> Floats:
    """What turns a value into multiples of the first unit of a grid."""
    return np.ldexp(1.0, (OFFSET_BITS - STEP_BITS * grids).astype(np.int32))


def split(values: Floats, scales: Floats | float, cells: Ints, cell_count: int) -> Parts:
    """Sum the values of each cell. `scales` are those of the cell's grid, for each value or all.

    Every step is exact. The batch has less than 2^25 values.
    """
    rest = values * scales
    whole = np.rint(rest)
    sums = [np.bincount(cells, whole, cell_count).astype(np.int64)]
    for _ in range(2):
        rest -= whole
        if rest.any():
            rest *= UNIT
            np.rint(rest, out=whole)
            sums.append(np.bincount(cells, whole, cell_count).astype(np.int64))
        else:  # Values with few digits, such as whole numbers, have nothing in finer units.
            whole = rest
            sums.append(np.zeros(cell_count, np.int64))
    return Parts(*sums)


def moved(parts: Parts, steps: Ints) -> Parts:
    """The same sums in a grid that is `steps` higher."""
    if not steps.any():
        return parts
    high, middle, low = parts
    zero = np.int64(0)
    return Parts(
        np.where(steps == 0, high, zero),
        np.select([steps == 0, steps == 1], [middle, high], zero),
        np.select([steps == 0, steps == 1, steps == 2], [low, middle, high], zero),
    )


def float_sums(parts: Parts, grids: Ints) -> Floats:
    """The sums as floats; infinite where a float64 cannot hold them."""
    high, middle, low = _carried(parts)
    is_negative = high < 0
    if is_negative.any():
        sign = np.where(is_negative, -1, 1)
        high, middle, low = _carried(Parts(high * sign, middle * sign, low * sign))
    else:
        sign = np.ones(1, np.int64)
    # Both summands are positive now, so none of their digits cancel out.
    rest = ((middle << STEP_BITS) | low).astype(np.float64)
    shift = (STEP_BITS * grids + OFFSET_BITS - 3 * STEP_BITS).astype(np.int32)
    upper = (high >> 32).astype(np.float64) * 2.0**88
    lower = (high & 0xFFFFFFFF).astype(np.float64) * 2.0**56
    with np.errstate(over="ignore", under="ignore"):
        found: Floats = np.ldexp(upper + (lower + rest), shift) * sign
    return found


def _carried(parts: Parts) -> Parts:
    """The same sums with lower numbers from 0 to 2^28 - 1: each sum has one such form."""
    middle = parts.middle + (parts.low >> STEP_BITS)
    return Parts(parts.high + (middle >> STEP_BITS), middle & LOW, parts.low & LOW)
