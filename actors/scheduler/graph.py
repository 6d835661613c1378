"""The graph of one execution: the needs, the states and the ranks of its sub-tasks.

A sub-task is an index into parallel lists. That reads worse than one object each, but it is four
times cheaper to build and takes a third of the memory; a plan may hold a million.

Upward rank is the weight of the heaviest path from a sub-task to an end of the graph: the
time that must still pass once it starts. High ranks run first, so a critical path does not start
late.

Invariants: `unmet[i]` is the number of needs of i, repetitions included, that have not
ended; a sub-task waits exactly as long as it is above zero; ranks never grow along an edge.
(After growth, ranks of old sub-tasks may be too low: raising them ends after
`RANK_VISITS_PER_NEW` visits for each new sub-task, so growth costs O(new).)
"""

from collections.abc import Sequence
from typing import Final

from callboard.messages.jobs.execution import TaskStatus
from callboard.messages.jobs.plan import SubTask

__all__ = [
    "BACKING_OFF",
    "CANCELLED",
    "DONE",
    "FAILED",
    "IN_DOUBT",
    "READY",
    "RUNNING",
    "SKIPPED",
    "STATUSES",
    "WAITING",
    "TaskGraph",
]

RANK_VISITS_PER_NEW: Final = 4
"""The most old ranks that one new sub-task may raise."""

STATUSES: Final = tuple(TaskStatus)
"""The number of a state is its index here: numbers index lists, enum members hash slowly."""

WAITING: Final = STATUSES.index(TaskStatus.WAITING)
READY: Final = STATUSES.index(TaskStatus.READY)
RUNNING: Final = STATUSES.index(TaskStatus.RUNNING)
BACKING_OFF: Final = STATUSES.index(TaskStatus.BACKING_OFF)
IN_DOUBT: Final = STATUSES.index(TaskStatus.IN_DOUBT)
DONE: Final = STATUSES.index(TaskStatus.DONE)
FAILED: Final = STATUSES.index(TaskStatus.FAILED)
CANCELLED: Final = STATUSES.index(TaskStatus.CANCELLED)
SKIPPED: Final = STATUSES.index(TaskStatus.SKIPPED)


class TaskGraph:
    """Sub-tasks by index, their edges, states and ranks."""

    __slots__ = (
        "count_by_status",
        "dependants",
        "ids",
        "index",
        "rank",
        "status",
        "sub_tasks",
        "unmet",
    )

    def __init__(self) -> None:
        self.sub_tasks: list[SubTask] = []
        self.ids: list[str] = []
        self.index: dict[str, int] = {}
        self.status = bytearray()
        self.unmet: list[int] = []
        self.rank: list[float] = []
        self.dependants: dict[int, list[int]] = {}  # only of sub-tasks that have any
        self.count_by_status = [0] * len(STATUSES)

    def __len__(self) -> int:
        return len(self.ids)

    def move(self, index: int, to: int) -> None:
        """Change the state of one sub-task."""
        counts = self.count_by_status
        counts[self.status[index]] -= 1
        counts[to] += 1
        self.status[index] = to

    def add(self, sub_tasks: Sequence[SubTask]) -> tuple[int, list[int], list[int]]:
        """Add checked sub-tasks, all of them waiting.

        Returns the index of the first, the new ones that can never run because something
        they need has ended without a result, and the old ones whose rank was raised.
        """
        base = len(self.ids)
        count = len(sub_tasks)
        new_ids = [sub_task.id for sub_task in sub_tasks]
        self.sub_tasks += sub_tasks
        self.ids += new_ids
        self.index.update(zip(new_ids, range(base, base + count), strict=True))
        self.status.extend(bytes([WAITING]) * count)
        self.count_by_status[WAITING] += count
        self.unmet += [0] * count
        self.rank += [sub_task.weight for sub_task in sub_tasks]
        doomed: list[int] = []
        dependent: list[int] = []
        for i, sub_task in enumerate(sub_tasks, base):
            if sub_task.needs:
                dependent.append(i)
                if not self._add_needs(i, sub_task):
                    doomed.append(i)
        return base, doomed, self._rank(base, dependent) if dependent else []

    def is_absent(self, index: int) -> bool:
        """Whether the sub-task has ended without a result."""
        return self.status[index] in (FAILED, CANCELLED, SKIPPED)

    def _add_needs(self, index: int, sub_task: SubTask) -> bool:
        """Add the edges from its needs; False when it can never run."""
        can_run = True
        for need in sub_task.needs:
            n = self.index[need]
            if self.is_absent(n):
                can_run = can_run and self.sub_tasks[n].optional
            elif self.status[n] != DONE:
                self.unmet[index] += 1
                self.dependants.setdefault(n, []).append(index)
        return can_run

    def _rank(self, base: int, dependent: list[int]) -> list[int]:
        rank, dependants, sub_tasks = self.rank, self.dependants, self.sub_tasks
        unranked = {i: len(dependants[i]) for i in range(base, len(rank)) if i in dependants}
        ranked = [i for i in dependent if i not in unranked]  # from the ends of the graph upwards
        old: list[int] = []
        for i in ranked:
            behind = rank[i]
            for need in sub_tasks[i].needs:
                n = self.index[need]
                if n < base:
                    old.append(i)
                    continue
                rank[n] = max(rank[n], sub_tasks[n].weight + behind)
                if n in unranked:
                    unranked[n] -= 1
                    if not unranked[n]:
                        del unranked[n]
                        ranked.append(n)
        assert not unranked, "the check of the plan missed a cycle"
        return self._raise_old_ranks(base, old) if old else []

    def _raise_old_ranks(self, base: int, reached_from: list[int]) -> list[int]:
        raised: dict[int, None] = {}
        visits_left = RANK_VISITS_PER_NEW * (len(self.ids) - base)
        pending = reached_from
        while pending and visits_left > 0:
            above: list[int] = []
            for i in pending:
                for need in self.sub_tasks[i].needs:
                    n = self.index[need]
                    visits_left -= 1
                    candidate = self.sub_tasks[n].weight + self.rank[i]
                    if n < base and self.status[n] < DONE and candidate > self.rank[n]:
                        self.rank[n] = candidate
                        raised[n] = None
                        above.append(n)
            pending = above
        return list(raised)
