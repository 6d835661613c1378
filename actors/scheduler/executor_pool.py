"""Kinds of agent and the executors that serve them.

A sub-task names the kind of agent that it needs: the name of a pool, or of the contract that an
agent must offer. Each kind has its own ready set, so sub-tasks without a free executor do not
delay those of other kinds.

Invariant: a kind's `groups` are exactly the groups whose offer names it.
"""

from collections.abc import Iterator, Mapping
from heapq import heappop

from .executors import Executor, ExecutorGroup
from .ready import ReadyEntry, ReadyQueue

__all__ = ["ExecutorPool", "Kind"]


class Kind:
    """One kind of agent: its ready set, its budget and its executors."""

    __slots__ = ("groups", "limit", "name", "queue", "ready", "running", "unserved_since")

    def __init__(self, name: str, limit: int | None) -> None:
        self.name = name
        self.limit = limit
        self.queue = ReadyQueue()
        self.ready = 0  # sub-tasks in the state READY; the queue may also hold stale entries
        self.running = 0  # slots taken, including cancelled attempts without an answer
        self.groups: list[ExecutorGroup] = []
        self.unserved_since: float | None = None

    @property
    def is_served(self) -> bool:
        """Whether an executor offers this kind, with or without credit."""
        return any(group.executors for group in self.groups)

    @property
    def has_room(self) -> bool:
        """Whether its budget allows one more attempt."""
        return self.limit is None or self.running < self.limit

    def best_group(self) -> ExecutorGroup | None:
        """The group whose best executor is the least loaded of all that serve this kind."""
        groups = self.groups
        if len(groups) == 1:
            return groups[0] if groups[0].best() is not None else None
        found: ExecutorGroup | None = None
        load_min = 0.0
        for group in groups:
            best = group.best()
            if best is not None and (found is None or best[0] < load_min):
                found, load_min = group, best[0]
        return found


class ExecutorPool:
    """All executors and kinds of one execution."""

    __slots__ = ("_groups", "_limits", "_parked", "executors", "kinds")

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.executors: dict[str, Executor] = {}
        self.kinds: dict[str, Kind] = {}
        self._groups: dict[frozenset[str], ExecutorGroup] = {}
        self._limits = dict(limits)
        self._parked: dict[str, Executor] = {}  # executors with parked entries

    def kind(self, name: str) -> Kind:
        """The kind of that name, made at its first use."""
        found = self.kinds.get(name)
        if found is None:
            found = self.kinds[name] = Kind(name, self._limits.get(name))
            found.groups = [group for group in self._groups.values() if name in group.offers]
        return found

    def set_executor(
        self, executor_id: str, credit: int, offers: frozenset[str] | None
    ) -> list[ReadyEntry]:
        """Add or change an executor; returns parked entries that need another executor."""
        executor = self.executors.get(executor_id)
        if executor is None:
            group = self._group(offers or frozenset())
            executor = self.executors[executor_id] = Executor(executor_id, credit, group)
            group.add(executor)
            return []
        executor.credit = credit
        if offers is None or offers == executor.group.offers:
            executor.group.mark(executor)
            return [] if credit else self._unpark_all(executor)
        executor.group.remove(executor)
        executor.group = self._group(offers)
        executor.group.add(executor)
        return self._unpark_all(executor)

    def remove_executor(self, executor_id: str) -> tuple[Executor, list[ReadyEntry]] | None:
        """Remove an executor; returns it with the entries that were parked on it."""
        executor = self.executors.pop(executor_id, None)
        if executor is None:
            return None
        executor.is_lost = True
        executor.group.remove(executor)
        return executor, self._unpark_all(executor)

    def note_parked(self, executor: Executor) -> None:
        """Remember that entries are parked on this executor."""
        self._parked[executor.executor_id] = executor

    def unpark(self) -> Iterator[ReadyEntry]:
        """The most urgent parked entries, as many as their executors have credit for now."""
        for executor in list(self._parked.values()):
            for _ in range(executor.credit - executor.occupied):
                if executor.parked:
                    yield heappop(executor.parked)
            if not executor.parked:
                del self._parked[executor.executor_id]

    def forget_work(self) -> None:
        """Drop every ready and parked entry."""
        for kind in self.kinds.values():
            kind.queue.clear()
        for executor in self._parked.values():
            executor.parked.clear()
        self._parked.clear()

    def _unpark_all(self, executor: Executor) -> list[ReadyEntry]:
        self._parked.pop(executor.executor_id, None)
        entries, executor.parked = executor.parked, []
        return entries

    def _group(self, offers: frozenset[str]) -> ExecutorGroup:
        group = self._groups.get(offers)
        if group is None:
            group = self._groups[offers] = ExecutorGroup(offers)
            for kind in self.kinds.values():
                if kind.name in offers:
                    kind.groups.append(group)
        return group
