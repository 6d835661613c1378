"""The ready set of one kind of agent: sub-tasks that may run now, the most urgent first.

Urgency is the higher priority, then the longer critical path behind the sub-task (upward rank),
then the earlier place in the plan. Entries are tuples that sort that way.

Sub-tasks usually become ready in one large batch and then one by one. So the set is a sorted
run, whose end is taken in constant time, and a heap for later entries. A heap alone would cost
1.5 µs for each of 100,000 flat sub-tasks.

An entry may be stale, or occur twice after a rank rose: the caller of `pop` checks the state of
the sub-task. That is cheaper than finding an entry to change it.
"""

from heapq import heappop, heappush
from typing import Final

__all__ = ["ReadyEntry", "ReadyQueue"]

ReadyEntry = tuple[int, float, int]
"""Negated priority, negated upward rank, index of the sub-task."""

MERGE_SHARE: Final = 4
"""A batch of at least 1 / MERGE_SHARE of the run is merged into it, a smaller one pushed.

A merge costs the length of the run; with this share the cost of an entry is constant.
"""


class ReadyQueue:
    """A priority queue for large batches and single entries."""

    __slots__ = ("_heap", "_run")

    def __init__(self) -> None:
        self._run: list[ReadyEntry] = []  # descending: the most urgent is the last
        self._heap: list[ReadyEntry] = []

    def __len__(self) -> int:
        return len(self._run) + len(self._heap)

    def push(self, entry: ReadyEntry) -> None:
        """Add one entry."""
        heappush(self._heap, entry)

    def push_many(self, entries: list[ReadyEntry]) -> None:
        """Add a batch."""
        if len(entries) * MERGE_SHARE < len(self._run):
            for entry in entries:
                heappush(self._heap, entry)
            return
        self._run += entries
        self._run.sort(reverse=True)

    def peek(self) -> ReadyEntry | None:
        """The most urgent entry; it stays in the set."""
        run, heap = self._run, self._heap
        if run and not (heap and heap[0] < run[-1]):
            return run[-1]
        return heap[0] if heap else None

    def pop(self) -> ReadyEntry:
        """Take the most urgent entry.

        Raises:
            IndexError: there is none.
        """
        run, heap = self._run, self._heap
        if run and not (heap and heap[0] < run[-1]):
            return run.pop()
        return heappop(heap)

    def entries(self) -> list[ReadyEntry]:
        """A copy of all entries, in no order."""
        return self._run + self._heap

    def clear(self) -> None:
        """Forget everything."""
        self._run.clear()
        self._heap.clear()
