"""Windows as a system would have them: latencies of many series, with their sketches."""

import numpy as np

from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.actors.metrics.sketch import SketchColumns, keys_of

__all__ = ["many_rows"]


def many_rows(
    series_count: int, windows: int, points: int, width_ns: int = 60 * 10**9, seed: int = 1
) -> WindowRows:
    """Windows of latencies: log-normal values, `points` in each window."""
    generator = np.random.default_rng(seed)
    count = series_count * windows
    values = np.round(generator.lognormal(-3.0, 0.6, (count, points)), 6)
    keys = keys_of(values.ravel()).reshape(count, points)
    keys.sort(axis=1)
    is_new = np.ones((count, points), bool)
    is_new[:, 1:] = np.diff(keys, axis=1) != 0
    places = np.flatnonzero(is_new.ravel())
    offsets = np.concatenate(([0], np.cumsum(is_new.sum(axis=1)))).astype(np.int64)
    sketches = SketchColumns(
        offsets, keys.ravel()[places].astype(np.int32), np.diff(places, append=count * points)
    )
    return WindowRows(
        width_ns,
        tuple(
            SeriesKey(
                MetricKind.OBSERVATION,
                "request_seconds",
                (("instance", f"i-{number:04d}"), ("service", f"s-{number % 20}")),
            )
            for number in range(series_count)
        ),
        np.repeat(np.arange(series_count, dtype=np.int32), windows),
        np.tile(np.arange(windows, dtype=np.int64) * width_ns, series_count),
        np.full(count, points, np.int64),
        values.sum(axis=1),
        values.min(axis=1),
        values.max(axis=1),
        np.full(count, np.nan),
        np.ones(count, np.int32),
        np.zeros(count, np.uint8),
        sketches,
    )
