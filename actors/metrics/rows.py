"""Rows of windows as columns: what a store keeps, a reader gets, and a query computes with."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .series import SeriesKey
from .sketch import SketchColumns

__all__ = ["WINDOWS_NS", "AggregatedMetric", "WindowFlag", "WindowRows"]

SECOND_NS: Final = 1_000_000_000
WINDOWS_NS: Final = (60 * SECOND_NS, 300 * SECOND_NS, 3_600 * SECOND_NS, 86_400 * SECOND_NS)
"""The widths of the four windows: 1 minute, 5 minutes, 1 hour, 1 day. All begin at whole
multiples of their width since 1970 in UTC."""


class WindowFlag(enum.IntFlag):
    """What is special about a window."""

    NONE = 0
    PARTIAL = 1
    """Points of it may be missing: its source or its aggregator began, or was away, in it."""
    OPEN = 2
    """Points still come: it will change."""


@dataclass(frozen=True, slots=True)
class AggregatedMetric:
    """One window of one series."""

    key: SeriesKey
    """Its series."""
    start_ns: int
    """Where it begins, in nanoseconds since 1970."""
    width_ns: int
    """How long it is, in nanoseconds."""
    count: int
    """How many points it has."""
    sum: float
    """The sum of their values."""
    min: float
    """The lowest value."""
    max: float
    """The highest value."""
    last: float
    """The value with the latest event time, of a gauge; NaN for other kinds."""
    p95: float
    """The value that 95 % of them do not exceed, within 1 %."""
    p99: float
    """The value that 99 % of them do not exceed, within 1 %."""
    revision: int
    """1 for a window that was given once, and one more for each correction."""
    flags: WindowFlag
    """What is special about it."""

    @property
    def average(self) -> float:
        """The mean of its points."""
        return self.sum / self.count


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Windows of one width, a row each: of any series, in any order, each window once."""

    width_ns: int
    """The width of all its windows, in nanoseconds."""
    series: tuple[SeriesKey, ...]
    """The series of the windows, each once."""
    series_index: npt.NDArray[np.int32]
    """For each row the place of its series in `series`."""
    starts_ns: npt.NDArray[np.int64]
    """Where each window begins, in nanoseconds since 1970."""
    counts: npt.NDArray[np.int64]
    """How many points each has."""
    sums: npt.NDArray[np.float64]
    """The sum of their values."""
    minima: npt.NDArray[np.float64]
    """The lowest value of each."""
    maxima: npt.NDArray[np.float64]
    """The highest value of each."""
    last: npt.NDArray[np.float64]
    """NaN for kinds other than gauges."""
    revisions: npt.NDArray[np.int32]
    """1 for a window that was given once, and one more for each correction."""
    flags: npt.NDArray[np.uint8]
    """`WindowFlag`."""
    sketches: SketchColumns
    """The summaries for quantiles."""

    def __len__(self) -> int:
        return len(self.starts_ns)

    @staticmethod
    def empty(width_ns: int) -> "WindowRows":
        """No rows."""

        def none(dtype: Any) -> npt.NDArray[Any]:
            return np.zeros(0, dtype)

        return WindowRows(
            width_ns,
            (),
            none(np.int32),
            none(np.int64),
            none(np.int64),
            none(np.float64),
            none(np.float64),
            none(np.float64),
            none(np.float64),
            none(np.int32),
            none(np.uint8),
            SketchColumns(np.zeros(1, np.int64), none(np.int32), none(np.int64)),
        )

    def quantiles(self, q: float) -> npt.NDArray[np.float64]:
        """The quantile `q` (0 to 1) of each window, within its minimum and maximum."""
        return np.clip(self.sketches.quantiles(q), self.minima, self.maxima)

    def metrics(self) -> Iterator[AggregatedMetric]:
        """Its rows, one by one; for tests, printing, and few of them."""
        p95, p99 = self.quantiles(0.95), self.quantiles(0.99)
        for row in range(len(self)):
            yield AggregatedMetric(
                self.series[self.series_index[row]],
                int(self.starts_ns[row]),
                self.width_ns,
                int(self.counts[row]),
                float(self.sums[row]),
                float(self.minima[row]),
                float(self.maxima[row]),
                float(self.last[row]),
                float(p95[row]),
                float(p99[row]),
                int(self.revisions[row]),
                WindowFlag(int(self.flags[row])),
            )
