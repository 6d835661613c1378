"""The ready set of one kind of agent: what may run now, the most urgent first.

Urgent means: the higher priority, then the longer critical path behind it (upward rank),
then the earlier place in the plan. Entries are tuples that sort that way.

A plan usually becomes ready in one large batch and then one by one. So the set is a sorted
run, taken from its end in constant time, and a heap for what comes later. A heap alone
would cost 100,000 flat sub-tasks a microsecond and a half each.

An entry may be stale or occur twice (after a rank was raised): the taker checks the state
of the sub-task. That is cheaper than finding an entry in order to change it.
"""

from heapq import heappop, heappush
from typing import Final

__all__ = ["ReadyEntry", "ReadyQueue"]

ReadyEntry = tuple[int, float, int]
"""Negated priority, negated upward rank, index of the sub-task."""

MERGE_SHARE: Final = 4
"""A batch of at least this fraction (1/4) of the run is merged into it, a smaller one pushed.

Merging costs the length of the run; this keeps it constant for each entry on average.
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
        """The most urgent entry, left in place."""
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
