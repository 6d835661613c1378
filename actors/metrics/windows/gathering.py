"""Small batches, gathered into steps that are worth their cost.

A step costs something for itself, and something for each cell that it touches. With many series a
batch touches about as many cells as it has points, each in another line of the processor's cache.
So batches wait until there are some points for each series, or until somebody reads or commits.

Only points of windows that are open wait. So what becomes of each point is known at once, and a
batch that does not wait may overtake those that do: the order of points changes nothing.
"""

from typing import Final

import numpy as np

from .directory import SeriesDirectory
from .intake import Points, count_points
from .opened import OpenWindows

__all__ = ["Gathering"]

POINTS_PER_SERIES: Final = 32
WAITING_MIN: Final = 1 << 14
WAITING_MAX: Final = 1 << 19
"""Points that wait at most, at 24 bytes each."""
WINDOWS_MAX: Final = 64
"""Points that are spread over more windows do not wait."""


class Gathering:
    """The way of points into the open windows."""

    def __init__(self, opened: OpenWindows, directory: SeriesDirectory) -> None:
        self._opened = opened
        self._directory = directory
        self._waiting = _room_for(0)
        self._filled = 0
        """The points that wait."""

    def count(self, points: Points, begins_ns: int) -> int:
        """Count points, now or later; give how many had no room.

        `begins_ns` is the time at which their source began: the cells of its windows are partial.
        """
        size = len(points.times)
        room = max(POINTS_PER_SERIES * self._opened.cells.capacity, WAITING_MIN)
        room = min(room, WAITING_MAX)
        if size >= room or not self._may_wait(points, begins_ns):
            return self._count(points, begins_ns)
        if self._filled + size > len(self._waiting.times):
            self._count_waiting()
            if len(self._waiting.times) < room:
                self._waiting = _room_for(room)
        places = slice(self._filled, self._filled + size)
        for column, more in zip(self._waiting, points, strict=True):
            column[places] = more
        self._filled += size
        return 0

    def settle(self) -> None:
        """Count what waits: before anybody reads, and before windows are closed."""
        self._count_waiting()
        self._waiting = _room_for(0)

    def _count_waiting(self) -> None:
        if self._filled:
            points = self._waiting.at(slice(self._filled))
            self._filled = 0
            without_room = self._count(points, None)
            assert not without_room, "points wait only for windows that are open"

    def _count(self, points: Points, begins_ns: int | None) -> int:
        gauges = self._directory.is_gauge if self._directory.has_gauges else None
        return count_points(self._opened, points, begins_ns, gauges)

    def _may_wait(self, points: Points, begins_ns: int) -> bool:
        """Whether all windows of these points are open, and after the one that is partial."""
        first, last = int(points.times.min()), int(points.times.max())
        for place in self._opened.point_levels:
            step, slots = self._opened.levels[place].step_ns, self._opened.slots[place]
            starts = range(first // step * step, last + 1, step)
            if (
                begins_ns >= starts[0]
                or len(starts) > WINDOWS_MAX
                or any(start not in slots for start in starts)
            ):
                return False
        return True


def _room_for(points: int) -> Points:
    return Points(np.empty(points, np.int64), np.empty(points, np.int64), np.empty(points))
