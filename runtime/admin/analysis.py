"""What the times of an execution's attempts say: queues, runs, and the critical path.

An attempt could have begun when the last sub-task that its own needs was done; a retry when the
attempt before it failed. The wait from there on is its queue, back-offs included. The time in which
no process ran the execution is no part of it.

The critical path goes back from the sub-task that ended last: each time to the sub-task, among
those that it needs, that ended last (as in the critical path method; Kelley and Walker 1959).
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from callboard.actors.executions.history.fold import ExecutionHistory

__all__ = ["Analysis", "TimedAttempt"]


class TimedAttempt(NamedTuple):
    """An attempt that has ended, with the wait before it."""

    number: int
    """The number of its sub-task."""
    attempt: int
    executor: str
    ready_at: float
    began_at: float
    ended_at: float
    code: str
    """Empty when it succeeded."""
    message: str


class Analysis:
    """The times of one version of a history, computed once: O(sub-tasks + needs + attempts)."""

    def __init__(self, history: ExecutionHistory) -> None:
        self.version: Final = history.version
        """The version of the history."""
        self.kinds: Final[list[str]] = []
        """The contract of each sub-task."""
        self.needs: Final[list[Sequence[int]]] = []
        """The sub-tasks that each needs."""
        self.parents: Final[list[int | None]] = []
        """Which sub-task added it; None for one of the plan."""
        for added in history.added:
            event = added.event
            self.kinds.extend(event.contract_names())
            self.needs.extend(event.needs())
            self.parents.extend([event.parent] * len(event))
        self.ended_at: Final[list[float]] = [0.0] * len(self.kinds)
        """When the last ended attempt of each sub-task ended; 0 without one."""
        for task, _, _, began_at, took_s, _, _ in history.ended:
            end = began_at + took_s
            if task < len(self.ended_at) and end > self.ended_at[task]:
                self.ended_at[task] = end
        self.first_run_at: Final = min((row[3] for row in history.ended), default=history.at)
        """When the first attempt began."""
        self._owners: Final = sorted(owner.at for owner in history.owners)
        self._planned_at: Final = max(
            (phase.at for phase in history.phases if phase.at <= self.first_run_at),
            default=history.submitted.at or self.first_run_at,
        )
        self.attempts: Final[list[TimedAttempt]] = self._timed(history)
        """All ended attempts, in the order of their ends."""
        self.by_task: Final[defaultdict[int, list[int]]] = defaultdict(list)
        """The places in `attempts` of each sub-task's attempts."""
        for place, attempt in enumerate(self.attempts):
            self.by_task[attempt.number].append(place)
        self.critical: Final[list[int]] = self._critical()
        """The sub-tasks of the critical path, the first one first."""

    def _timed(self, history: ExecutionHistory) -> list[TimedAttempt]:
        before: dict[int, float] = {}
        timed = []
        for task, attempt, executor, began_at, took_s, code, message in history.ended:
            if task >= len(self.kinds):
                continue  # Its plan was made again.
            ready_at = before.get(task)
            if ready_at is None:
                ready_at = self.ready_at(task)
            ended_at = before[task] = began_at + took_s
            # The owner that ran it may have come later than its needs were done.
            owner = bisect_right(self._owners, began_at)
            if owner:
                ready_at = max(ready_at, self._owners[owner - 1])
            ready_at = min(ready_at, began_at)
            timed.append(
                TimedAttempt(task, attempt, executor, ready_at, began_at, ended_at, code, message)
            )
        return timed

    def ready_at(self, number: int) -> float:
        """When all that a sub-task needs was done, as far as it is done."""
        needs, parent = self.needs[number], self.parents[number]
        ready_at = self._planned_at if parent is None else self.ended_at[parent]
        for need in needs:
            ready_at = max(ready_at, self.ended_at[need])
        return ready_at

    def _critical(self) -> list[int]:
        if not self.attempts:
            return []
        path = [max(range(len(self.ended_at)), key=self.ended_at.__getitem__)]
        seen = set(path)
        while True:
            number = path[-1]
            before = [need for need in self.needs[number] if self.ended_at[need]]
            parent = self.parents[number]
            if parent is not None:
                before.append(parent)
            if not before:
                return path[::-1]
            last = max(before, key=self.ended_at.__getitem__)
            if last in seen:  # Only in a damaged history.
                return path[::-1]
            seen.add(last)
            path.append(last)
