"""The deadlines of many asks with one timer: buckets of time, and a heap of the buckets.

An ask nearly always ends long before its deadline, so adding and removing must be cheap:
each is a dictionary operation, without a timer of the event loop. A deadline expires late
by up to `BUCKET_S`, never early.

Invariant between calls: the heap holds exactly the numbers of the buckets. An empty bucket
stays until its time comes, or until there are many of them.

Pure: the caller says what time it is and sets the one timer.
"""

import heapq
from typing import Final, Protocol

__all__ = ["BUCKET_S", "Deadlines", "Expiring"]

BUCKET_S: Final = 0.005
BUCKETS_KEPT: Final = 512
"""Above so many buckets the empty ones are removed: with deadlines an hour away, they would
otherwise pile up, one every 5 ms."""


class Expiring(Protocol):
    """An item with a deadline. Only `Deadlines` sets `bucket`; -1 says that it is in none."""

    bucket: int

    def expired(self) -> None:
        """`Deadlines` calls this once, when the deadline has passed; not after `remove`."""


class Deadlines:
    """All running deadlines of the asks of one host."""

    __slots__ = ("_buckets", "_heap", "_prune_at")

    def __init__(self) -> None:
        self._buckets: dict[int, dict[Expiring, None]] = {}
        self._heap: list[int] = []
        self._prune_at = BUCKETS_KEPT

    def add(self, item: Expiring, at_s: float) -> bool:
        """Add an item; True when the next expiry has become earlier."""
        number = int(at_s / BUCKET_S) + 1
        item.bucket = number
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket[item] = None
            return False
        if len(self._heap) >= self._prune_at:
            self._prune()
        self._buckets[number] = {item: None}
        heapq.heappush(self._heap, number)
        return self._heap[0] == number

    def remove(self, item: Expiring) -> None:
        """Forget an item; nothing happens when it has expired or was never added."""
        bucket = self._buckets.get(item.bucket)
        if bucket is not None:
            bucket.pop(item, None)
        item.bucket = -1

    def next_expiry_s(self) -> float | None:
        """The time of the next call of `expire`; None when there is no deadline."""
        buckets = self._buckets
        while self._heap:
            number = self._heap[0]
            if buckets[number]:
                return number * BUCKET_S
            heapq.heappop(self._heap)
            del buckets[number]
        return None

    def expire(self, now_s: float) -> None:
        """Call `expired` on everything whose deadline has passed, earliest bucket first.

        `expired` may add and remove items, also those that are due now. An exception from it
        ends this call; the next call continues with the items after it.
        """
        # Exactly the comparison that `next_expiry_s` promises: a division would round
        # differently, and a timer that fires on time would find nothing due.
        while (at_s := self.next_expiry_s()) is not None and at_s <= now_s:
            bucket = self._buckets[self._heap[0]]
            for item in tuple(bucket):
                if item in bucket:
                    del bucket[item]
                    item.bucket = -1
                    item.expired()

    def _prune(self) -> None:
        self._buckets = {number: bucket for number, bucket in self._buckets.items() if bucket}
        self._heap = sorted(self._buckets)
        self._prune_at = max(BUCKETS_KEPT, 2 * len(self._heap))

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())
