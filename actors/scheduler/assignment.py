"""Assignment: the most urgent ready sub-task goes to the least loaded executor, repeatedly.

Each kind of agent has its own ready set, so a kind without a free executor delays no other kind.
Between kinds, the more urgent head goes first.

Sub-tasks with a key go to the executor that ran the first of them. While that executor is full,
they are parked on it; they return to the ready set when it has credit.
"""

import sys
from heapq import heapify, heappop, heappush
from typing import Final

from .attempt_deadlines import Due
from .attempts import ATTEMPT_BITS
from .effects import Dispatch
from .executor_pool import Kind
from .executors import Executor
from .flow import TaskFlow
from .graph import READY, RUNNING
from .ready import ReadyEntry

__all__ = ["Assignment"]

UNLIMITED: Final = sys.maxsize
"""The attempts at once without a budget; retries may outnumber the sub-tasks."""


class Assignment:
    """Chooses the sub-tasks that run next, and their executors."""

    __slots__ = ("_concurrency_max", "_executor_by_key", "_flow")

    def __init__(self, flow: TaskFlow, concurrency_max: int | None) -> None:
        self._flow = flow
        self._concurrency_max = concurrency_max
        self._executor_by_key: dict[tuple[str, str], Executor] = {}

    def dispatch(self, now: float) -> list[Dispatch]:
        """Assign as many sub-tasks as executors and budgets allow, the most urgent first."""
        out: list[Dispatch] = []
        self._flow.requeue(self._flow.pool.unpark())
        active: list[tuple[ReadyEntry, int, Kind]] = []
        for number, kind in enumerate(self._flow.pool.kinds.values()):
            if not kind.ready or kind.is_served:
                kind.unserved_since = None
            elif kind.unserved_since is None:
                kind.unserved_since = now
            head = kind.queue.peek()
            if head is not None and kind.groups:
                active.append((head, number, kind))
        heapify(active)
        maximum = self._concurrency_max
        while active:
            room = None if maximum is None else maximum - self._flow.attempts.occupied
            _, number, kind = heappop(active)
            rival = active[0][0] if active else None
            head = self._dispatch_kind(kind, rival, room, now, out)
            if head is not None:
                heappush(active, (head, number, kind))
        return out

    def _dispatch_kind(
        self,
        kind: Kind,
        rival: ReadyEntry | None,
        room: int | None,
        now: float,
        out: list[Dispatch],
    ) -> ReadyEntry | None:
        """Dispatch from one kind until another is more urgent; returns its next head, if any."""
        graph, attempts, queue = self._flow.graph, self._flow.attempts, kind.queue
        status, started, running = graph.status, attempts.started, attempts.running
        counts, ids, sub_tasks = graph.count_by_status, graph.ids, graph.sub_tasks
        limit = UNLIMITED if kind.limit is None else kind.limit
        full_at = UNLIMITED if room is None else len(out) + room
        while kind.running < limit and len(out) < full_at:
            group = kind.best_group()
            head = queue.peek()
            if group is None or head is None:
                return None
            if rival is not None and rival < head:
                return head
            queue.pop()
            index = head[2]
            if status[index] != READY:
                continue
            sub_task = sub_tasks[index]
            if sub_task.key is None:
                executor = group.occupy_best()
            else:
                keyed = self._occupy_for_key(kind, sub_task.key, head)
                if keyed is None:
                    continue
                executor = keyed
            status[index] = RUNNING
            counts[READY] -= 1
            counts[RUNNING] += 1
            kind.ready -= 1
            kind.running += 1
            started[index] = attempt = started[index] + 1
            ticket = index << ATTEMPT_BITS | attempt
            running[ticket] = executor
            if sub_task.timeout_s is not None:
                self._flow.deadlines.push(now + sub_task.timeout_s, Due.ATTEMPT_TIMEOUT, ticket)
            out.append(Dispatch(ids[index], attempt, executor.executor_id))
        return None

    def _occupy_for_key(self, kind: Kind, key: str, entry: ReadyEntry) -> Executor | None:
        """Take a slot on the key's executor; park the entry there if the executor is full."""
        executor = self._executor_by_key.get((kind.name, key))
        if (
            executor is None
            or executor.is_lost
            or not executor.credit
            or executor.group not in kind.groups
        ):
            group = kind.best_group()
            assert group is not None, "the caller has seen an executor with credit"
            executor = self._executor_by_key[kind.name, key] = group.occupy_best()
            return executor
        if executor.has_credit:
            executor.occupy()
            return executor
        heappush(executor.parked, entry)
        self._flow.pool.note_parked(executor)
        return None
