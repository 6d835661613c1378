"""Cumulative counters of others, as increases.

Callboard's counters carry increases. A counter that is scraped, or received as a cumulative sum,
says how much was counted since it began, and begins again at 0 with each restart of its process.
`CounterResets` remembers the last sample of each series, and gives the increase since then:

    the first sample             none: it may have been counted at any time before
      that began since then      all of it: it began after its source was heard of
    a larger or equal value      the difference
    a smaller value              a reset: the whole value, which was counted since
    a later start than the last sample's    the same
    not after the last sample    none: it is a repetition, or out of order
    after a pause of `stale_ns`  none: as a first sample, or a pause would end in a spike
    NaN, infinite or negative    none; NaN is how Prometheus marks the end of a series

Each outcome is counted. The number of remembered series is bounded.
"""

import enum
import math
from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from ..series import SeriesKey

__all__ = ["CounterResets", "ResetOutcome"]

STALE_NS: Final = 300 * 1_000_000_000
"""A pause after which the next sample is a first one: the default of Prometheus, 5 minutes."""
SERIES_MAX: Final = 100_000


@enum.unique
class ResetOutcome(enum.Enum):
    """What became of a sample."""

    INCREASED = "increased"
    RESET = "reset"
    FIRST = "first"
    BEGAN = "began"
    """A first sample of a counter that began after its source was heard of."""
    STALE = "stale"
    """A first sample after a pause."""
    REPEATED = "repeated"
    """Not after the last sample."""
    INVALID = "invalid"
    TOO_MANY = "too_many"
    """There was no room to remember its series."""


class _Last(NamedTuple):
    time_ns: int
    value: float


class _Source:
    __slots__ = ("last", "since_ns")

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        """A counter that began after this time was never forgotten."""
        self.last: dict[SeriesKey, _Last] = {}


class CounterResets:
    """The last samples of cumulative series, by source."""

    def __init__(self, *, stale_ns: int = STALE_NS, series_max: int = SERIES_MAX) -> None:
        self._stale_ns: Final = stale_ns
        self._series_max: Final = series_max
        self._sources: dict[str, _Source] = {}
        self._outcomes: Counter[ResetOutcome] = Counter()
        self.series = 0
        """The series that are remembered."""

    @property
    def outcomes(self) -> Mapping[ResetOutcome, int]:
        """The samples so far, by what became of them."""
        return dict(self._outcomes)

    def increase(
        self, source: str, key: SeriesKey, time_ns: int, value: float, *, start_ns: int = 0
    ) -> float | None:
        """The increase that a sample tells; None if it tells none.

        `start_ns` is when the counter began, where the source says so; 0 where it does not.
        """
        outcome, increase = self._judge(source, key, time_ns, value, start_ns)
        self._outcomes[outcome] += 1
        return increase

    def _judge(
        self, name: str, key: SeriesKey, time_ns: int, value: float, start_ns: int
    ) -> tuple[ResetOutcome, float | None]:
        source = self._sources.get(name)
        last = None if source is None else source.last.get(key)
        if not math.isfinite(value) or value < 0.0:
            if last is not None and math.isnan(value):
                self._forget_one(name, key)
            return ResetOutcome.INVALID, None
        if source is None or last is None:
            return self._first(name, key, _Last(time_ns, value), start_ns)
        if time_ns <= last.time_ns:
            return ResetOutcome.REPEATED, None
        source.last[key] = _Last(time_ns, value)
        if start_ns > last.time_ns:
            return ResetOutcome.RESET, value
        if time_ns - last.time_ns > self._stale_ns:
            return ResetOutcome.STALE, None
        if value < last.value:
            return ResetOutcome.RESET, value
        return ResetOutcome.INCREASED, value - last.value

    def _first(
        self, name: str, key: SeriesKey, sample: _Last, start_ns: int
    ) -> tuple[ResetOutcome, float | None]:
        if self.series >= self._series_max:
            return ResetOutcome.TOO_MANY, None
        source = self._sources.setdefault(name, _Source(sample.time_ns))
        source.last[key] = sample
        self.series += 1
        if source.since_ns < start_ns <= sample.time_ns:
            return ResetOutcome.BEGAN, sample.value
        return ResetOutcome.FIRST, None

    def forget(self, source: str) -> None:
        """Forget a source: it is gone for good."""
        found = self._sources.pop(source, None)
        self.series -= 0 if found is None else len(found.last)

    def forget_stale(self, now_ns: int) -> int:
        """Forget the series that are stale at this time; gives their number. Call now and then."""
        before, stale_ns = self.series, now_ns - self._stale_ns
        for name, source in list(self._sources.items()):
            for key in [key for key, last in source.last.items() if last.time_ns < stale_ns]:
                self._forget_one(name, key)
        return before - self.series

    def _forget_one(self, name: str, key: SeriesKey) -> None:
        source = self._sources[name]
        source.since_ns = max(source.since_ns, source.last.pop(key).time_ns)
        self.series -= 1
        if not source.last:
            del self._sources[name]
