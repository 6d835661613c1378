"""The scheduler's core: every decision about one execution, as a pure state machine.

Events come in as method calls with `now` (and a random number to draw a wait), effects go out
through `take_effects`, attempts through `dispatch`. There is no clock, no Ray and no loop here:
the shell (`PlanRun` in `actors/executions/run.py`) reports events and performs the effects.

There are no stages and no barrier. A sub-task is ready as soon as the last of its needs has
ended. The most urgent ready sub-task goes to the least loaded executor that offers its kind and
has credit.

Invariants, checked by `validate_state`:

- a sub-task ends exactly once; later reports about it are counted and change nothing;
- no attempt starts before every need has ended with a result, or is optional and absent;
- no executor holds more than its credit, no kind and no execution more than its budget; a
  cancelled attempt counts until it answers or its grace period is over;
- `ExecutionDone` is the last effect, comes once, and comes when every sub-task has ended.

A result is an opaque handle here; the shell keeps the value.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from callboard.messages.core.errors import (
    CallboardError,
    DeadlineExceeded,
    HostLost,
    InternalError,
    PlanError,
)
from callboard.messages.jobs.execution import Decision, ExecutionStatus, OnFailure
from callboard.messages.jobs.plan import Plan, SubTask, check_sub_tasks
from callboard.messages.jobs.retry import Retryability, retryability_of

from . import invariants
from .assignment import Assignment
from .attempt_deadlines import Due
from .attempts import ATTEMPT_BITS, ATTEMPT_MASK
from .effects import (
    Dispatch,
    DoneReport,
    Effect,
    ExecutionDone,
    TaskDone,
    TaskDoubtful,
    TaskFailed,
    TaskRetried,
    TasksCancelled,
)
from .flow import TaskFlow
from .graph import DONE, FAILED, IN_DOUBT, READY, RUNNING
from .retry import GiveUp, RetryAfter, decide_retry
from .views import SchedulerViews

__all__ = ["CANCEL_GRACE_S", "SchedulerCore", "kind_by_request"]

CANCEL_GRACE_S: Final = 5.0
"""How long a cancelled attempt keeps its slot while it does not answer."""

GOLDEN: Final = 0.6180339887498949
"""Derives several well-spread back-offs from one random number."""


def kind_by_request(sub_task: SubTask) -> str:
    """The agent that the sub-task names, or else the name of its request's class."""
    return sub_task.agent or type(sub_task.request).__qualname__


class SchedulerCore(SchedulerViews):
    """Runs one plan.

    `open_ended` keeps the execution alive when everything known has ended, until `close`;
    without it, a plan can still grow, but only before its last sub-task ends.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        concurrency_max: int | None = None,
        concurrency_max_by_kind: Mapping[str, int] | None = None,
        on_failure: OnFailure = OnFailure.FAIL_FAST,
        kind_of: Callable[[SubTask], str] = kind_by_request,
        cancel_grace_s: float = CANCEL_GRACE_S,
        open_ended: bool = False,
    ) -> None:
        limits = concurrency_max_by_kind or {}
        assert concurrency_max is None or concurrency_max >= 1, "a budget of 0 never ends"
        assert all(limit >= 1 for limit in limits.values()), "a budget of 0 never ends"
        self._flow = TaskFlow(limits, kind_of, cancel_grace_s)
        self._graph, self._pool, self._attempts = (
            self._flow.graph,
            self._flow.pool,
            self._flow.attempts,
        )
        self._assignment = Assignment(self._flow, concurrency_max)
        self._on_failure = on_failure
        self._open_ended = open_ended
        self._status = ExecutionStatus.RUNNING
        self._first_failure: tuple[str, CallboardError] | None = None
        self._attempts_started = 0
        self._retries = 0
        self._timeouts = 0
        self._host_losses = 0
        self._stale_reports = 0
        self._cancels_unanswered = 0
        self._flow.add(plan.sub_tasks)
        self._end_if_over()

    # --- queries of the shell -----------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        """The effects since the last call, in order; the shell must perform all of them."""
        effects, self._flow.effects = self._flow.effects, []
        return effects

    def next_deadline(self) -> float | None:
        """The latest time for the next call of `advance`; every event may change it."""
        return self._flow.deadlines.next_at()

    def validate_state(self) -> None:
        """Check every invariant, in O(sub-tasks); an `AssertionError` is a defect of Callboard."""
        invariants.check_graph(self._graph)
        invariants.check_attempts(self._graph, self._attempts, self._pool)
        invariants.check_ready(self._graph, self._attempts, self._pool)
        invariants.check_pauses(self._graph, self._flow.retry_at, self._flow.doubts)
        assert (self._status is ExecutionStatus.RUNNING) or self.progress().fraction == 1.0

    # --- growth -------------------------------------------------------------------------

    def extend(self, sub_tasks: Iterable[SubTask]) -> None:
        """Add sub-tasks while the execution runs; they may need any known sub-task.

        Raises:
            PlanError: the addition is not valid (nothing was added), or the execution ended.
        """
        if self._status is not ExecutionStatus.RUNNING:
            raise PlanError(
                f"The execution has ended ({self._status}); its plan cannot grow any more.",
                advice="Make the plan open-ended and close it after the last addition.",
            )
        added = tuple(sub_tasks)
        check_sub_tasks(added, known=self._graph.index, known_count=len(self._graph))
        self._flow.add(added)
        self._end_if_over()

    def close(self) -> None:
        """Declare an open-ended plan complete."""
        self._open_ended = False
        self._end_if_over()

    # --- replay of the journal -----------------------------------------------------------

    def restore_done(self, reports: Iterable[tuple[int, int, Any]]) -> None:
        """These sub-tasks (by number) were done before a restart, by these attempts."""
        graph, attempts, effects = self._graph, self._attempts, self._flow.effects
        status, ids, dependants = graph.status, graph.ids, graph.dependants
        kinds, results = attempts.kinds, attempts.results
        for index, attempt, result in reports:
            before = status[index]
            if before >= DONE:
                continue
            if before == READY:
                kinds[index].ready -= 1  # Its entry in the ready set is now stale.
            graph.move(index, DONE)
            results[index] = result
            effects.append(TaskDone(ids[index], attempt, result))
            if index in dependants:
                self._flow.release_dependants(index)
        self._end_if_over()

    def restore_failed_attempt(self, index: int, attempt: int, *, is_loss: bool) -> None:
        """An attempt failed before a restart; it counts for the retry policy."""
        attempts = self._attempts
        counts = attempts.host_losses if is_loss else attempts.failures
        counts[index] = counts.get(index, 0) + 1
        attempts.started[index] = max(attempts.started[index], attempt)

    def restore_failure(self, index: int, error: CallboardError, now: float) -> None:
        """The sub-task failed for good before a restart."""
        before = self._graph.status[index]
        if before >= DONE:
            return
        if before == READY:
            self._attempts.kinds[index].ready -= 1
        self._fail(index, error, now)
        self._end_if_over()

    def restore_doubt(self, index: int, attempt: int, error: CallboardError) -> None:
        """A non-idempotent attempt began before a restart; its outcome is unknown."""
        before = self._graph.status[index]
        if before >= IN_DOUBT:
            return
        if before == READY:
            self._attempts.kinds[index].ready -= 1
        self._attempts.started[index] = max(self._attempts.started[index], attempt)
        self._mark_in_doubt(index, attempt, error)

    @property
    def ended(self) -> ExecutionDone | None:
        """The outcome of the execution; None while it runs."""
        if self._status is ExecutionStatus.RUNNING:
            return None
        return ExecutionDone(self._status, *(self._first_failure or (None, None)))

    @property
    def numbers(self) -> Mapping[str, int]:
        """The number of each sub-task, in the order in which they were added."""
        return self._graph.index

    # --- executors --------------------------------------------------------------------------

    def executor_available(
        self, executor_id: str, credit: int, offers: frozenset[str] | None = None
    ) -> None:
        """An executor is available, or its credit (the most attempts at once) has changed.

        The first call for an executor must name its `offers`. A credit of 0 drains it: its
        attempts continue, and keyed sub-tasks move to other executors.
        """
        assert credit >= 0, f"executor {executor_id} has the negative credit {credit}"
        assert offers is not None or executor_id in self._pool.executors, (
            f"the first call for {executor_id} must name its offers"
        )
        self._flow.requeue(self._pool.set_executor(executor_id, credit, offers))

    def executor_lost(self, executor_id: str, now: float) -> None:
        """An executor died; its sub-tasks run elsewhere, up to `host_losses_max` times each."""
        removed = self._pool.remove_executor(executor_id)
        if removed is None:
            return
        executor, parked = removed
        self._flow.requeue(parked)
        # Release all slots first: a failure below may end the execution and cancel the rest.
        for ticket in self._attempts.drop_executor(executor):
            index = ticket >> ATTEMPT_BITS
            if self._graph.status[index] != RUNNING:
                continue  # An earlier failure in this loop has ended the execution.
            task_id = self._graph.ids[index]
            error = HostLost(
                f"{executor_id} was lost while it ran {task_id!r}.",
                executor=executor_id,
                task_id=task_id,
                may_have_run=True,
            )
            self._attempt_failed(index, ticket & ATTEMPT_MASK, error, now, random=None)
        self._end_if_over()

    # --- dispatch -----------------------------------------------------------------------

    def dispatch(self, now: float) -> list[Dispatch]:
        """Assign as many sub-tasks as executors and budgets allow, the most urgent first."""
        out = self._assignment.dispatch(now)
        self._attempts_started += len(out)
        return out

    # --- reports ------------------------------------------------------------------------

    def tasks_done(self, reports: Iterable[DoneReport], now: float) -> None:
        """Attempts succeeded; ignore the results of attempts that no longer run."""
        graph, attempts, effects = self._graph, self._attempts, self._flow.effects
        index_of, dependants, status = graph.index, graph.dependants, graph.status
        running, kinds = attempts.running, attempts.kinds
        counts, results = graph.count_by_status, attempts.results
        for task_id, attempt, result in reports:
            assert 0 < attempt <= ATTEMPT_MASK, f"no attempt has the number {attempt}"
            index = index_of.get(task_id, -1)
            ticket = index << ATTEMPT_BITS | attempt
            executor = running.pop(ticket, None)
            if executor is None:
                self._stale_reports += 1
                self._flow.free_cancelled(ticket)
                continue
            executor.release()
            kinds[index].running -= 1
            status[index] = DONE
            counts[RUNNING] -= 1
            counts[DONE] += 1
            results[index] = result
            effects.append(TaskDone(task_id, attempt, result))
            if index in dependants:
                self._flow.release_dependants(index)
        self._end_if_over()

    def task_failed(
        self, task_id: str, attempt: int, error: CallboardError, now: float, random: float
    ) -> None:
        """An attempt failed, or answered its cancellation; `random` in [0, 1) draws the wait.

        When a host dies, report `executor_lost` instead of each attempt: otherwise the core may
        choose the same executor again.
        """
        assert 0 < attempt <= ATTEMPT_MASK, f"no attempt has the number {attempt}"
        index = self._graph.index.get(task_id, -1)
        ticket = index << ATTEMPT_BITS | attempt
        executor = self._attempts.running.pop(ticket, None)
        if executor is None:
            if not self._flow.free_cancelled(ticket):
                self._stale_reports += 1
            return
        self._attempts.release(ticket, executor)
        self._attempt_failed(index, attempt, error, now, random)
        self._end_if_over()

    def advance(self, now: float, random: float) -> None:
        """Process due deadlines: time out attempts, end back-offs, free slots of silent cancels."""
        drawn = random
        while (deadline := self._flow.deadlines.pop_due(now)) is not None:
            _, due, of = deadline
            match due:
                case Due.ATTEMPT_TIMEOUT:
                    drawn = (drawn + GOLDEN) % 1.0
                    self._time_out(of, now, drawn)
                case Due.RETRY:
                    self._flow.end_back_off(of)
                case Due.CANCEL_GRACE:
                    self._cancels_unanswered += 1
                    self._flow.free_cancelled(of)
        self._end_if_over()

    def _time_out(self, ticket: int, now: float, random: float) -> None:
        index, attempt = ticket >> ATTEMPT_BITS, ticket & ATTEMPT_MASK
        timeout_s = self._graph.sub_tasks[index].timeout_s
        self._timeouts += 1
        self._flow.cancel_ticket(ticket, now)
        error = DeadlineExceeded(
            f"Attempt {attempt} of {self._graph.ids[index]!r} took more than {timeout_s} s.",
            task_id=self._graph.ids[index],
            attempt=attempt,
        )
        self._attempt_failed(index, attempt, error, now, random)

    # --- failure ------------------------------------------------------------------------

    def _attempt_failed(
        self, index: int, attempt: int, error: CallboardError, now: float, random: float | None
    ) -> None:
        """Retry the sub-task or fail it. Without `random` the executor is lost: retry at once."""
        attempts, sub_task = self._attempts, self._graph.sub_tasks[index]
        if retryability_of(error) is Retryability.HOST_LOSS:
            self._host_losses += 1
            attempts.host_losses[index] = attempts.host_losses.get(index, 0) + 1
        else:
            attempts.failures[index] = attempts.failures.get(index, 0) + 1
        if sub_task.non_idempotent and error.details.get("may_have_run", True) is not False:
            self._mark_in_doubt(index, attempt, error)
            return
        decision = decide_retry(
            sub_task.retry,
            error,
            failures=attempts.failures.get(index, 0),
            host_losses=attempts.host_losses.get(index, 0),
            random=random,
        )
        match decision:
            case GiveUp():
                self._fail(index, error, now)
            case RetryAfter(delay_s):
                self._retries += 1
                at = now + delay_s
                self._flow.effects.append(TaskRetried(sub_task.id, attempt, error, at))
                if delay_s <= 0:
                    self._flow.make_ready(index)
                    return
                self._flow.back_off(index, at)

    def _fail(self, index: int, error: CallboardError, now: float) -> None:
        sub_task = self._graph.sub_tasks[index]
        self._graph.move(index, FAILED)
        self._attempts.errors[index] = error
        self._flow.effects.append(TaskFailed(sub_task.id, error, sub_task.optional))
        if not sub_task.optional and self._first_failure is None:
            self._first_failure = (sub_task.id, error)
            if self._on_failure is OnFailure.FAIL_FAST:
                self._end_all(ExecutionStatus.FAILED, now)
                return
        self._flow.end_without_result(index)

    def _mark_in_doubt(self, index: int, attempt: int, error: CallboardError) -> None:
        self._graph.move(index, IN_DOUBT)
        self._flow.doubts[index] = (attempt, error)
        self._flow.effects.append(TaskDoubtful(self._graph.ids[index], attempt, error))

    def decide(self, task_id: str, decision: Decision, now: float) -> bool:
        """Settle a sub-task that is in doubt; False when it is not, or when nothing is settled.

        Raises:
            KeyError: there is no such sub-task.
        """
        index = self._graph.index[task_id]
        if self._graph.status[index] != IN_DOUBT or decision is Decision.ASK:
            return False
        _, error = self._flow.doubts.pop(index)
        if decision is Decision.RUN_AGAIN:
            self._flow.make_ready(index)
        else:
            self._fail(index, error, now)
            self._end_if_over()
        return True

    def fail_unservable(self, kind_name: str, error: CallboardError, now: float) -> int:
        """Fail the ready sub-tasks of a kind that no executor offers; returns their number.

        Does nothing if an executor offers the kind by now. It leaves waiting sub-tasks alone: an
        agent may come before their needs end.
        """
        kind = self._pool.kinds.get(kind_name)
        if kind is None or kind.is_served:
            return 0
        failed = 0
        for index, its_kind in enumerate(self._attempts.kinds):
            if its_kind is kind and self._graph.status[index] == READY:
                kind.ready -= 1
                failed += 1
                self._fail(index, error, now)
        self._end_if_over()
        return failed

    # --- cancellation -------------------------------------------------------------------

    def cancel(self, task_id: str, now: float) -> bool:
        """Cancel one sub-task; False when it has already ended.

        Unless it is optional, the sub-tasks that need it are skipped. A cancellation on request
        does not fail the execution.

        Raises:
            KeyError: there is no such sub-task.
        """
        index = self._graph.index[task_id]
        if not self._flow.cancel(index, now):
            return False
        self._flow.effects.append(TasksCancelled((task_id,)))
        self._flow.end_without_result(index)
        self._end_if_over()
        return True

    def cancel_all(self, now: float) -> bool:
        """Cancel the execution; False when it has already ended."""
        if self._status is not ExecutionStatus.RUNNING:
            return False
        self._end_all(ExecutionStatus.CANCELLED, now)
        return True

    # --- the end --------------------------------------------------------------------------

    def _end_all(self, status: ExecutionStatus, now: float) -> None:
        """Cancel all sub-tasks that have not ended, and end the execution."""
        graph = self._graph
        cancelled = tuple(
            graph.ids[index] for index in range(len(graph)) if self._flow.cancel(index, now)
        )
        if cancelled:
            self._flow.effects.append(TasksCancelled(cancelled))
        graph.dependants.clear()
        self._pool.forget_work()
        self._end(status)

    def _end_if_over(self) -> None:
        if self._status is not ExecutionStatus.RUNNING or self._open_ended:
            return
        if sum(self._graph.count_by_status[DONE:]) == len(self._graph):
            self._end(ExecutionStatus.FAILED if self._first_failure else ExecutionStatus.COMPLETED)

    def _end(self, status: ExecutionStatus) -> None:
        if self._status is not ExecutionStatus.RUNNING:
            raise InternalError(f"An execution that ended as {self._status} cannot end again.")
        self._status = status
        failed_task, error = self._first_failure or (None, None)
        self._flow.effects.append(ExecutionDone(status, failed_task, error))
