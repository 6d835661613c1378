"""The sources of a shard: which of their points have arrived, and how far their time is.

| source | holds the watermark back | leaves this state |
|---|---|---|
| active | yes | see the other three |
| idle: reports nothing for `idle_ns` | no; its last windows are partial | reports again |
| stalled: reports, but its watermark stands still for `hold_ns`, or is so far behind another one |
no | its watermark advances |
| ended: says so | no | reports another watermark |

Points are numbered. Those below `prefix` have all arrived; beyond it are intervals, with gaps
between them. The watermark of a batch counts once everything before its end has arrived: so a batch
that is overtaken is not late. A gap that stays for `gap_ns` is given up: the source has lost its
points. If they come after all, they count as repeated.
"""

import enum
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ..points import SOURCE_ENDED_NS, MetricSource, SourceKind

__all__ = ["NO_WATERMARK", "Interval", "SourceState", "SourceStatus"]


@enum.unique
class SourceStatus(enum.IntEnum):
    """Whether a source holds the watermark back, and why not."""

    ACTIVE = 0
    IDLE = 1
    STALLED = 2
    ENDED = 3


class Interval(NamedTuple):
    """Points that have arrived beyond a gap, and the newest watermark that came with them."""

    start: int
    end: int
    watermark_ns: int


NO_WATERMARK: Final = -(2**63)
"""The watermark of a source that has reported none which can be believed."""


@dataclass(slots=True)
class SourceState:
    """What a shard knows of one source."""

    source: MetricSource
    heard_ns: int
    """The clock when it reported last."""
    advanced_ns: int
    """The clock when its watermark rose last."""
    prefix: int = 0
    ahead: list[Interval] = field(default_factory=list)
    """Sorted, with gaps before each."""
    gap_since_ns: int = 0
    """The clock when the first gap began to be the first."""
    watermark_ns: int = NO_WATERMARK
    begins_ns: int | None = None
    """The time of its first points: the window of that time is partial."""
    status: SourceStatus = SourceStatus.ACTIVE
    numbers: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """For each series of the source its number in the shard."""

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of `[start, end)` that have not arrived."""
        found: list[tuple[int, int]] = []
        start = max(start, self.prefix)
        for interval in self.ahead:
            if start >= end:
                break
            if interval.start > start:
                found.append((start, min(interval.start, end)))
            start = max(start, interval.end)
        if start < end:
            found.append((start, end))
        return found

    def has_room(self, start: int, gaps_max: int) -> bool:
        """Whether points from `start` on may arrive without one gap too many."""
        if start <= self.prefix or len(self.ahead) < gaps_max:
            return True
        return any(interval.start <= start <= interval.end for interval in self.ahead)

    def take(self, start: int, end: int, watermark_ns: int, now_ns: int) -> None:
        """Count the points of `[start, end)` as arrived, with the watermark of their batch."""
        self.heard_ns = max(self.heard_ns, now_ns)
        if self.status is SourceStatus.IDLE:
            self.status = SourceStatus.ACTIVE
        if start > self.prefix:
            self._take_ahead(start, end, watermark_ns, now_ns)
            return
        if end >= self.prefix:
            self.prefix = end
            self._raise(watermark_ns, now_ns)
            self._close_up(now_ns)

    def _take_ahead(self, start: int, end: int, watermark_ns: int, now_ns: int) -> None:
        if start == end and not any(each.start <= start <= each.end for each in self.ahead):
            return  # Only a watermark, and it is not known what is before it.
        if not self.ahead:
            self.gap_since_ns = now_ns
        rest: list[Interval] = []
        for each in self.ahead:
            if each.end < start or each.start > end:
                rest.append(each)
            else:
                start, end = min(start, each.start), max(end, each.end)
                watermark_ns = max(watermark_ns, each.watermark_ns)
        rest.append(Interval(start, end, watermark_ns))
        self.ahead = sorted(rest)

    def _close_up(self, now_ns: int) -> None:
        """Let the prefix go on over intervals that are not ahead any more."""
        while self.ahead and self.ahead[0].start <= self.prefix:
            interval = self.ahead.pop(0)
            if interval.end >= self.prefix:
                self.prefix = interval.end
                self._raise(interval.watermark_ns, now_ns)
            self.gap_since_ns = now_ns

    def _raise(self, watermark_ns: int, now_ns: int) -> None:
        if watermark_ns == SOURCE_ENDED_NS:
            self.status = SourceStatus.ENDED
            return
        if self.status is SourceStatus.ENDED:
            self.status = SourceStatus.ACTIVE
        # A clock that is ahead of ours must not close windows of others.
        watermark_ns = min(watermark_ns, now_ns)
        if watermark_ns > self.watermark_ns:
            self.watermark_ns = watermark_ns
            self.advanced_ns = now_ns

    def give_up_gap(self, now_ns: int) -> int:
        """Count the points of the first gap as lost; their number."""
        lost = self.ahead[0].start - self.prefix
        self.prefix = self.ahead[0].start
        self._close_up(now_ns)
        return lost

    def to_data(self) -> list[Any]:
        """Plain data, without the numbers of series."""
        return [
            self.source.kind.value,
            self.source.name,
            self.heard_ns,
            self.advanced_ns,
            self.prefix,
            [list(each) for each in self.ahead],
            self.gap_since_ns,
            self.watermark_ns,
            self.begins_ns,
            int(self.status),
        ]

    @staticmethod
    def of_data(data: list[Any], numbers: npt.NDArray[np.int64]) -> "SourceState":
        """The source that `to_data` has described."""
        kind, name, heard, advanced, prefix, ahead, gap_since, watermark, begins, status = data
        source = MetricSource(kind=SourceKind(kind), name=name)
        return SourceState(
            source,
            int(heard),
            int(advanced),
            int(prefix),
            [Interval(int(start), int(end), int(mark)) for start, end, mark in ahead],
            int(gap_since),
            int(watermark),
            None if begins is None else int(begins),
            SourceStatus(status),
            numbers,
        )
