"""The cells of open windows: columns over all windows of a shard and all its series.

Each open window has a slot: a row of cells, one for each series. In each column a cell is at the
place slot times `capacity` plus series. So one numpy call updates the cells of a batch in all
windows. A cell without points has the values that change nothing when it is merged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..rows import WindowFlag
from .sums import GRID_LOWEST, Parts, moved

__all__ = ["NO_TIME", "CellColumns", "Cells"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NO_TIME: Final = -(2**63)
CAPACITY_MIN: Final = 64
SLOTS_MIN: Final = 8

COLUMNS: Final[dict[str, tuple[type[Any], Any]]] = {
    "counts": (np.int64, 0),
    "high": (np.int64, 0),
    "middle": (np.int64, 0),
    "low": (np.int64, 0),
    "grids": (np.int64, GRID_LOWEST),
    "minima": (np.float64, np.inf),
    "maxima": (np.float64, -np.inf),
    "last": (np.float64, -np.inf),
    "last_times": (np.int64, NO_TIME),
    "revisions": (np.int32, 0),
    "flags": (np.uint8, 0),
    "is_changed": (np.bool_, False),
}
"""The columns of cells, their types, and what an empty cell has."""


@dataclass(slots=True)
class CellColumns:
    """Some cells as columns. See `COLUMNS` for what an empty one has."""

    counts: Ints
    high: Ints
    middle: Ints
    low: Ints
    grids: Ints
    """With the three numbers before: the sum (`sums.py`)."""
    minima: Floats
    maxima: Floats
    last: Floats
    """Of a gauge: the value with the latest time, and the largest of those with the same."""
    last_times: Ints
    revisions: npt.NDArray[np.int32]
    """How often the window was given out."""
    flags: npt.NDArray[np.uint8]
    is_changed: npt.NDArray[np.bool_]
    """Whether the window has changed since it was given out last."""

    @classmethod
    def empty(cls, size: int) -> "CellColumns":
        """Cells without points."""
        return cls(*(np.full(size, empty, dtype) for dtype, empty in COLUMNS.values()))

    @classmethod
    def uninitialised(cls, size: int) -> "CellColumns":
        """Cells with any content."""
        return cls(*(np.empty(size, dtype) for dtype, _ in COLUMNS.values()))

    @classmethod
    def joined(cls, parts: "Sequence[CellColumns]") -> "CellColumns":
        """The cells of all parts, one part after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS))

    def at(self, places: Any) -> "CellColumns":
        """The cells at these places, or in this slice."""
        return CellColumns(*(getattr(self, name)[places] for name in COLUMNS))

    def put(self, places: Any, cells: "CellColumns") -> None:
        """Replace the cells at these places."""
        for name in COLUMNS:
            getattr(self, name)[places] = getattr(cells, name)

    def copy(self) -> "CellColumns":
        """Cells that do not share their columns with these."""
        return CellColumns(*(getattr(self, name).copy() for name in COLUMNS))

    @property
    def parts(self) -> Parts:
        """The sums in their grids."""
        return Parts(self.high, self.middle, self.low)

    def merge(self, places: slice, other: "CellColumns") -> None:
        """Add the points of other cells to as many here, from `places` on; revisions stay."""
        mine = self.grids[places]
        grids = np.maximum(mine, other.grids)
        parts = other.parts
        if (grids != other.grids).any():
            parts = moved(parts, grids - other.grids)
        if (grids != mine).any():
            own = moved(
                Parts(self.high[places], self.middle[places], self.low[places]), grids - mine
            )
            self.high[places], self.middle[places], self.low[places] = own
            self.grids[places] = grids
        self.add(places, other.counts, parts, other.minima, other.maxima)
        self.flags[places] |= other.flags
        self.is_changed[places] |= other.is_changed
        self.merge_last(places, other.last_times, other.last)

    def raise_grids(self, places: Ints, grids: Ints) -> None:
        """Have at least these grids at the places, and put into `grids` what is there then."""
        mine = self.grids[places]
        higher = np.flatnonzero(grids > mine)
        np.maximum(grids, mine, out=grids)
        if len(higher):
            some = places[higher]
            own = Parts(self.high[some], self.middle[some], self.low[some])
            own = moved(own, grids[higher] - mine[higher])
            self.high[some], self.middle[some], self.low[some] = own
            self.grids[some] = grids[higher]

    def add(self, places: Any, counts: Ints, parts: Parts, minima: Floats, maxima: Floats) -> None:
        """Add points that are in the grids of these places. No place is named twice."""
        self.counts[places] += counts
        self.high[places] += parts.high
        # Values with few digits, such as whole numbers, have nothing in the finer units.
        for column, part in ((self.middle, parts.middle), (self.low, parts.low)):
            if part.any():
                column[places] += part
        self.minima[places] = np.minimum(self.minima[places], minima)
        self.maxima[places] = np.maximum(self.maxima[places], maxima)

    def merge_last(self, places: Any, others: Ints, values: Floats) -> None:
        """Take the values of later times, or the larger ones of the same times."""
        times, last = self.last_times[places], self.last[places]
        wins = (others > times) | ((others == times) & (values > last))
        if wins.any():
            self.last_times[places] = np.where(wins, others, times)
            self.last[places] = np.where(wins, values, last)


class Cells:
    """The cells of all slots."""

    def __init__(self) -> None:
        self.capacity = CAPACITY_MIN
        """Cells of one slot: at least the series of the shard."""
        self.columns = CellColumns.empty(SLOTS_MIN * CAPACITY_MIN)
        self.is_touched = np.zeros(SLOTS_MIN * CAPACITY_MIN, np.bool_)
        """Whether the cell has changed since the last commit."""
        self._free = list(range(SLOTS_MIN - 1, -1, -1))

    @property
    def slots(self) -> int:
        """The slots that have memory."""
        return len(self.is_touched) // self.capacity

    @property
    def size_bytes(self) -> int:
        """The memory of all columns."""
        columns = sum(getattr(self.columns, name).nbytes for name in COLUMNS)
        return int(columns + self.is_touched.nbytes)

    def take(self) -> int:
        """A slot with empty cells. A free one has any, so that it takes no memory yet."""
        if not self._free:
            slots = self.slots
            self._resize(slots + max(slots // 2, SLOTS_MIN), self.capacity)
            self._free = list(range(self.slots - 1, slots - 1, -1))
        slot = self._free.pop()
        cells = self.row(slot)
        for name, (_, empty) in COLUMNS.items():
            getattr(self.columns, name)[cells] = empty
        return slot

    def free(self, slot: int) -> None:
        """Give back a slot that is not needed any more."""
        self.is_touched[self.row(slot)] = False
        self._free.append(slot)

    def row(self, slot: int) -> slice:
        """The places of a slot's cells."""
        return slice(slot * self.capacity, (slot + 1) * self.capacity)

    def make_room(self, series: int) -> None:
        """Have a cell for so many series in each slot. Places change when `capacity` does."""
        if series > self.capacity:
            capacity = self.capacity
            while capacity < series:
                capacity += max(capacity // 2, CAPACITY_MIN)
            self._resize(self.slots, capacity)

    def _resize(self, slots: int, capacity: int) -> None:
        old, had_slots, had = self.columns, self.slots, self.capacity
        columns = CellColumns.uninitialised(slots * capacity)
        is_touched = np.zeros(slots * capacity, np.bool_)
        for name, (_, empty) in COLUMNS.items():
            rows = getattr(columns, name).reshape(slots, capacity)
            rows[:had_slots, :had] = getattr(old, name).reshape(had_slots, had)
            rows[:had_slots, had:] = empty
        is_touched.reshape(slots, capacity)[:had_slots, :had] = self.is_touched.reshape(
            had_slots, had
        )
        self.columns, self.is_touched, self.capacity = columns, is_touched, capacity

    def mark_partial(self, places: Ints) -> None:
        """Say of these cells that points may be missing; of those that have points."""
        columns = self.columns
        partial = np.uint8(WindowFlag.PARTIAL)
        new = places[(columns.counts[places] > 0) & (columns.flags[places] & partial == 0)]
        columns.flags[new] |= partial
        columns.is_changed[new] = True
        self.is_touched[new] = True
