"""All deadlines of an execution: timeouts, ends of back-offs, ends of grace periods.

One heap holds them all, so the shell needs one timer. An entry stays when its reason goes away
(an attempt that ended in time). The heap drops a stale entry when it reaches the top, and sweeps
all stale entries when they outnumber the live ones.
"""

from collections.abc import Callable
from enum import IntEnum
from heapq import heapify, heappop, heappush
from typing import Final

__all__ = ["AttemptDeadlines", "Deadline", "Due"]

SWEEP_MIN: Final = 1_024
"""The heap size below which a sweep costs more than it saves."""


class Due(IntEnum):
    """The kind of a deadline."""

    ATTEMPT_TIMEOUT = 0
    RETRY = 1
    CANCEL_GRACE = 2


Deadline = tuple[float, Due, int]
"""Time, kind, and the ticket (of an attempt) or the index (of a sub-task)."""


class AttemptDeadlines:
    """A heap of deadlines; `is_alive` is False for stale entries."""

    __slots__ = ("_heap", "_is_alive", "_sweep_at")

    def __init__(self, is_alive: Callable[[Deadline], bool]) -> None:
        self._heap: list[Deadline] = []
        self._is_alive = is_alive
        self._sweep_at = SWEEP_MIN

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, at: float, due: Due, of: int) -> None:
        """Set a deadline."""
        heappush(self._heap, (at, due, of))
        if len(self._heap) > self._sweep_at:
            alive = [deadline for deadline in self._heap if self._is_alive(deadline)]
            heapify(alive)
            self._heap = alive
            self._sweep_at = max(SWEEP_MIN, 2 * len(alive))

    def next_at(self) -> float | None:
        """The time of the earliest live deadline."""
        heap = self._heap
        while heap and not self._is_alive(heap[0]):
            heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> Deadline | None:
        """Take the earliest live deadline that is not later than `now`."""
        at = self.next_at()
        return heappop(self._heap) if at is not None and at <= now else None
