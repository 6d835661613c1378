"""The durable form of a shard: its whole state, or what changed since the last commit.

A change has the cells that points have touched as they are now, and the bins that came in addition;
the closing of windows that followed it is repeated by the reader. So a change is as large as the
touched windows, however many points they got.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..series import MetricKind, SeriesKey
from .bins import COUNT_BITS, COUNT_MAX, KEY_MASK, SERIES_SHIFT
from .cells import COLUMNS, CellColumns
from .opened import OpenWindows
from .packing import NotPacked
from .settings import Level

__all__ = ["keys_as_data", "keys_of_data", "read_windows", "windows_as_data"]

Ints = npt.NDArray[np.int64]


def keys_as_data(keys: Iterable[SeriesKey]) -> list[Any]:
    """Series as plain data."""
    return [[int(key.kind), key.name, [list(tag) for tag in key.tags]] for key in keys]


def keys_of_data(data: Iterable[Any]) -> list[SeriesKey]:
    """The series that `keys_as_data` has described."""
    return [
        SeriesKey(MetricKind(kind), str(name), tuple((str(tag), str(value)) for tag, value in tags))
        for kind, name, tags in data
    ]


def windows_as_data(
    opened: OpenWindows, chosen: npt.NDArray[np.bool_], bins_of: Mapping[int, Ints]
) -> dict[str, Any]:
    """Windows: the chosen cells, and these bins of each slot."""
    cells = opened.cells
    windows, counts, series, places, bins = [], [], [], [], []
    for level, start, slot in opened:
        row = np.flatnonzero(chosen[cells.row(slot)])
        own = bins_of.get(slot)
        if not len(row) and own is None:
            continue
        windows.append([*_name_of(opened.levels[level]), start])
        counts.append(len(row))
        series.append(row)
        places.append(row + slot * cells.capacity)
        bins.append(np.zeros(0, np.int64) if own is None else own)
    data: dict[str, Any] = {"windows": windows, "cells": np.array(counts, np.int64)}
    if windows:
        columns = cells.columns.at(np.concatenate(places))
        data["series"] = np.concatenate(series)
        data |= {name: getattr(columns, name) for name in COLUMNS}
        data |= _bins_as_data(bins)
    return data


def _bins_as_data(bins: list[Ints]) -> dict[str, Any]:
    every = np.concatenate(bins)
    series, keys = every >> SERIES_SHIFT, (every >> COUNT_BITS) & KEY_MASK
    # A sketch begins where the series or the window changes.
    begins = np.zeros(len(every), np.bool_)
    begins[1:] = series[1:] != series[:-1]
    sizes = np.array([len(run) for run in bins], np.int64)
    begins[(np.cumsum(sizes) - sizes)[sizes > 0]] = True
    starts = np.flatnonzero(begins)
    steps = np.diff(keys, prepend=0)
    return {
        "bins": sizes,
        "bin_series": series[starts],
        "bin_sizes": np.diff(starts, append=len(every)),
        "bin_first": keys[starts],
        "bin_steps": steps[~begins],
        "bin_counts": every & COUNT_MAX,
    }


def read_windows(opened: OpenWindows, data: Mapping[str, Any], series_count: int) -> None:
    """Put what `windows_as_data` has described into the open windows. Raises `NotPacked`."""
    windows, cell_counts = data["windows"], data["cells"]
    _check(len(windows) == len(cell_counts), "numbers of windows")
    if not windows:
        return
    series = data["series"]
    columns = CellColumns(*(data[name].astype(dtype) for name, (dtype, _) in COLUMNS.items()))
    total = int(cell_counts.sum())
    for column in (series, *(getattr(columns, name) for name in COLUMNS)):
        _check(len(column) == total, "lengths of columns")
    _check(not total or 0 <= int(series.min()) <= int(series.max()) < series_count, "series")
    bins = _read_bins(data, series_count)
    _check(len(data["bins"]) == len(windows) and int(data["bins"].sum()) == len(bins), "bins")
    opened.make_room(series_count)
    levels = {_name_of(level): place for place, level in enumerate(opened.levels)}
    done = bins_done = 0
    for (width, step, is_given, start), cell_count, bin_count in zip(
        windows, cell_counts.tolist(), data["bins"].tolist(), strict=True
    ):
        _check(cell_count >= 0 and bin_count >= 0, "counts")
        level = levels.get((width, step, is_given))
        own, own_bins = slice(done, done + cell_count), slice(bins_done, bins_done + bin_count)
        done, bins_done = own.stop, own_bins.stop
        if level is None:
            continue  # A custom window that is in the settings no more.
        slot = opened.slot(level, int(start))
        places = slot * opened.cells.capacity + series[own]
        opened.cells.columns.put(places, columns.at(own))
        opened.bins.append(slot, bins[own_bins])


def _name_of(level: Level) -> tuple[int, int, bool]:
    """What names a level in the durable form: no two have the same."""
    return level.width_ns, level.step_ns, level.is_given


def _read_bins(data: Mapping[str, Any], series_count: int) -> Ints:
    sizes, counts, series = data["bin_sizes"], data["bin_counts"], data["bin_series"]
    first, rest = data["bin_first"], data["bin_steps"]
    total = len(counts)
    _check(len(sizes) == len(series) == len(first), "lengths of sketches")
    _check(int(sizes.sum()) == total == len(first) + len(rest), "numbers of bins")
    if not total:
        return np.zeros(0, np.int64)
    _check(int(sizes.min()) > 0, "sizes of sketches")
    _check(0 <= int(series.min()) <= int(series.max()) < series_count, "series of sketches")
    _check(1 <= int(counts.min()) <= int(counts.max()) <= COUNT_MAX, "counts of bins")
    starts = np.cumsum(sizes) - sizes
    steps = np.empty(total, np.int64)
    begins = np.zeros(total, np.bool_)
    begins[starts] = True
    steps[~begins] = rest
    steps[starts] = 0
    keys = np.cumsum(steps)
    keys += np.repeat(first - keys[starts], sizes)
    _check(0 <= int(keys.min()) <= int(keys.max()) <= KEY_MASK, "keys of bins")
    return (np.repeat(series, sizes) << SERIES_SHIFT) | (keys << COUNT_BITS) | counts


def _check(holds: bool, what: str) -> None:  # noqa: FBT001 - like an assertion
    if not holds:
        raise NotPacked(what)
