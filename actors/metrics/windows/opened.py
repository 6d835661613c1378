"""The open windows of a shard: one slot of cells and bins for each, on every level.

A window is due when the watermark reaches its end, and final when `lateness_ns` more have passed.
Only windows of levels without a source take points. A final window is merged into those of the next
levels that contain it, and let go. So the windows of coarser levels have what is final, and what is
not final is added when they are read.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .bins import BinStore, merge_bins
from .cells import CellColumns, Cells
from .settings import FINEST_NS, Level, WindowSettings, levels_of

__all__ = ["OpenWindows"]

Ints = npt.NDArray[np.int64]


class OpenWindows:
    """All windows that are not final."""

    def __init__(self, settings: WindowSettings) -> None:
        self._settings = settings
        self.levels = levels_of(settings.custom)
        self.point_levels = tuple(
            place for place, level in enumerate(self.levels) if level.source is None
        )
        """The levels that take points; the first has the finest of the four windows."""
        self.slots: tuple[dict[int, int], ...] = tuple({} for _ in self.levels)
        """For each level the slot of each window, by its start."""
        self.cells = Cells()
        self.bins = BinStore()

    def __len__(self) -> int:
        return sum(map(len, self.slots))

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Level, start and slot of each window."""
        for level, slots in enumerate(self.slots):
            for start, slot in sorted(slots.items()):
                yield level, start, slot

    def make_room(self, series: int) -> None:
        """Have a cell for so many series in each window."""
        if series > self.cells.capacity:
            self.bins.sort(self.cells.capacity)
            self.cells.make_room(series)

    def has_room(self) -> bool:
        """Whether one more window may be opened."""
        return (len(self) + 1) * self.cells.capacity <= self._settings.cells_max

    def slot(self, level: int, start_ns: int) -> int:
        """The slot of a window, which is opened if need be."""
        slots = self.slots[level]
        slot = slots.get(start_ns)
        if slot is None:
            slot = slots[start_ns] = self.cells.take()
        return slot

    def is_due(self, level: Level, start_ns: int, watermark_ns: int) -> bool:
        """Whether the watermark has reached the end of a window."""
        return start_ns + level.width_ns <= watermark_ns

    def is_final(self, level: Level, start_ns: int, watermark_ns: int) -> bool:
        """Whether no point of a window is in time any more.

        Points are late by the finest of the four windows. So a custom window with another end
        waits for the last of those that it shares points with.
        """
        end = -(-(start_ns + level.width_ns) // FINEST_NS) * FINEST_NS
        return end + self._settings.lateness_ns <= watermark_ns

    def coarser(self, level: int, start_ns: int) -> Iterator[tuple[int, int]]:
        """Level and start of the next coarser windows that contain this one."""
        width = self.levels[level].width_ns
        for place, other in enumerate(self.levels):
            if other.source == level:
                for start in other.starts_with(start_ns, width):
                    yield place, start

    def within(self, level: int, start_ns: int) -> list[int]:
        """The slots of a window, and of all finer ones in it that are not final."""
        own = self.slots[level].get(start_ns)
        found = [] if own is None else [own]
        source = self.levels[level].source
        if source is not None:
            end = start_ns + self.levels[level].width_ns
            width = self.levels[source].width_ns
            for start in self.starts(source):
                if start_ns <= start and start + width <= end:
                    found += self.within(source, start)
        return found

    def starts(self, level: int) -> list[int]:
        """The starts of the windows of a level that are not final, opened or only finer ones."""
        found = set(self.slots[level])
        source = self.levels[level].source
        if source is not None:
            width = self.levels[source].width_ns
            for start in self.starts(source):
                found.update(self.levels[level].starts_with(start, width))
        return sorted(found)

    def total(self, slots: list[int]) -> CellColumns:
        """The cells of some slots together, one for each series. Do not change them."""
        cells = self.cells
        first = cells.columns.at(cells.row(slots[0]))
        if len(slots) > 1:
            first = first.copy()
            for slot in slots[1:]:
                first.merge(slice(None), cells.columns.at(cells.row(slot)))
        return first

    def total_bins(self, slots: list[int]) -> Ints:
        """The bins of some slots together."""
        self.bins.sort(self.cells.capacity)
        return merge_bins([run for slot in slots for run in self.bins.of(slot)])

    def spread_changes(self, level: int, start_ns: int) -> None:
        """Tell the next coarser windows which series have changed; they are opened for that."""
        changed = self.cells.columns.is_changed
        slot = self.slots[level][start_ns]
        if changed[self.cells.row(slot)].any():
            for place, start in self.coarser(level, start_ns):
                other = self.slot(place, start)
                changed = self.cells.columns.is_changed
                changed[self.cells.row(other)] |= changed[self.cells.row(slot)]

    def merge_upwards(self, level: int, start_ns: int) -> None:
        """Let a final window go into the next coarser ones."""
        slot = self.slots[level].pop(start_ns)
        cells = self.cells
        bins = self.bins.settled(slot)
        for place, start in self.coarser(level, start_ns):
            other = self.slot(place, start)
            cells.columns.merge(cells.row(other), cells.columns.at(cells.row(slot)))
            self.bins.append(other, bins)
        cells.free(slot)
        self.bins.free(slot)

    def mark_partial(self, series: Ints, from_ns: int, to_ns: int) -> None:
        """Say that points of these series may be missing in this time."""
        series = np.unique(series[series >= 0])
        for level in self.point_levels:
            width = self.levels[level].width_ns
            for start, slot in self.slots[level].items():
                if start < to_ns and start + width > from_ns:
                    self.cells.mark_partial(slot * self.cells.capacity + series)
