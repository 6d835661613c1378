"""Executors: they run attempts, and the scheduler chooses the least loaded one.

An executor is one host as the scheduler sees it: a name, the kinds of agent it offers, and a
credit, the most attempts it may hold at once. Its load is the used share of its credit.
Executors with the same offer form a group. Each group keeps its executors in a heap by load;
equal loads take turns.

A change of load only marks an executor; the next choice puts it in its new place. So a batch of
100 completions on one executor moves it once. Stale heap entries stay until they reach the top,
or until they outnumber the executors; the stamp of a stale entry differs from its executor's.

Invariant: the choice is never an executor that holds its credit or more.
"""

from heapq import heapify, heappop, heappush, heapreplace
from typing import Final

from .ready import ReadyEntry

__all__ = ["Executor", "ExecutorGroup"]

_NO_ENTRY: Final = 0

STALE_SHARE: Final = 4
"""A heap with more entries than this times its executors is rebuilt: O(1) for each entry."""


class Executor:
    """One host that runs attempts."""

    __slots__ = (
        "credit",
        "executor_id",
        "group",
        "is_lost",
        "is_marked",
        "occupied",
        "parked",
        "stamp",
    )

    def __init__(self, executor_id: str, credit: int, group: "ExecutorGroup") -> None:
        self.executor_id = executor_id
        self.credit = credit
        self.group = group
        self.occupied = 0
        self.stamp = _NO_ENTRY  # of its one valid entry in the group's heap
        self.is_marked = False
        self.is_lost = False
        self.parked: list[
            ReadyEntry
        ] = []  # a heap of ready keyed entries that wait for this full executor

    @property
    def has_credit(self) -> bool:
        """Whether one more attempt may run here."""
        return self.occupied < self.credit and not self.is_lost

    def occupy(self) -> None:
        """Take one slot of this executor."""
        self.occupied += 1
        self.group.mark(self)

    def release(self) -> None:
        """Release one slot."""
        assert self.occupied > 0, f"executor {self.executor_id} released more slots than it took"
        self.occupied -= 1
        self.group.mark(self)


class ExecutorGroup:
    """The executors that offer the same kinds of agent."""

    __slots__ = ("_heap", "_marked", "_stamp", "executors", "offers")

    def __init__(self, offers: frozenset[str]) -> None:
        self.offers = offers
        self.executors: dict[str, Executor] = {}
        self._heap: list[tuple[float, int, Executor]] = []
        self._marked: list[Executor] = []
        self._stamp = _NO_ENTRY

    def add(self, executor: Executor) -> None:
        """Add an executor."""
        self.executors[executor.executor_id] = executor
        self.mark(executor)

    def remove(self, executor: Executor) -> None:
        """Remove an executor and its heap entries: its stamp is valid in one group only."""
        del self.executors[executor.executor_id]
        self._marked = [other for other in self._marked if other is not executor]
        self._heap = [entry for entry in self._heap if entry[2] is not executor]
        heapify(self._heap)
        executor.is_marked = False
        executor.stamp = _NO_ENTRY

    def mark(self, executor: Executor) -> None:
        """Note that the executor's load or credit changed."""
        if not executor.is_marked:
            executor.is_marked = True
            self._marked.append(executor)

    def best(self) -> tuple[float, int, Executor] | None:
        """The least loaded executor with credit, as (load, turn, executor)."""
        if self._marked:
            self._place_marked()
        heap = self._heap
        while heap and heap[0][1] != heap[0][2].stamp:
            heappop(heap)
        return heap[0] if heap else None

    def occupy_best(self) -> Executor:
        """Take one slot of the executor that `best` has just returned."""
        executor = self._heap[0][2]
        executor.occupied += 1
        if executor.occupied < executor.credit:
            self._stamp += 1
            executor.stamp = self._stamp
            heapreplace(self._heap, (executor.occupied / executor.credit, self._stamp, executor))
        else:
            executor.stamp = _NO_ENTRY
            heappop(self._heap)
        return executor

    def _place_marked(self) -> None:
        heap = self._heap
        for executor in self._marked:
            executor.is_marked = False
            executor.stamp = _NO_ENTRY
            if executor.has_credit:
                self._stamp += 1
                executor.stamp = self._stamp
                heappush(heap, (executor.occupied / executor.credit, self._stamp, executor))
        self._marked.clear()
        if len(heap) > STALE_SHARE * (len(self.executors) + STALE_SHARE):
            heap[:] = [entry for entry in heap if entry[1] == entry[2].stamp]
            heapify(heap)
