"""Kinds of agent and the lanes that serve them.

A kind is what a sub-task asks for: the name of a pool, or of the contract that an agent
must offer. Each kind has its own ready set, so that work nobody can take now does not
stand in the way of work somebody can.

Invariant: a kind's `groups` are exactly the groups whose offer names it.
"""

from collections.abc import Iterator, Mapping
from heapq import heappop

from .executors import Lane, LaneGroup
from .ready import ReadyEntry, ReadyQueue

__all__ = ["Kind", "LanePool"]


class Kind:
    """One kind of agent: its ready set, its budget and who serves it."""

    __slots__ = ("groups", "limit", "name", "queue", "ready", "running", "unserved_since")

    def __init__(self, name: str, limit: int | None) -> None:
        self.name = name
        self.limit = limit
        self.queue = ReadyQueue()
        self.ready = 0  # sub-tasks in the state READY; the queue may also hold stale entries
        self.running = 0  # slots taken, cancelled attempts that have not answered included
        self.groups: list[LaneGroup] = []
        self.unserved_since: float | None = None

    @property
    def is_served(self) -> bool:
        """Whether some lane offers this kind, with or without credit."""
        return any(group.lanes for group in self.groups)

    @property
    def has_room(self) -> bool:
        """Whether its own budget allows one more."""
        return self.limit is None or self.running < self.limit

    def best_group(self) -> LaneGroup | None:
        """The group whose best lane is the least loaded of all that serve this kind."""
        groups = self.groups
        if len(groups) == 1:
            return groups[0] if groups[0].best() is not None else None
        found: LaneGroup | None = None
        load_min = 0.0
        for group in groups:
            best = group.best()
            if best is not None and (found is None or best[0] < load_min):
                found, load_min = group, best[0]
        return found


class LanePool:
    """All lanes and kinds of one execution."""

    __slots__ = ("_groups", "_limits", "_parked", "kinds", "lanes")

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.lanes: dict[str, Lane] = {}
        self.kinds: dict[str, Kind] = {}
        self._groups: dict[frozenset[str], LaneGroup] = {}
        self._limits = dict(limits)
        self._parked: dict[str, Lane] = {}  # lanes with parked entries

    def kind(self, name: str) -> Kind:
        """The kind of that name, made at its first use."""
        found = self.kinds.get(name)
        if found is None:
            found = self.kinds[name] = Kind(name, self._limits.get(name))
            found.groups = [group for group in self._groups.values() if name in group.offers]
        return found

    def set_lane(
        self, lane_id: str, credit: int, offers: frozenset[str] | None
    ) -> list[ReadyEntry]:
        """Add a lane or change it; returns parked entries that must look for another lane."""
        lane = self.lanes.get(lane_id)
        if lane is None:
            group = self._group(offers or frozenset())
            lane = self.lanes[lane_id] = Lane(lane_id, credit, group)
            group.add(lane)
            return []
        lane.credit = credit
        if offers is None or offers == lane.group.offers:
            lane.group.mark(lane)
            return [] if credit else self._unpark_all(lane)
        lane.group.remove(lane)
        lane.group = self._group(offers)
        lane.group.add(lane)
        return self._unpark_all(lane)

    def remove_lane(self, lane_id: str) -> tuple[Lane, list[ReadyEntry]] | None:
        """Forget a lane; returns it with the entries that were parked on it."""
        lane = self.lanes.pop(lane_id, None)
        if lane is None:
            return None
        lane.is_lost = True
        lane.group.remove(lane)
        return lane, self._unpark_all(lane)

    def note_parked(self, lane: Lane) -> None:
        """Remember that entries are parked on this lane."""
        self._parked[lane.lane_id] = lane

    def unpark(self) -> Iterator[ReadyEntry]:
        """The most urgent parked entries, as many as their lanes have credit for now."""
        for lane in list(self._parked.values()):
            for _ in range(lane.credit - lane.occupied):
                if lane.parked:
                    yield heappop(lane.parked)
            if not lane.parked:
                del self._parked[lane.lane_id]

    def forget_work(self) -> None:
        """Drop every ready and parked entry."""
        for kind in self.kinds.values():
            kind.queue.clear()
        for lane in self._parked.values():
            lane.parked.clear()
        self._parked.clear()

    def _unpark_all(self, lane: Lane) -> list[ReadyEntry]:
        self._parked.pop(lane.lane_id, None)
        entries, lane.parked = lane.parked, []
        return entries

    def _group(self, offers: frozenset[str]) -> LaneGroup:
        group = self._groups.get(offers)
        if group is None:
            group = self._groups[offers] = LaneGroup(offers)
            for kind in self.kinds.values():
                if kind.name in offers:
                    kind.groups.append(group)
        return group
