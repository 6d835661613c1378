"""Windows for tests, made of their values."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.actors.metrics.sketch import SketchColumns, keys_of

__all__ = ["MINUTE_NS", "SERIES", "Window", "contents", "rows_of", "windows"]

MINUTE_NS = 60_000_000_000
BEGIN_NS = 1_700_000_000 * 10**9
SERIES = tuple(
    SeriesKey(kind, name, tags)
    for name in ("requests", "requests_s", "z")
    for kind in MetricKind
    for tags in ((), (("host", "h1"),), (("host", "h2"), ("zone", 'a"\\\0ü')))
)


class Window(NamedTuple):
    """One window."""

    series: SeriesKey
    start_ns: int
    values: tuple[float, ...]
    revision: int = 1
    flags: int = 0


def rows_of(found: Sequence[Window], width_ns: int = MINUTE_NS) -> WindowRows:
    """The windows as rows, in their order."""
    series = tuple(dict.fromkeys(window.series for window in found))
    sketches = [np.unique(keys_of(np.array(w.values)), return_counts=True) for w in found]

    def column(values: list[Any], dtype: Any) -> Any:
        return np.array(values, dtype)

    return WindowRows(
        width_ns,
        series,
        column([series.index(window.series) for window in found], np.int32),
        column([window.start_ns for window in found], np.int64),
        column([len(window.values) for window in found], np.int64),
        column([sum(window.values) for window in found], float),
        column([min(window.values) for window in found], float),
        column([max(window.values) for window in found], float),
        column(
            [w.values[-1] if w.series.kind is MetricKind.GAUGE else np.nan for w in found], float
        ),
        column([window.revision for window in found], np.int32),
        column([window.flags for window in found], np.uint8),
        SketchColumns(
            np.concatenate(([0], np.cumsum([len(keys) for keys, _ in sketches]))).astype(np.int64),
            np.concatenate([np.zeros(0, np.int32), *(keys for keys, _ in sketches)]),
            np.concatenate([np.zeros(0, np.int64), *(counts for _, counts in sketches)]),
        ),
    )


def contents(rows: WindowRows) -> list[tuple[Any, ...]]:
    """All that the rows say, as plain values."""
    found = []
    for row in range(len(rows)):
        bins = slice(int(rows.sketches.offsets[row]), int(rows.sketches.offsets[row + 1]))
        last = float(rows.last[row])
        found.append(
            (
                rows.series[rows.series_index[row]],
                int(rows.starts_ns[row]),
                int(rows.counts[row]),
                float(rows.sums[row]),
                float(rows.minima[row]),
                float(rows.maxima[row]),
                None if math.isnan(last) else last,
                int(rows.revisions[row]),
                int(rows.flags[row]),
                tuple(rows.sketches.keys[bins].tolist()),
                tuple(rows.sketches.counts[bins].tolist()),
            )
        )
    return found


FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64).filter(lambda v: abs(v) < 1e300)


def windows(width_ns: int = MINUTE_NS, starts: int = 200) -> st.SearchStrategy[list[Window]]:
    """Lists of windows, each window of a series and a start once."""
    first_ns = BEGIN_NS // width_ns * width_ns
    one = st.builds(
        Window,
        series=st.sampled_from(SERIES),
        start_ns=st.integers(0, starts).map(lambda n: first_ns + n * width_ns),
        values=st.lists(FLOATS, min_size=1, max_size=6).map(tuple),
        revision=st.integers(1, 300),
        flags=st.integers(0, 3),
    )
    return st.lists(one, max_size=30, unique_by=lambda window: (window.series, window.start_ns))
