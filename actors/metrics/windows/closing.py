"""Closing: which windows are given out, in which revision, and as which rows.

A window is given out when it is due, and again after each change until it is final. `close` changes
state by what is in it and by the watermark alone, so that a replay of the log does the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..rows import WindowFlag, WindowRows
from ..sketch import SketchColumns
from .bins import sketches_of
from .cells import CellColumns
from .directory import SeriesDirectory
from .opened import OpenWindows
from .sums import float_sums

__all__ = ["Piece", "close", "rows_of", "window_piece"]

Ints = npt.NDArray[np.int64]


class Piece(NamedTuple):
    """Some series of one window that is given out."""

    start_ns: int
    series: Ints
    cells: CellColumns
    sketches: SketchColumns


def close(
    opened: OpenWindows, watermark_ns: int, *, with_open: bool, gives: bool
) -> dict[int, list[Piece]]:
    """Give out what is due and has changed, by width, and let final windows go.

    With `with_open` also what is not due. Without `gives` nothing is given out, but everything
    changes as if it were: for a replay.
    """
    found: dict[int, list[Piece]] = {}
    columns = opened.cells.columns
    for place, level in enumerate(opened.levels):
        for start in sorted(opened.slots[place]):
            opened.spread_changes(place, start)
            columns = opened.cells.columns
            is_due = opened.is_due(level, start, watermark_ns)
            if is_due or with_open:
                cells = opened.cells.row(opened.slots[place][start])
                series = np.flatnonzero(columns.is_changed[cells])
                if len(series) and level.is_given:
                    columns.revisions[cells][series] += 1
                    if gives:
                        piece = window_piece(opened, place, start, series, is_due=is_due)
                        found.setdefault(level.width_ns, []).append(piece)
                if is_due:
                    columns.is_changed[cells] = False
            if opened.is_final(level, start, watermark_ns):
                opened.merge_upwards(place, start)
    return found


def window_piece(
    opened: OpenWindows, level: int, start_ns: int, series: Ints, *, is_due: bool
) -> Piece:
    """These series, sorted, of one window."""
    slots = opened.within(level, start_ns)
    cells = opened.total(slots).at(series)
    if not is_due:
        cells.flags = cells.flags | np.uint8(WindowFlag.OPEN)
    return Piece(start_ns, series, cells, sketches_of(opened.total_bins(slots), series))


def rows_of(directory: SeriesDirectory, width_ns: int, pieces: Sequence[Piece]) -> WindowRows:
    """Rows of windows of one width."""
    if not pieces:
        return WindowRows.empty(width_ns)
    series = np.concatenate([piece.series for piece in pieces])
    cells = CellColumns.joined([piece.cells for piece in pieces])
    numbers, index = np.unique(series, return_inverse=True)
    sizes = [len(piece.series) for piece in pieces]
    return WindowRows(
        width_ns,
        tuple(directory.keys[number] for number in numbers.tolist()),
        index.astype(np.int32),
        np.repeat(np.array([piece.start_ns for piece in pieces], np.int64), sizes),
        cells.counts,
        float_sums(cells.parts, cells.grids),
        cells.minima,
        cells.maxima,
        np.where(directory.is_gauge[series], cells.last, np.nan),
        cells.revisions,
        cells.flags,
        _joined_sketches([piece.sketches for piece in pieces]),
    )


def _joined_sketches(sketches: list[SketchColumns]) -> SketchColumns:
    if len(sketches) == 1:
        return sketches[0]
    sizes = np.concatenate([np.diff(each.offsets) for each in sketches])
    return SketchColumns(
        np.concatenate(([0], np.cumsum(sizes))),
        np.concatenate([each.keys for each in sketches]),
        np.concatenate([each.counts for each in sketches]),
    )
