"""Batches of points for the tests of windows, and plain models of what must come out."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from callboard.actors.metrics.points import MetricSource, PointBatch, SourceKind
from callboard.actors.metrics.rows import WindowFlag, WindowRows
from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.actors.metrics.windows.core import ShardWindows

SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
START: Final = 1_800_000_000 * SECOND // DAY * DAY + 10 * HOUR
"""The beginning of a minute, an hour, but not of a day."""
KEYS: Final = (
    SeriesKey(MetricKind.COUNTER, "requests", (("host", "a"),)),
    SeriesKey(MetricKind.GAUGE, "temperature"),
    SeriesKey(MetricKind.OBSERVATION, "latency", (("host", "a"), ("path", "/"))),
)
LATENCY: Final = 2
"""The number of the observations among `KEYS`."""


class Point(NamedTuple):
    """A point of a test: the number of its series, its time, its value."""

    series: int
    time_ns: int
    value: float


def source_named(name: str) -> MetricSource:
    return MetricSource(kind=SourceKind.SERVICE, name=name)


def batch_of(
    points: Sequence[Point],
    sequence: int = 0,
    *,
    source: str = "a",
    watermark: int | None = None,
    keys: Sequence[SeriesKey] = KEYS,
    first_series: int = 0,
    **columns: Any,
) -> PointBatch:
    """A batch; its watermark is the time of its latest point, if it is not given."""
    if watermark is None:
        watermark = max((point.time_ns for point in points), default=0)
    given = {
        "series": np.array([point.series for point in points], np.int32),
        "times_ns": np.array([point.time_ns for point in points], np.int64),
        "values": np.array([point.value for point in points], np.float64),
    }
    return PointBatch(
        source=source_named(source),
        sequence=sequence,
        first_series=first_series,
        new_series=tuple(keys[first_series:]),
        watermark_ns=watermark,
        **(given | columns),
    )


def at(seconds: float, value: float = 1.0, series: int = LATENCY) -> Point:
    """A point at so many seconds after `START`."""
    return Point(series, START + round(seconds * SECOND), value)


class Window(NamedTuple):
    """A window as it must be, apart from its sum's last bits."""

    count: int
    sum: float
    min: float
    max: float
    last: float | None
    bins: tuple[tuple[int, int], ...]


WindowName = tuple[SeriesKey, int, int]
"""Series, width, start."""


class Store:
    """What a store would have: for each window its newest revision."""

    def __init__(self) -> None:
        self.windows: dict[WindowName, Window] = {}
        self.revisions: dict[WindowName, int] = {}
        self.flags: dict[WindowName, WindowFlag] = {}

    def put(self, rows: Iterable[WindowRows]) -> None:
        for each in rows:
            for name, window, revision, flags in windows_in(each):
                assert revision > self.revisions.get(name, 0), name
                self.windows[name] = window
                self.revisions[name] = revision
                self.flags[name] = flags

    def of(self, width: int) -> dict[tuple[SeriesKey, int], Window]:
        return {
            (key, start): window
            for (key, each, start), window in self.windows.items()
            if each == width
        }


def windows_in(rows: WindowRows) -> Iterable[tuple[WindowName, Window, int, WindowFlag]]:
    """Each row as a name, a window, its revision and its flags."""
    sketches = rows.sketches
    assert len(sketches.offsets) == len(rows) + 1
    for row in range(len(rows)):
        bins = slice(int(sketches.offsets[row]), int(sketches.offsets[row + 1]))
        keys, counts = sketches.keys[bins].tolist(), sketches.counts[bins].tolist()
        assert keys == sorted(set(keys))
        last = float(rows.last[row])
        window = Window(
            int(rows.counts[row]),
            float(rows.sums[row]),
            float(rows.minima[row]),
            float(rows.maxima[row]),
            None if math.isnan(last) else last,
            tuple(zip(keys, counts, strict=True)),
        )
        key = rows.series[rows.series_index[row]]
        yield (
            (key, rows.width_ns, int(rows.starts_ns[row])),
            window,
            int(rows.revisions[row]),
            WindowFlag(int(rows.flags[row])),
        )


def only(rows: WindowRows) -> Window:
    """The window of the only row."""
    [(_, window, _, _)] = windows_in(rows)
    return window


def balanced(core: ShardWindows) -> bool:
    """Whether the accounts of a core are."""
    accounts = core.accounts
    out = accounts.counted + accounts.repeated + accounts.late + sum(accounts.dropped.values())
    return accounts.arrived == out
