"""The durable form of a shard: its whole state, or what changed since the last commit.

A change has the cells that points have touched as they are now, and the bins that came in addition;
the closing of windows that followed it is repeated by the reader. So a change is as large as the
touched windows, however many points they got.
"""

from collections.abc import Iterable, Mapping
from itertools import compress
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..series import MetricKind, SeriesKey
from .cells import COLUMNS, CellColumns
from .compact import COUNT_MAX, KEY_MASK, BinColumns, bins_of, columns_of
from .opened import OpenWindows
from .packing import NotPacked
from .settings import Level

__all__ = ["keys_as_data", "keys_of_data", "read_windows", "renumber", "windows_as_data"]

Ints = npt.NDArray[np.int64]

BIN_COLUMNS: Final = ("bin_series", "bin_sizes", "bin_first", "bin_steps", "bin_counts")


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


def renumber(fields: Mapping[str, Any], stays: npt.NDArray[np.bool_], new: Ints) -> dict[str, Any]:
    """The fields of a whole state, with new numbers for the series that stay.

    The others may occur nowhere. New numbers are in the order of the old ones.
    """
    found = {
        **fields,
        "keys": list(compress(fields["keys"], stays.tolist())),
        "sources": [
            [data, done, np.where(numbers >= 0, new[numbers], numbers)]
            for data, done, numbers in fields["sources"]
        ],
    }
    if "late" in fields:
        series, *rest = fields["late"]
        found["late"] = [new[series], *rest]
    for name in ("series", "bin_series"):
        if name in fields:
            found[name] = new[fields[name]]
    return found


def _bins_as_data(bins: list[Ints]) -> dict[str, Any]:
    columns = columns_of(bins)
    return {
        "bins": np.array([len(run) for run in bins], np.int64),
        **dict(zip(BIN_COLUMNS, columns.columns(), strict=True)),
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
    columns = BinColumns(*(data[name] for name in BIN_COLUMNS))
    sizes, counts, series, first = columns.sizes, columns.counts, columns.series, columns.first
    total = len(counts)
    _check(len(sizes) == len(series) == len(first), "lengths of sketches")
    _check(int(sizes.sum()) == total == len(first) + len(columns.steps), "numbers of bins")
    if not total:
        return np.zeros(0, np.int64)
    _check(int(sizes.min()) > 0, "sizes of sketches")
    _check(0 <= int(series.min()) <= int(series.max()) < series_count, "series of sketches")
    _check(0 <= int(first.min()) <= int(first.max()) <= KEY_MASK, "first keys of sketches")
    steps = columns.steps
    if len(steps):
        _check(0 <= int(steps.min()) <= int(steps.max()) <= KEY_MASK, "steps of bins")
        highest = int(first.max()) + int(steps.sum())
        _check(highest <= KEY_MASK or _are_keys(columns), "keys of bins")
    _check(1 <= int(counts.min()) <= int(counts.max()) <= COUNT_MAX, "counts of bins")
    return bins_of(columns)


def _are_keys(columns: BinColumns) -> bool:
    spans = np.zeros(len(columns.first), np.int64)
    owners = np.repeat(np.arange(len(spans)), columns.sizes - 1)
    np.add.at(spans, owners, columns.steps)
    return int((columns.first + spans).max()) <= KEY_MASK


def _check(holds: bool, what: str) -> None:  # noqa: FBT001 - like an assertion
    if not holds:
        raise NotPacked(what)
