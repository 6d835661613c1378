"""Giving out work: the most urgent ready sub-task to the least loaded lane, over and over.

Each kind of agent is served from its own ready set, so that a kind without a free lane
holds up no other; between kinds the more urgent head goes first.

Sub-tasks with a key are bound to the lane that got the first of them. If that lane is
full, they are parked on it and come back when it has credit.
"""

import sys
from heapq import heapify, heappop, heappush
from typing import Final

from .attempt_deadlines import Due
from .attempts import ATTEMPT_BITS
from .effects import Dispatch
from .executor_pool import Kind
from .executors import Lane
from .flow import TaskFlow
from .graph import READY, RUNNING
from .ready import ReadyEntry

__all__ = ["Dispatcher"]

UNLIMITED: Final = sys.maxsize
"""Attempts where no budget is set; retries may outnumber the sub-tasks."""


class Dispatcher:
    """Chooses what runs next, and where."""

    __slots__ = ("_concurrency_max", "_flow", "_lane_by_key")

    def __init__(self, flow: TaskFlow, concurrency_max: int | None) -> None:
        self._flow = flow
        self._concurrency_max = concurrency_max
        self._lane_by_key: dict[tuple[str, str], Lane] = {}

    def dispatch(self, now: float) -> list[Dispatch]:
        """Give out as much work as lanes and budgets allow; the most urgent first."""
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
            room = None if maximum is None else maximum - self._flow.ledger.occupied
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
        """Dispatch from one kind until a rival is more urgent; its next head, or None if stuck."""
        graph, ledger, queue = self._flow.graph, self._flow.ledger, kind.queue
        status, started, running = graph.status, ledger.started, ledger.running
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
                lane = group.occupy_best()
            else:
                keyed = self._occupy_for_key(kind, sub_task.key, head)
                if keyed is None:
                    continue
                lane = keyed
            status[index] = RUNNING
            counts[READY] -= 1
            counts[RUNNING] += 1
            kind.ready -= 1
            kind.running += 1
            started[index] = attempt = started[index] + 1
            ticket = index << ATTEMPT_BITS | attempt
            running[ticket] = lane
            if sub_task.timeout_s is not None:
                self._flow.deadlines.push(now + sub_task.timeout_s, Due.ATTEMPT_TIMEOUT, ticket)
            out.append(Dispatch(ids[index], attempt, lane.lane_id))
        return None

    def _occupy_for_key(self, kind: Kind, key: str, entry: ReadyEntry) -> Lane | None:
        """A slot on the lane that the key is bound to; parks the entry there if it is full."""
        lane = self._lane_by_key.get((kind.name, key))
        if lane is None or lane.is_lost or not lane.credit or lane.group not in kind.groups:
            group = kind.best_group()
            assert group is not None, "the caller has seen a lane with credit"
            lane = self._lane_by_key[kind.name, key] = group.occupy_best()
            return lane
        if lane.has_credit:
            lane.occupy()
            return lane
        heappush(lane.parked, entry)
        self._flow.pool.note_parked(lane)
        return None
