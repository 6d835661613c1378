"""Rows of windows, chosen and put together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..rows import WindowRows
from ..series import SeriesKey
from ..sketch import SketchColumns

__all__ = ["bare_rows", "combine_rows", "join_rows", "take_rows", "take_sketches"]

COLUMNS: Final = ("starts_ns", "counts", "sums", "minima", "maxima", "last", "revisions", "flags")
"""The columns that have one value for each row, besides the series."""


def take_rows(rows: WindowRows, chosen: npt.NDArray[Any]) -> WindowRows:
    """The chosen rows, in this order; only their series stay."""
    index = rows.series_index[chosen]
    used, renumbered = np.unique(index, return_inverse=True)
    series = tuple(rows.series[place] for place in used.tolist())
    columns = {name: getattr(rows, name)[chosen] for name in COLUMNS}
    sketches = take_sketches(rows.sketches, chosen)
    return WindowRows(
        rows.width_ns, series, renumbered.astype(np.int32), **columns, sketches=sketches
    )


def bare_rows(rows: WindowRows) -> WindowRows:
    """The rows without their sketches, a tenth of the memory; they have no quantiles."""
    none = np.zeros(len(rows) + 1, np.int64)
    empty = SketchColumns(none, np.zeros(0, np.int32), np.zeros(0, np.int64))
    return replace(rows, sketches=empty)


def take_sketches(sketches: SketchColumns, chosen: npt.NDArray[Any]) -> SketchColumns:
    """The sketches of the chosen rows, in this order."""
    lengths = np.diff(sketches.offsets)[chosen]
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    places = np.repeat(sketches.offsets[:-1][chosen] - offsets[:-1], lengths)
    places += np.arange(offsets[-1])
    return SketchColumns(offsets, sketches.keys[places], sketches.counts[places])


def combine_rows(width_ns: int, parts: Sequence[WindowRows]) -> WindowRows:
    """All windows of the parts, each once, sorted by series and start.

    Of several copies of a window the newest revision stays; of equal ones the copy with most
    points, because a window only gains points; then the one of the first part.
    """
    joined = join_rows(width_ns, parts)
    if not len(joined):
        return joined
    ranks = np.repeat(-np.arange(len(parts)), [len(part) for part in parts])
    index, starts = joined.series_index, joined.starts_ns
    order = np.lexsort((ranks, joined.counts, joined.revisions, starts, index))
    sorted_index, sorted_starts = index[order], starts[order]
    is_best = np.ones(len(order), bool)
    is_best[:-1] = (np.diff(sorted_index) != 0) | (np.diff(sorted_starts) != 0)
    return take_rows(joined, order[is_best])


def join_rows(width_ns: int, parts: Sequence[WindowRows]) -> WindowRows:
    """The rows of all parts one after the other, with one list of series, which is sorted."""
    if not any(map(len, parts)):
        return WindowRows.empty(width_ns)
    series, index = _joined_series(parts)
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    return WindowRows(width_ns, series, index, **columns, sketches=_joined_sketches(parts))


def _joined_series(
    parts: Sequence[WindowRows],
) -> tuple[tuple[SeriesKey, ...], npt.NDArray[np.int32]]:
    series = tuple(sorted({key for part in parts for key in part.series}))
    place = {key: number for number, key in enumerate(series)}
    indices = [
        np.array([place[key] for key in part.series], np.int32)[part.series_index] for part in parts
    ]
    return series, np.concatenate(indices)


def _joined_sketches(parts: Sequence[WindowRows]) -> SketchColumns:
    lengths = np.concatenate([np.diff(part.sketches.offsets) for part in parts])
    return SketchColumns(
        np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        np.concatenate([part.sketches.keys for part in parts]),
        np.concatenate([part.sketches.counts for part in parts]),
    )
