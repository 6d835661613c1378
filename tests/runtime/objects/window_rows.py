"""Windows as Hypothesis draws them."""

from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from bench.window_rows import many_rows
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.actors.metrics.sketch import SketchColumns

__all__ = ["MINUTE_NS", "any_rows", "equal_rows", "many_rows"]

MINUTE_NS: Final = 60 * 10**9
FLOATS: Final = st.floats(allow_nan=False, allow_infinity=False)
TAGS: Final = st.dictionaries(
    st.sampled_from(("service", "path", "ü")), st.text(max_size=5), max_size=2
)
SERIES: Final = st.builds(
    lambda kind, name, tags: SeriesKey(kind, name, tuple(sorted(tags.items()))),
    st.sampled_from(MetricKind),
    st.sampled_from(("a", "b:c", "seconds_total")),
    TAGS,
)


@st.composite
def any_rows(draw: Any) -> WindowRows:
    """Any rows, each window once."""
    series = tuple(draw(st.lists(SERIES, min_size=1, max_size=4, unique=True)))
    places = draw(
        st.lists(
            st.tuples(st.integers(0, len(series) - 1), st.integers(-5, 2**20)),
            max_size=12,
            unique=True,
        )
    )
    count = len(places)

    def column(values: Any, dtype: Any) -> Any:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)), dtype)

    bins = draw(
        st.lists(
            st.dictionaries(st.integers(-80_000, 80_000), st.integers(1, 2**50), max_size=5),
            min_size=count,
            max_size=count,
        )
    )
    sketches = SketchColumns(
        np.concatenate(([0], np.cumsum([len(each) for each in bins]))).astype(np.int64),
        np.array([key for each in bins for key in sorted(each)], np.int32),
        np.array([each[key] for each in bins for key in sorted(each)], np.int64),
    )
    return WindowRows(
        MINUTE_NS,
        series,
        np.array([index for index, _ in places], np.int32),
        np.array([start * MINUTE_NS for _, start in places], np.int64),
        column(st.integers(1, 2**60), np.int64),
        column(FLOATS, np.float64),
        column(FLOATS, np.float64),
        column(FLOATS, np.float64),
        column(st.one_of(st.just(float("nan")), FLOATS), np.float64),
        column(st.integers(1, 2**31 - 1), np.int32),
        column(st.integers(0, 3), np.uint8),
        sketches,
    )


def equal_rows(one: WindowRows, other: WindowRows) -> bool:
    """Whether two have the same windows, in any order."""
    return one.width_ns == other.width_ns and _plain(one) == _plain(other)


def _plain(rows: WindowRows) -> dict[Any, Any]:
    found = {}
    offsets, keys, counts = rows.sketches
    for row in range(len(rows)):
        begin, end = offsets[row], offsets[row + 1]
        key = rows.series[rows.series_index[row]]
        found[key, int(rows.starts_ns[row])] = (
            int(rows.counts[row]),
            *(repr(float(each[row])) for each in (rows.sums, rows.minima, rows.maxima, rows.last)),
            int(rows.revisions[row]),
            int(rows.flags[row]),
            keys[begin:end].tolist(),
            counts[begin:end].tolist(),
        )
    assert len(found) == len(rows)
    return found
