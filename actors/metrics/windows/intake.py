"""The intake of points: the columns of a batch into the cells and bins of open windows.

All of it is numpy over whole columns. The points of a batch belong to few windows: so a cell is
first numbered within the batch, by window and series, where `bincount` and its like are fast, and
the results are added to the open windows at once. Where most of these numbers would be unused, they
are made dense by sorting.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ..points import PointBatch
from ..rows import WindowFlag
from ..sketch import keys_of
from .accounts import DropReason
from .cells import NO_TIME, CellColumns
from .opened import OpenWindows
from .sums import first_scales, grids_of, split

__all__ = ["Points", "TimeBounds", "count_points", "in_time", "points_of", "sort_out"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

UNUSED_MAX: Final = 4
"""Numbers of cells for each point of a batch, up to which it is not worth to make them dense."""
DENSE_CELLS: Final = 8_192
"""As many are always fine."""
POINTS_MAX: Final = 1 << 24
"""Points of one step: the sums of a batch are exact up to twice as many."""
YEAR_NS: Final = 366 * 86_400 * 1_000_000_000
UNITS: Final = (10**9, 10**6, 10**3)


class Points(NamedTuple):
    """Points as columns, with the numbers of their series in the shard, or in their source."""

    series: Ints
    times: Ints
    values: Floats

    def at(self, places: Mask | slice) -> "Points":
        """Some of them."""
        return Points(self.series[places], self.times[places], self.values[places])


class TimeBounds(NamedTuple):
    """Which windows may take points now, as numbers of windows since 1970 (or numbers of ns)."""

    oldest: int
    """Earlier windows are too far behind the clock."""
    first: int
    """Earlier windows are final: their points are late."""
    newest: int
    """Later windows are too far ahead of the clock."""
    now_ns: int


def points_of(batch: PointBatch) -> tuple[Points | None, int]:
    """The columns of a batch, or None if they are wrong, and the number of points."""
    columns: list[Any] = [batch.series, batch.times_ns, batch.values]
    sizes = {column.shape for column in columns}
    if len(sizes) > 1 or any(
        column.ndim != 1 or column.dtype.kind not in kinds
        for column, kinds in zip(columns, ("iu", "iu", "fiu"), strict=True)
    ):
        return None, max(len(column) if column.ndim == 1 else 0 for column in columns)
    series = columns[0].astype(np.int64, copy=False)
    times = columns[1].astype(np.int64, copy=False)
    values = columns[2].astype(np.float64, copy=False)
    return Points(series, times, values), len(values)


def sort_out(points: Points, numbers: Ints, dropped: dict[DropReason, int]) -> Points:
    """The points with known series and finite values, with the shard's numbers of their series."""
    series = points.series
    if series.min() < 0 or series.max() >= len(numbers):
        known = (series >= 0) & (series < len(numbers))
        points = _kept(points, known, DropReason.UNKNOWN_SERIES, dropped)
        series = points.series
    points = points._replace(series=numbers.take(series))
    if len(points.series) and points.series.min() < 0:
        points = _kept(points, points.series >= 0, DropReason.UNKNOWN_SERIES, dropped)
    values = points.values
    if len(values) and not np.isfinite([values.min(), values.max()]).all():
        points = _kept(points, np.isfinite(values), DropReason.NOT_FINITE, dropped)
    return points


def _kept(points: Points, mask: Mask, reason: DropReason, dropped: dict[DropReason, int]) -> Points:
    count = len(mask) - int(np.count_nonzero(mask))
    if count:
        dropped[reason] = dropped.get(reason, 0) + count
    return points.at(mask)


def in_time(
    points: Points, windows: Ints, bounds: TimeBounds, dropped: dict[DropReason, int]
) -> tuple[Points, Points]:
    """The points whose windows take points now, and those that are late."""
    is_old = windows < bounds.oldest
    wrong = np.zeros(len(windows), np.bool_)
    if is_old.any():
        for unit in UNITS:
            first, last = (bounds.now_ns - YEAR_NS) // unit, (bounds.now_ns + YEAR_NS) // unit
            wrong |= is_old & (points.times >= first) & (points.times <= last)
    is_new = windows > bounds.newest
    for reason, mask in (
        (DropReason.WRONG_UNIT, wrong),
        (DropReason.TOO_OLD, is_old & ~wrong),
        (DropReason.FUTURE, is_new),
    ):
        count = int(np.count_nonzero(mask))
        if count:
            dropped[reason] = dropped.get(reason, 0) + count
    stays = ~(is_old | is_new)
    late = stays & (windows < bounds.first)
    return points.at(stays & ~late), points.at(late)


def count_points(
    opened: OpenWindows, points: Points, begins_ns: int | None, is_gauge: Mask | None
) -> int:
    """Count points in the windows of all levels that take points; give how many had no room.

    `begins_ns` is the time at which the source began: the cells of its windows are partial.
    `is_gauge` says of each series whether it is a gauge; None if none is.
    """
    if len(points.values) > POINTS_MAX:
        half = len(points.values) // 2
        halves = (points.at(slice(half)), points.at(slice(half, None)))
        return sum(count_points(opened, each, begins_ns, is_gauge) for each in halves)
    full = 0
    keys = keys_of(points.values)
    for place, level in enumerate(opened.point_levels):
        without_room = _Step(opened, level, points, keys).count(begins_ns, is_gauge)
        if place == 0 and without_room is not None:
            full = len(keys) - int(np.count_nonzero(without_room))
            points, keys = points.at(without_room), keys[without_room]
            if not len(keys):
                break
    return full


class _Step:
    """The points of one batch, and the windows of one level."""

    def __init__(
        self, opened: OpenWindows, level: int, points: Points, keys: npt.NDArray[np.int32]
    ) -> None:
        self.opened = opened
        self.level = level
        self.step_ns = opened.levels[level].step_ns
        self.points = points
        self.keys = keys
        self.capacity = opened.cells.capacity
        self.windows = points.times // self.step_ns
        self.first = int(self.windows.min())
        self.rows = int(self.windows.max()) - self.first + 1

    def count(self, begins_ns: int | None, is_gauge: Mask | None) -> Mask | None:
        """Count the points; give a mask of those that have room if some have none."""
        points, capacity = self.points, self.capacity
        cells = points.series
        if self.rows > 1:
            self.windows -= self.first
            self.windows *= capacity
            cells = self.windows + cells
        size = self.rows * capacity
        if size > max(UNUSED_MAX * len(cells), DENSE_CELLS):
            codes, cells = np.unique(cells, return_inverse=True)
            size = len(codes)
            used = np.arange(size)
            counts = np.bincount(cells, minlength=size)
        else:
            counts = np.bincount(cells, minlength=size)
            used = np.flatnonzero(counts)
            codes = used
        rows = codes // capacity
        slots, full = self._slots(rows)
        if full is not None:
            has_room = ~np.isin(points.times // self.step_ns - self.first, full)
            if has_room.any():
                rest = _Step(self.opened, self.level, points.at(has_room), self.keys[has_room])
                rest.count(begins_ns, is_gauge)
            return has_room
        places = codes + (slots - rows) * capacity
        found = self._aggregate(cells, size, used, places, counts)
        if is_gauge is not None:
            self._find_last(cells, size, used, is_gauge, found)
        if begins_ns is not None and begins_ns % self.step_ns:
            found.flags[rows == begins_ns // self.step_ns - self.first] = WindowFlag.PARTIAL
        columns = self.opened.cells.columns
        columns.merge(places, found)
        self.opened.cells.is_touched[places] = True
        self._add_bins(cells, size, used, places)
        return None

    def _slots(self, rows: Ints) -> tuple[Ints, Ints | None]:
        """The slot of each row, and the rows that have no room."""
        changes = np.concatenate(([0], np.flatnonzero(rows[1:] != rows[:-1]) + 1))
        opened, full = self.opened, []
        slots = np.empty(len(changes), np.int64)
        for place, row in enumerate(rows[changes].tolist()):
            start = (self.first + row) * self.step_ns
            if start in opened.slots[self.level] or opened.has_room():
                slots[place] = opened.slot(self.level, start)
            else:
                full.append(row)
        repeated = np.repeat(slots, np.diff(changes, append=len(rows)))
        return repeated, np.array(full, np.int64) if full else None

    def _aggregate(
        self, cells: Ints, size: int, used: Ints, places: Ints, counts: Ints
    ) -> CellColumns:
        values = self.points.values
        minima, maxima = np.full(size, np.inf), np.full(size, -np.inf)
        np.minimum.at(minima, cells, values)
        np.maximum.at(maxima, cells, values)
        minima, maxima = minima[used], maxima[used]
        grids = grids_of(np.maximum(np.abs(minima), np.abs(maxima)))
        np.maximum(grids, self.opened.cells.columns.grids[places], out=grids)
        scales = first_scales(grids)
        if (grids == grids[0]).all():
            parts = split(values, float(scales[0]), cells, size)
        else:
            of_cell = np.empty(size)
            of_cell[used] = scales
            parts = split(values, of_cell.take(cells), cells, size)
        count = len(used)
        return CellColumns(
            counts[used],
            parts.high[used],
            parts.middle[used],
            parts.low[used],
            grids,
            minima,
            maxima,
            np.full(count, -np.inf),
            np.full(count, NO_TIME),
            np.zeros(count, np.int32),
            np.zeros(count, np.uint8),
            np.ones(count, np.bool_),
        )

    def _find_last(
        self, cells: Ints, size: int, used: Ints, is_gauge: Mask, found: CellColumns
    ) -> None:
        chosen = is_gauge.take(self.points.series)
        if not chosen.any():
            return
        cells, values = cells[chosen], self.points.values[chosen]
        of_point = self.points.times[chosen]
        times, last = np.full(size, NO_TIME), np.full(size, -np.inf)
        np.maximum.at(times, cells, of_point)
        is_last = of_point == times.take(cells)
        np.maximum.at(last, cells[is_last], values[is_last])
        found.last_times[:] = times[used]
        found.last[:] = last[used]

    def _add_bins(self, cells: Ints, size: int, used: Ints, places: Ints) -> None:
        if self.rows == 1 and size == self.capacity:
            of_points = cells + (int(places[0]) - int(used[0]))
        else:
            of_cell = np.empty(size, np.int64)
            of_cell[used] = places
            of_points = of_cell.take(cells)
        self.opened.bins.add(of_points, self.keys, self.capacity)
