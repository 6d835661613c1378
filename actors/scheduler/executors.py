"""Lanes: where attempts run, and which of them is the least loaded.

A lane is one host as the scheduler sees it: a name, the kinds of agent it offers, and a
credit, which is the most attempts it may hold at once. Its load is the share of its credit
that is taken. Lanes with the same offer form a group, and each group keeps its lanes in a
heap by load; equal loads take turns.

A lane whose load sank is only marked, and gets its new place when the next lane is chosen:
a batch of 100 completions on one lane moves it once. Superseded heap entries stay until
they surface, or until they outnumber the lanes; each carries a stamp that its lane has
left behind.

Invariant: a lane is never chosen while it holds its credit or more.
"""

from heapq import heapify, heappop, heappush, heapreplace
from typing import Final

from .ready import ReadyEntry

__all__ = ["Lane", "LaneGroup"]

_NO_ENTRY: Final = 0

STALE_SHARE: Final = 4
"""A heap over this many times its lanes is rebuilt; constant cost for each entry on average."""


class Lane:
    """One host that runs attempts."""

    __slots__ = (
        "credit",
        "group",
        "is_lost",
        "is_marked",
        "lane_id",
        "occupied",
        "parked",
        "stamp",
    )

    def __init__(self, lane_id: str, credit: int, group: "LaneGroup") -> None:
        self.lane_id = lane_id
        self.credit = credit
        self.group = group
        self.occupied = 0
        self.stamp = _NO_ENTRY  # of its one valid entry in the group's heap
        self.is_marked = False
        self.is_lost = False
        self.parked: list[ReadyEntry] = []  # a heap: ready, keyed, and bound to this full lane

    @property
    def has_credit(self) -> bool:
        """Whether one more attempt may run here."""
        return self.occupied < self.credit and not self.is_lost

    def occupy(self) -> None:
        """Take one slot of this very lane."""
        self.occupied += 1
        self.group.mark(self)

    def release(self) -> None:
        """Give one slot back."""
        assert self.occupied > 0, f"lane {self.lane_id} gave back more than it took"
        self.occupied -= 1
        self.group.mark(self)


class LaneGroup:
    """The lanes that offer the same kinds of agent."""

    __slots__ = ("_heap", "_marked", "_stamp", "lanes", "offers")

    def __init__(self, offers: frozenset[str]) -> None:
        self.offers = offers
        self.lanes: dict[str, Lane] = {}
        self._heap: list[tuple[float, int, Lane]] = []
        self._marked: list[Lane] = []
        self._stamp = _NO_ENTRY

    def add(self, lane: Lane) -> None:
        """Take a lane in."""
        self.lanes[lane.lane_id] = lane
        self.mark(lane)

    def remove(self, lane: Lane) -> None:
        """Let a lane go, with every trace: its stamps mean nothing to another group."""
        del self.lanes[lane.lane_id]
        self._marked = [other for other in self._marked if other is not lane]
        self._heap = [entry for entry in self._heap if entry[2] is not lane]
        heapify(self._heap)
        lane.is_marked = False
        lane.stamp = _NO_ENTRY

    def mark(self, lane: Lane) -> None:
        """Note that the lane's load or credit changed."""
        if not lane.is_marked:
            lane.is_marked = True
            self._marked.append(lane)

    def best(self) -> tuple[float, int, Lane] | None:
        """The least loaded lane with credit, as (load, turn, lane)."""
        if self._marked:
            self._place_marked()
        heap = self._heap
        while heap and heap[0][1] != heap[0][2].stamp:
            heappop(heap)
        return heap[0] if heap else None

    def occupy_best(self) -> Lane:
        """Take one slot of the lane that `best` has just named."""
        lane = self._heap[0][2]
        lane.occupied += 1
        if lane.occupied < lane.credit:
            self._stamp += 1
            lane.stamp = self._stamp
            heapreplace(self._heap, (lane.occupied / lane.credit, self._stamp, lane))
        else:
            lane.stamp = _NO_ENTRY
            heappop(self._heap)
        return lane

    def _place_marked(self) -> None:
        heap = self._heap
        for lane in self._marked:
            lane.is_marked = False
            lane.stamp = _NO_ENTRY
            if lane.has_credit:
                self._stamp += 1
                lane.stamp = self._stamp
                heappush(heap, (lane.occupied / lane.credit, self._stamp, lane))
        self._marked.clear()
        if len(heap) > STALE_SHARE * (len(self.lanes) + STALE_SHARE):
            heap[:] = [entry for entry in heap if entry[1] == entry[2].stamp]
            heapify(heap)
