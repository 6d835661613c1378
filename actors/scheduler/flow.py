"""The steps of a sub-task. Each step keeps graph, ready sets, attempts and deadlines consistent.

The core decides about the next step. This module performs it: it changes the state, the counts
and the ready sets, updates the dependants, and adds the effect. It does not know retry policies,
budgets or the end of the execution.
"""

from collections.abc import Callable, Iterable, Mapping

from callboard.messages.core.errors import CallboardError
from callboard.messages.jobs.plan import SubTask

from .attempt_deadlines import AttemptDeadlines, Deadline, Due
from .attempts import ATTEMPT_BITS, ATTEMPT_MASK, Attempts
from .effects import CancelAttempt, Effect, TasksSkipped
from .executor_pool import ExecutorPool
from .graph import (
    BACKING_OFF,
    CANCELLED,
    DONE,
    IN_DOUBT,
    READY,
    RUNNING,
    SKIPPED,
    WAITING,
    TaskGraph,
)
from .ready import ReadyEntry

__all__ = ["TaskFlow"]


class TaskFlow:
    """Graph, executors, attempts, deadlines and effects of one execution."""

    __slots__ = (
        "attempts",
        "cancel_grace_s",
        "deadlines",
        "doubts",
        "effects",
        "graph",
        "kind_of",
        "pool",
        "retry_at",
    )

    def __init__(
        self, limits: Mapping[str, int], kind_of: Callable[[SubTask], str], cancel_grace_s: float
    ) -> None:
        self.graph = TaskGraph()
        self.pool = ExecutorPool(limits)
        self.attempts = Attempts()
        self.deadlines = AttemptDeadlines(self._is_alive)
        self.effects: list[Effect] = []
        self.retry_at: dict[int, float] = {}
        """When each sub-task that backs off is tried again."""
        self.doubts: dict[int, tuple[int, CallboardError]] = {}
        """The attempt and the error of each sub-task in doubt."""
        self.kind_of = kind_of
        self.cancel_grace_s = cancel_grace_s

    def add(self, sub_tasks: tuple[SubTask, ...]) -> None:
        """Add checked sub-tasks; those without an open need become ready in one batch."""
        graph, pool = self.graph, self.pool
        base, doomed, raised = graph.add(sub_tasks)
        known, kind_of = pool.kinds, self.kind_of
        kinds = []
        for sub_task in sub_tasks:
            name = kind_of(sub_task)
            kinds.append(known.get(name) or pool.kind(name))
        self.attempts.grow(kinds)
        # Skip all of them first: an optional one would let another doomed one run.
        for i in doomed:
            graph.move(i, SKIPPED)
            self.effects.append(TasksSkipped((graph.ids[i],), self._absent_need(i)))
        for i in doomed:
            self.end_without_result(i)
        status, unmet, rank = graph.status, graph.unmet, graph.rank
        batches: dict[str, list[ReadyEntry]] = {}
        ready = 0
        for i, sub_task in enumerate(sub_tasks, base):
            if not unmet[i] and status[i] == WAITING:
                status[i] = READY
                ready += 1
                kind = kinds[i - base]
                kind.ready += 1
                batch = batches.get(kind.name)
                if batch is None:
                    batch = batches[kind.name] = []
                batch.append((-sub_task.priority, -rank[i], i))
        graph.count_by_status[WAITING] -= ready
        graph.count_by_status[READY] += ready
        for name, batch in batches.items():
            known[name].queue.push_many(batch)
        for i in raised:
            if status[i] == READY:
                self.attempts.kinds[i].queue.push(self.entry(i))

    def _absent_need(self, index: int) -> str:
        graph = self.graph
        return next(
            need
            for need in graph.sub_tasks[index].needs
            if graph.is_absent(graph.index[need])
            and not graph.sub_tasks[graph.index[need]].optional
        )

    def requeue(self, entries: Iterable[ReadyEntry]) -> None:
        """Put entries back into their ready sets."""
        for entry in entries:
            self.attempts.kinds[entry[2]].queue.push(entry)

    # --- steps of a sub-task -------------------------------------------------------------

    def entry(self, index: int) -> ReadyEntry:
        """The sort key of a sub-task in the ready set."""
        return (-self.graph.sub_tasks[index].priority, -self.graph.rank[index], index)

    def make_ready(self, index: int) -> None:
        """Let a sub-task run as soon as an executor can take it."""
        self.graph.move(index, READY)
        kind = self.attempts.kinds[index]
        kind.ready += 1
        kind.queue.push(self.entry(index))

    def back_off(self, index: int, at: float) -> None:
        """Let a sub-task wait for its next attempt until `at`."""
        self.graph.move(index, BACKING_OFF)
        self.retry_at[index] = at
        self.deadlines.push(at, Due.RETRY, index)

    def end_back_off(self, index: int) -> None:
        """End the wait of a sub-task for its next attempt."""
        del self.retry_at[index]
        self.make_ready(index)

    def release_dependants(self, index: int) -> None:
        """Count one open need less for the dependants of an ended or optional sub-task."""
        unmet, status = self.graph.unmet, self.graph.status
        for dependant in self.graph.dependants.pop(index, ()):
            unmet[dependant] -= 1
            if not unmet[dependant] and status[dependant] == WAITING:
                self.make_ready(dependant)

    def end_without_result(self, index: int) -> None:
        """A sub-task ended without a result: skip its dependants, unless it is optional."""
        graph = self.graph
        if graph.sub_tasks[index].optional:
            self.release_dependants(index)
            return
        skipped: list[str] = []
        pending = [index]
        while pending:
            for dependant in graph.dependants.pop(pending.pop(), ()):
                graph.unmet[dependant] -= 1
                if graph.status[dependant] != WAITING:
                    continue
                graph.move(dependant, SKIPPED)
                skipped.append(graph.ids[dependant])
                if graph.sub_tasks[dependant].optional:
                    self.release_dependants(dependant)
                else:
                    pending.append(dependant)
        if skipped:
            self.effects.append(TasksSkipped(tuple(skipped), graph.ids[index]))

    # --- cancellation and deadlines ------------------------------------------------------

    def cancel(self, index: int, now: float) -> bool:
        """Cancel a sub-task and its attempt, not its dependants; False when it has ended."""
        before = self.graph.status[index]
        if before >= DONE:
            return False
        if before == READY:
            self.attempts.kinds[index].ready -= 1
        elif before == RUNNING:
            ticket = self.attempts.running_ticket(index)
            if ticket is not None:
                self.cancel_ticket(ticket, now)
        elif before == BACKING_OFF:
            del self.retry_at[index]
        elif before == IN_DOUBT:
            del self.doubts[index]
        self.graph.move(index, CANCELLED)
        return True

    def cancel_ticket(self, ticket: int, now: float) -> None:
        """Cancel one attempt; it keeps its slot until it answers or its grace period is over."""
        executor = self.attempts.running.pop(ticket)
        self.attempts.cancelling[ticket] = executor
        self.deadlines.push(now + self.cancel_grace_s, Due.CANCEL_GRACE, ticket)
        task_id = self.graph.ids[ticket >> ATTEMPT_BITS]
        self.effects.append(CancelAttempt(task_id, ticket & ATTEMPT_MASK, executor.executor_id))

    def free_cancelled(self, ticket: int) -> bool:
        """Free the slot of a cancelled attempt; False when the ticket names none."""
        executor = self.attempts.cancelling.pop(ticket, None)
        if executor is None:
            return False
        self.attempts.release(ticket, executor)
        return True

    def _is_alive(self, deadline: Deadline) -> bool:
        at, due, of = deadline
        match due:
            case Due.ATTEMPT_TIMEOUT:
                return of in self.attempts.running
            case Due.RETRY:
                return self.retry_at.get(of) == at
            case Due.CANCEL_GRACE:
                return of in self.attempts.cancelling
