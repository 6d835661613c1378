"""What came from elsewhere: samples, their kinds, and what was left out and why.

A point of Callboard is an increase, a present value or one measurement. What others send becomes
points like this:

    counter, monotonic sum       a counter: the increases, from `CounterResets` where cumulative
    gauge, sum that may shrink   a gauge
    histogram                    counters `NAME_bucket` by `le`, `NAME_count`, `NAME_sum`
    summary                      counters `NAME_count`, `NAME_sum`; its quantiles are gauges
    exponential histogram        measurements, each in the middle of its bucket
    info, state set, unknown     gauges

A histogram with a few wide buckets cannot keep the error of 1 % that Callboard's quantiles have,
so it stays what it is. The buckets of an exponential histogram are narrow enough.
"""

import enum
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.recording.resets import CounterResets
from callboard.actors.metrics.series import MetricKind, SeriesKey, series_key
from callboard.messages.core.errors import UsageError

__all__ = ["IntakeLimits", "LeftOut", "Received", "Sample"]

TIME_NS_MAX: Final = 2**63 - 1
"""The latest time that a point can have. The windows refuse one that is far from now."""


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """The limits of one scrape or one received request."""

    bytes_max: int = 16 * 1024 * 1024
    """Bytes of the body, also after it was decompressed."""
    samples_max: int = 50_000
    """Samples of one page or request."""
    line_characters_max: int = 65_536
    """Characters of one line of text."""
    timeout_s: float = 10.0
    """Seconds for all of it: to connect, to read and to parse."""


@enum.unique
class LeftOut(enum.Enum):
    """Why a sample did not become a point."""

    INVALID = "invalid"
    """Its name, a label or the number of labels is nothing that Callboard keeps."""
    NO_VALUE = "no_value"
    """NaN, infinite, or the end of a series."""
    NO_INCREASE = "no_increase"
    """A cumulative one without an increase: the first of its series, or a repeated one."""
    UNSUPPORTED = "unsupported"
    TOO_MANY = "too_many"


class Sample(NamedTuple):
    """One value of one series."""

    key: SeriesKey
    time_ns: int
    value: float
    is_cumulative: bool = False
    """Whether it counts from a beginning, so that only a later one tells an increase."""
    start_ns: int = 0
    """That beginning, where its source says it."""


@dataclass(slots=True)
class Received:
    """The samples of one scrape or request."""

    limits: IntakeLimits
    samples: list[Sample] = field(default_factory=list)
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    first_problem: str = ""
    """A sentence on the first sample that was left out for its sender's fault."""

    def add(
        self,
        kind: MetricKind,
        name: str,
        tags: Mapping[str, str],
        time_ns: int,
        value: float,
        *,
        is_cumulative: bool = False,
        start_ns: int = 0,
    ) -> None:
        """Add a sample, unless it is out of bounds."""
        if len(self.samples) >= self.limits.samples_max:
            self.leave_out(LeftOut.TOO_MANY, f"there are more than {self.limits.samples_max:,}.")
            return
        try:
            key = series_key(kind, name, tags)
        except UsageError as error:
            self.leave_out(LeftOut.INVALID, error.message)
            return
        self.samples.append(Sample(key, time_ns, value, is_cumulative, start_ns))

    def leave_out(self, reason: LeftOut, problem: str, count: int = 1) -> None:
        """Count samples that are left out."""
        self.left_out[reason] += count
        self.first_problem = self.first_problem or problem

    def columns(self, source: str, resets: CounterResets) -> PointColumns:
        """The points of the samples; counts those that are none."""
        places: dict[SeriesKey, int] = {}
        index: list[int] = []
        times: list[int] = []
        values: list[float] = []
        for key, time_ns, value, is_cumulative, start_ns in self.samples:
            if not 0 <= time_ns <= TIME_NS_MAX:
                self.leave_out(LeftOut.INVALID, f"a sample of {key.name} has a wrong time.")
                continue
            found: float | None = value
            if is_cumulative:
                found = resets.increase(source, key, time_ns, value, start_ns=start_ns)
            if found is None:
                self.left_out[LeftOut.NO_INCREASE] += 1
            elif not math.isfinite(found):
                self.left_out[LeftOut.NO_VALUE] += 1
            else:
                index.append(places.setdefault(key, len(places)))
                times.append(time_ns)
                values.append(found)
        return PointColumns(
            tuple(places),
            np.array(index, np.int32),
            np.array(times, np.int64),
            np.array(values, np.float64),
        )
