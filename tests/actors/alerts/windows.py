"""Windows of one minute, as an evaluator of rules reads them."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from callboard.actors.metrics.query.readers import MemoryWindows
from callboard.actors.metrics.rows import WINDOWS_NS, WindowRows
from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.actors.metrics.sketch import SketchColumns, keys_of

MINUTE_NS: Final = WINDOWS_NS[0]


def windows(series: Mapping[SeriesKey, Sequence[float]], end_ns: int) -> MemoryWindows:
    """For each series one point in each of the last minutes; NaN for a minute without one."""
    keys = tuple(sorted(series))
    rows = [
        (number, end_ns - MINUTE_NS * (len(series[key]) - place), value)
        for number, key in enumerate(keys)
        for place, value in enumerate(series[key])
        if value == value  # noqa: PLR0124 - not NaN
    ]
    index, starts, values = (np.array(column) for column in zip(*rows, strict=True))
    count = len(rows)
    is_gauge = np.array([keys[number].kind is MetricKind.GAUGE for number in index])
    ones = np.ones(count, np.int64)
    sketches = SketchColumns(np.arange(count + 1), keys_of(values.astype(float)), ones)
    made = WindowRows(
        MINUTE_NS, keys, index.astype(np.int32), starts.astype(np.int64), ones,
        values.astype(float), values.astype(float), values.astype(float),
        np.where(is_gauge, values, np.nan).astype(float), np.ones(count, np.int32),
        np.zeros(count, np.uint8), sketches,
    )  # fmt: skip
    return MemoryWindows([made])
