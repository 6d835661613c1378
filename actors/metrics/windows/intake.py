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
from .cells import NO_TIME
from .opened import OpenWindows
from .sums import Parts, first_scales, grids_of, split

__all__ = ["Points", "TimeBounds", "count_points", "in_time", "points_of", "sort_out"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

UNUSED_MAX: Final = 4
"""Numbers of cells for each point of a batch, up to which it is not worth to make them dense."""
DENSE_CELLS: Final = 8_192
"""As many are always fine."""
MARKED_MAX: Final = 64
"""Numbers of cells for each point of a batch, up to which marking them is faster than sorting."""
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
            self.windows += cells
            cells = self.windows
        size = self.rows * capacity
        if size > max(UNUSED_MAX * len(cells), DENSE_CELLS):
            codes, cells = _made_dense(cells, size)
            size = len(codes)
            used: Ints | slice = slice(None)
            counts = np.bincount(cells, minlength=size)
        else:
            counts = np.bincount(cells, minlength=size)
            used = codes = np.flatnonzero(counts > 0)
            counts = counts[used]
        edges = np.searchsorted(codes, np.arange(self.rows + 1) * capacity)
        moves, full = self._slots(edges)
        if full:
            has_room = ~np.isin(points.times // self.step_ns - self.first, full)
            if has_room.any():
                rest = _Step(self.opened, self.level, points.at(has_room), self.keys[has_room])
                rest.count(begins_ns, is_gauge)
            return has_room
        places = codes + np.repeat(moves, np.diff(edges)) if self.rows > 1 else codes + moves[0]
        self._add(cells, size, used, places, counts)
        columns = self.opened.cells.columns
        if is_gauge is not None:
            self._find_last(cells, size, used, places, is_gauge)
        if begins_ns is not None and begins_ns % self.step_ns:
            row = begins_ns // self.step_ns - self.first
            if 0 <= row < self.rows:
                columns.flags[places[edges[row] : edges[row + 1]]] |= np.uint8(WindowFlag.PARTIAL)
        columns.is_changed[places] = True
        self.opened.cells.is_touched[places] = True
        self._add_bins(cells, size, used, places)
        return None

    def _slots(self, edges: Ints) -> tuple[Ints, list[int]]:
        """For each row the way from its codes to the places of its slot; rows without room."""
        opened, full = self.opened, []
        moves = np.zeros(self.rows, np.int64)
        for row in np.flatnonzero(edges[1:] > edges[:-1]).tolist():
            start = (self.first + row) * self.step_ns
            if start in opened.slots[self.level] or opened.has_room():
                moves[row] = (opened.slot(self.level, start) - row) * self.capacity
            else:
                full.append(row)
        return moves, full

    def _add(self, cells: Ints, size: int, used: Ints | slice, places: Ints, counts: Ints) -> None:
        values = self.points.values
        minima, maxima = np.full(size, np.inf), np.full(size, -np.inf)
        np.minimum.at(minima, cells, values)
        np.maximum.at(maxima, cells, values)
        minima, maxima = minima[used], maxima[used]
        columns = self.opened.cells.columns
        grids = grids_of(np.maximum(-minima, maxima))
        columns.raise_grids(places, grids)
        scales = first_scales(grids)
        if int(grids.min()) == int(grids.max()):
            parts = split(values, float(scales[0]), cells, size)
        else:
            of_cell = np.empty(size)
            of_cell[used] = scales
            parts = split(values, of_cell.take(cells), cells, size)
        columns.add(places, counts, Parts(*(part[used] for part in parts)), minima, maxima)

    def _find_last(
        self, cells: Ints, size: int, used: Ints | slice, places: Ints, is_gauge: Mask
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
        self.opened.cells.columns.merge_last(places, times[used], last[used])

    def _add_bins(self, cells: Ints, size: int, used: Ints | slice, places: Ints) -> None:
        if self.rows == 1 and not isinstance(used, slice):
            of_points = cells + (int(places[0]) - int(used[0]))
        else:
            of_cell = np.empty(size, np.int64)
            of_cell[used] = places
            of_points = of_cell.take(cells)
        self.opened.bins.add(of_points, self.keys, self.capacity)


def _made_dense(cells: Ints, size: int) -> tuple[Ints, Ints]:
    """The cells that occur, sorted, and for each point the place of its cell among them."""
    if size > MARKED_MAX * len(cells):
        return np.unique(cells, return_inverse=True)
    occurs = np.zeros(size, np.bool_)
    occurs[cells] = True
    codes = np.flatnonzero(occurs)
    places = np.empty(size, np.int64)
    places[codes] = np.arange(len(codes))
    return codes, places.take(cells)
