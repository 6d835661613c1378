"""Windows made of points, and stores of windows as they are after some time."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from callboard.actors.metrics.query.columns import join_rows
from callboard.actors.metrics.query.readers import MemoryWindows
from callboard.actors.metrics.rows import WINDOWS_NS, WindowRows
from callboard.actors.metrics.series import MetricKind, SeriesKey, series_key
from callboard.actors.metrics.sketch import SketchColumns, keys_of

MINUTE_NS = WINDOWS_NS[0]
HOUR_NS = WINDOWS_NS[2]
DAY_NS = WINDOWS_NS[3]
START_NS = 20_000 * DAY_NS
"""In October 2024, at midnight."""


class Point(NamedTuple):
    key: SeriesKey
    time_ns: int
    value: float


def key(name: str = "m", kind: MetricKind = MetricKind.GAUGE, **tags: str) -> SeriesKey:
    return series_key(kind, name, tags)


def window(
    series: SeriesKey,
    start_ns: int,
    width_ns: int,
    points: Sequence[Point],
    revision: int = 1,
    flags: int = 0,
) -> WindowRows:
    """One window of some points."""
    newest_last = sorted(points, key=lambda point: point.time_ns)
    values = np.array([point.value for point in newest_last])
    bins, counts = np.unique(keys_of(values), return_counts=True)
    last = values[-1] if series.kind is MetricKind.GAUGE else np.nan
    return WindowRows(
        width_ns,
        (series,),
        np.zeros(1, np.int32),
        np.array([start_ns]),
        np.array([len(values)]),
        np.array([values.sum()]),
        np.array([values.min()]),
        np.array([values.max()]),
        np.array([last]),
        np.array([revision], np.int32),
        np.array([flags], np.uint8),
        SketchColumns(np.array([0, len(bins)]), bins.astype(np.int32), counts.astype(np.int64)),
    )


def windows(points: Iterable[Point], width_ns: int = MINUTE_NS) -> WindowRows:
    """All windows of one width that hold the points."""
    held: dict[tuple[SeriesKey, int], list[Point]] = {}
    for point in points:
        start = point.time_ns - point.time_ns % width_ns
        held.setdefault((point.key, start), []).append(point)
    parts = [window(series, start, width_ns, each) for (series, start), each in held.items()]
    return join_rows(width_ns, parts)


def store(points: Sequence[Point], widths: Sequence[int] = WINDOWS_NS) -> MemoryWindows:
    """All windows of the points, in all widths."""
    return MemoryWindows(windows(points, width) for width in widths)
