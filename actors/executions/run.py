"""Runs one plan: the shell around the scheduler's core.

Outcomes are only noted. Once per turn of the event loop, the core gets all of them in one batch,
its effects are performed, and new attempts are sent. So hundreds of sub-tasks share the cost of a
turn, and no sub-task has a task or a timer of its own.

A turn takes at most `REPORTS_PER_TURN` outcomes and sends at most `SENT_PER_TURN` attempts. The
rest waits for the next turn, so that other work of the loop comes in between.

Invariants: `calls` holds exactly the attempts that the core counts as running; each gets
one outcome, or its executor is reported as lost; `ended` is set exactly once.

With a recorder, each turn is one append to the journal. The core goes on with results that are
not durable yet, but results are collected, and the run ends, only after they are durable.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, assert_never

from callboard.messages.core.contract import Contract, describe_contract, reply_type
from callboard.messages.core.errors import (
    CallboardError,
    Cancelled,
    HostLost,
    InternalError,
    NoAgentOffers,
)
from callboard.messages.jobs.execution import Decision, ExecutionStatus
from callboard.messages.jobs.plan import SubTask

from ..kernel.interrupts import is_interrupt
from ..scheduler.core import SchedulerCore
from ..scheduler.effects import (
    CancelAttempt,
    DoneReport,
    Effect,
    ExecutionDone,
    TaskDone,
    TaskDoubtful,
    TaskFailed,
    TaskRetried,
    TasksCancelled,
    TasksSkipped,
)
from .call import TaskCall
from .executors import Executor, Executors
from .history.turn import keep_results, record_effect
from .measures import StepMeasures
from .partials import Partial, Partials
from .spans import ExecutionSpans

if TYPE_CHECKING:
    from ..kernel.host.host import Host
    from .collector import Collector
    from .history.recorder import Recorder

__all__ = ["PlanRun"]

REPORTS_PER_TURN: Final = 4_096
"""About 20 ms of work; more outcomes wait for the next turn of the loop."""

SENT_PER_TURN: Final = 1_024
"""About 5 ms of work. Counted, not timed: a loop's clock may stand still within a turn."""

DIRECTORY_CHECK_S: Final = 0.25
"""The time between two checks of the directory while nothing else happens, in seconds."""

DIRECTORY_CHECK_SOON_S: Final = 0.02
"""The same while an agent or a host is missing."""

Expand = Callable[[SubTask, Any], Sequence[SubTask]]


class PlanRun:
    """Runs the plan of one execution."""

    def __init__(
        self,
        *,
        host: "Host",
        core: SchedulerCore,
        executors: Executors,
        collector: "Collector",
        expand: Expand | None,
        deadline_s: float,
        unserved_grace_s: float,
        random: Callable[[], float],
        measures: StepMeasures,
        on_turn: Callable[[], None],
        on_trouble: Callable[[str, int, CallboardError], None],
        on_partial: Callable[[str, int, int, Contract], None],
        step_key: Callable[[str], str],
        in_doubt: Callable[[SubTask, CallboardError], Decision],
        recorder: "Recorder | None" = None,
        grown: frozenset[str] = frozenset(),
        journals_partials: bool = False,
        spans: ExecutionSpans | None = None,
    ) -> None:
        self._host = host
        self.core: Final = core
        self._executors = executors
        self._collector = collector
        self._expand = expand
        self._deadline_s = deadline_s
        self._unserved_grace_s = unserved_grace_s
        self._random = random
        self._measures = measures
        self._on_turn = on_turn
        self._on_trouble = on_trouble
        self._recorder = recorder
        self._grown = grown
        """Sub-tasks that run again, although their earlier results have extended the plan."""
        self._in_doubt = in_doubt
        self._spans = spans
        self._new_call = TaskCall if spans is None else spans.attempt
        self._partials: Final = Partials(
            host, collector, on_partial, recorder if journals_partials else None
        )
        self._non_idempotent: list[TaskCall] = []
        """Attempts that are sent once their start is durable."""
        self.step_key: Final = step_key
        self._held: list[TaskDone] = []
        """Results of this turn, collected once they are durable."""
        self._uncommitted = 0
        """Turns whose append is under way."""
        self._how: ExecutionDone | None = None
        """The end of the run; `ended` has it once everything is durable."""
        self.ended: Final[asyncio.Future[ExecutionDone]] = host.loop.create_future()
        # Calls write into these; `_turn` reads them.
        self.asks: Final[dict[int, Any]] = host.pending
        self.calls: Final[dict[str, TaskCall]] = {}
        self.reports: list[DoneReport] = []
        self.finished: list[TaskCall] = []
        self.touched: list[Executor] = []
        self.is_woken = False
        self._failed: list[tuple[TaskCall, CallboardError]] = []
        self._lost: list[Executor] = []
        self._to_send: deque[TaskCall] = deque()
        self._sends_later = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0

    # --- calls from outside --------------------------------------------------------------

    def start(self) -> None:
        """Begin the run; `ended` has its end."""
        # A resumed execution may have ended before.
        self._how = self.core.ended
        if self._how is None:
            self._turn()
        else:
            self._end_when_durable()

    def cancel(self) -> bool:
        """Cancel the run; gives False if it has ended."""
        if not self.core.cancel_all(self._host.now()):
            return False
        self._turn()
        return True

    def cancel_task(self, task_id: str) -> bool:
        """Cancel one sub-task; gives False if it has ended. Raises `KeyError`."""
        cancelled = self.core.cancel(task_id, self._host.now())
        self.wake()
        return cancelled

    def decide(self, task_id: str, decision: Decision, by: str, reason: str = "") -> bool:
        """Settle a sub-task that is in doubt; gives False if it is not. Raises `KeyError`."""
        is_settled = self.core.decide(task_id, decision, self._host.now())
        if is_settled and self._recorder is not None:
            self._recorder.decided(self.core.numbers[task_id], decision, by, reason)
        self.wake()
        return is_settled

    def wake(self) -> None:
        """Schedule a turn for the outcomes that were noted."""
        if not self.is_woken:
            self.is_woken = True
            self._host.loop.call_soon(self._turn_on_wake)

    def attempt_failed(self, call: TaskCall, error: CallboardError) -> None:
        """Note that an attempt has failed, alone or together with its executor."""
        executor = call.executor
        if executor.is_lost:
            return
        if isinstance(error, HostLost) and self._has_lost_its_host(executor):
            self._executors.lost(executor)
            self._lost.append(executor)
        else:
            self._failed.append((call, error))
        self.wake()

    def take_partial(self, call: TaskCall, number: int, message: Contract) -> None:
        """Take a partial result of an attempt, for the next turn."""
        self._partials.add(Partial(call, number, message))
        self.wake()

    def recast(self, message: Contract, cls: type[Contract]) -> Contract:
        """The message as another class of the same contract. Raises a `ContractError`."""
        body, buffers = self._host.codec.encode(message)
        return self._host.codec.decode(body, describe_contract(cls).build, buffers)

    def _has_lost_its_host(self, executor: Executor) -> bool:
        # A handler whose own ask met a dead host fails with `HostLost`, too.
        slot = executor.address.slot
        return slot != self._host.slot and self._host.link(slot).carrier is None

    # --- a turn --------------------------------------------------------------------------

    def _turn_on_wake(self) -> None:
        self.is_woken = False
        self._turn()

    def _turn_on_timer(self) -> None:
        self._timer = None
        self._turn()

    def _turn(self) -> None:
        """Give the core all outcomes, and perform its decisions."""
        if self._is_over:
            return
        try:
            self._turn_unless_broken()
            self._commit()
        except BaseException as error:
            if is_interrupt(error):
                raise
            self.break_off(error)

    @property
    def _is_over(self) -> bool:
        return self._how is not None or self.ended.done()

    def _turn_unless_broken(self) -> None:
        core, now = self.core, self._host.now()
        if self.finished:
            finished, self.finished = self.finished, []
            self._measures.done(finished, now)
        are_taken = self._partials.take(core.numbers.__getitem__)
        if are_taken:  # An outcome comes after the partial results before it.
            self._report(now)
        due = core.next_deadline()
        if due is not None and due <= now:
            core.advance(now, self._random())
        self._perform(now)
        if self._is_over:
            return
        if self.touched:
            touched, self.touched = self.touched, []
            for executor in touched:
                self._executors.set_concurrency(core, executor, now)
        self._executors.refresh(core)
        if self._recorder is None or self._recorder.has_room:
            self._start_attempts(now)
        is_short = self._fail_unservable(now)
        self._on_turn()
        if not self._is_over:
            self._arm(now, is_short=is_short)
        if self.reports or not are_taken:
            self.wake()

    def _report(self, now: float) -> None:
        core = self.core
        # Losing an executor loses its outcomes that the core does not have yet: report them all.
        if len(self.reports) <= REPORTS_PER_TURN or self._lost:
            reports, self.reports = self.reports, []
        else:
            reports = self.reports[:REPORTS_PER_TURN]
            del self.reports[:REPORTS_PER_TURN]
        if reports and self._recorder is not None:
            reports, refused = keep_results(self._recorder, reports, self._report_again)
            for task_id, attempt, error in refused:
                core.task_failed(task_id, attempt, error, now, self._random())
        if reports:
            core.tasks_done(reports, now)
        if self._failed:
            failed, self._failed = self._failed, []
            for call, error in failed:
                if not call.executor.is_lost:
                    core.task_failed(call.sub_task.id, call.attempt, error, now, self._random())
        if self._lost:
            lost, self._lost = self._lost, []
            for executor in lost:
                self._drop_calls(executor)
                core.executor_lost(executor.id, now)

    def _report_again(self, report: DoneReport) -> None:
        self.reports.append(report)
        self.wake()

    def _drop_calls(self, executor: Executor) -> None:
        """Drop attempts that still wait for a lost executor: they run elsewhere."""
        for task_id, call in list(self.calls.items()):
            if call.executor is executor:
                call.drop()
                del self.calls[task_id]
                self.asks.pop(call.correlation, None)

    def _perform(self, now: float) -> None:
        """Perform all decisions of the core, and those that follow from them."""
        while effects := self.core.take_effects():
            done = [effect for effect in effects if type(effect) is TaskDone]
            if done:
                self._take(done, now)
                if self._expand is not None:
                    self._grow(done)
            for effect in effects:
                if self._spans is not None:
                    self._spans.note(effect)
                if type(effect) is not TaskDone:
                    self._do(effect, now)
        if self._expand is not None and not self.reports and not self._is_over:
            progress = self.core.progress()
            if progress.ended == progress.total:
                # No result is left that could extend the plan.
                self.core.close()
                self._perform(now)

    def _do(self, effect: Effect, now: float) -> None:
        if self._recorder is not None:
            record_effect(self._recorder, effect, self.core.numbers, now)
        match effect:
            case CancelAttempt(task_id, attempt, _):
                self._stop_attempt(task_id, attempt)
            case TaskFailed(task_id, error, _):
                self._collector.forget((task_id,))
                self._measures.not_done("failed", self.core.sub_task(task_id))
                self._on_trouble(task_id, 0, error)
            case TaskRetried(task_id, attempt, error, _):
                self._collector.forget((task_id,))
                self._measures.not_done("retried", self.core.sub_task(task_id))
                self._on_trouble(task_id, attempt, error)
            case TaskDoubtful():
                self._doubt(effect)
            case TasksCancelled(task_ids):
                self._collector.forget(task_ids)
            case TasksSkipped() | TaskDone():
                pass  # `progress` counts them
            case ExecutionDone():
                self._end(effect)
            case unknown:
                assert_never(unknown)

    def _take(self, done: list[TaskDone], now: float) -> None:
        recorder = self._recorder
        if recorder is None:
            self._collector.take(done, self.core)
            return
        numbers = self.core.numbers
        for task_id, attempt, _ in done:
            recorder.done(numbers[task_id], task_id, attempt, now)
        self._held += done

    def _commit(self) -> None:
        """Append the events of this turn to the journal."""
        if self._recorder is not None:
            held, self._held = self._held, []
            non_idempotent, self._non_idempotent = self._non_idempotent, []
            partials = self._partials.held()
            if self._recorder.flush(lambda: self._on_commit(held, non_idempotent, partials)):
                self._uncommitted += 1
        self._end_when_durable()

    def _on_commit(
        self, held: list[TaskDone], non_idempotent: list[TaskCall], partials: list[Partial]
    ) -> None:
        """After a turn is durable, collect its results and send its non-idempotent attempts."""
        self._uncommitted -= 1
        if self.ended.done():
            return
        try:
            self._partials.publish(partials)
            if held:
                self._collector.take(held, self.core)
        except BaseException as error:
            if is_interrupt(error):
                raise
            self.break_off(error)
            return
        self._end_when_durable()
        if non_idempotent and not self._is_over:
            self._to_send.extend(non_idempotent)
            self._send()
        if not self.ended.done():
            self._on_turn()
            self.wake()  # The journal may have room again.

    def _doubt(self, effect: TaskDoubtful) -> None:
        task_id, attempt, error = effect
        self._measures.not_done("doubtful", self.core.sub_task(task_id))
        self._on_trouble(task_id, attempt, error)
        decision = self._in_doubt(self.core.sub_task(task_id), error)
        self.decide(task_id, decision, "policy")

    def _grow(self, done: Sequence[TaskDone]) -> None:
        assert self._expand is not None
        for task_id, _, result in done:
            if self.core.status is not ExecutionStatus.RUNNING:
                return  # The execution has failed meanwhile.
            more = self._expand(self.core.sub_task(task_id), result)
            if more and task_id not in self._grown:
                self.core.extend(more)
                self._collector.admit(more, task_id)
                if self._recorder is not None:
                    numbers = self.core.numbers
                    self._recorder.grown(numbers[task_id], more, numbers)

    def _stop_attempt(self, task_id: str, attempt: int) -> None:
        call = self.calls.get(task_id)
        if call is None or call.attempt != attempt:
            return
        del self.calls[task_id]
        call.is_cancelled = True
        self._host.stop_call(
            call,
            Cancelled(
                f"attempt {attempt} of sub-task {task_id!r} was cancelled.", may_have_run=True
            ),
        )

    def _end(self, how: ExecutionDone) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._to_send.clear()
        self._how = how

    def _end_when_durable(self) -> None:
        if self._how is not None and not self._uncommitted and not self.ended.done():
            self.ended.set_result(self._how)

    def break_off(self, error: BaseException) -> None:
        """Stop all attempts, and end the run with an error."""
        if self.ended.done():
            return
        if isinstance(error, StopIteration):  # A future cannot hold one.
            stopped = RuntimeError("a part of the job raised StopIteration")
            stopped.__cause__ = error
            error = stopped
        self.ended.set_exception(error)
        self.core.cancel_all(self._host.now())
        for effect in self.core.take_effects():
            if type(effect) is CancelAttempt:
                self._stop_attempt(effect.task_id, effect.attempt)
        if self._timer is not None:
            self._timer.cancel()
        self._to_send.clear()

    # --- sending -------------------------------------------------------------------------

    def _start_attempts(self, now: float) -> None:
        core, executors, calls, to_send = self.core, self._executors.open, self.calls, self._to_send
        sub_task_of, recorder = core.sub_task, self._recorder
        for task_id, attempt, executor_id in core.dispatch(now):
            executor = executors[executor_id]
            call = self._new_call(self, executor, sub_task_of(task_id), attempt, now)
            if call.under_way == 1:
                executor.concurrency.sent(now, executor.delivered)
            calls[task_id] = call
            if recorder is None:
                to_send.append(call)
                continue
            recorder.began(task_id, attempt, executor_id, now)
            if call.sub_task.non_idempotent:
                recorder.began_non_idempotent(core.numbers[task_id], attempt)
                self._non_idempotent.append(call)
            else:
                to_send.append(call)
        if to_send and not self._sends_later:
            self._send()

    def _send_later(self) -> None:
        self._sends_later = False
        self._send()

    def _send(self) -> None:
        host, queue, deadline_s = self._host, self._to_send, self._deadline_s
        call_host = host.call
        for _ in range(min(len(queue), SENT_PER_TURN)):
            call = queue.popleft()
            if call.is_over:
                continue
            sub_task = call.sub_task
            at_s = deadline_s
            if sub_task.timeout_s is not None:
                at_s = min(at_s, call.sent_s + sub_task.timeout_s)
            try:
                request = self._bound(sub_task) if sub_task.bind else sub_task.request
                call.expects = reply_type(type(request))
                call_host(call.executor.address, request, at_s, call)
            except CallboardError as error:
                call.fail(call.correlation, error)
            except Exception as error:  # noqa: BLE001 - a user's type may fail to encode
                call.fail(
                    call.correlation,
                    InternalError(f"sub-task {sub_task.id!r} cannot be sent: {error!r}."),
                )
        if queue:
            self._sends_later = True
            host.loop.call_soon(self._send_later)

    def _bound(self, sub_task: SubTask) -> Any:
        """The request with its bound results. Raises `InvalidMessage`."""
        request, bound = sub_task.request, self.core.bindings_of(sub_task.id)
        made = describe_contract(type(request)).construct({**request.__dict__, **bound})
        # Validators have run for the other fields when the request was made.
        return request.model_copy(update={name: getattr(made, name) for name in bound})

    # --- missing agents ------------------------------------------------------------------

    def _fail_unservable(self, now: float) -> bool:
        """Fail kinds that had no offer for too long; gives whether any kind has no agent."""
        unserved = self.core.unserved()
        for kind in unserved:
            if self._executors.is_offered(kind.kind) or now - kind.since < self._unserved_grace_s:
                continue
            offered = ", ".join(self._executors.offered_kinds()) or "nothing"
            error = NoAgentOffers(
                f"no agent has offered {kind.kind} for {self._unserved_grace_s:g} s, and "
                f"{kind.ready} sub-tasks need it; agents offer these kinds of the plan: {offered}.",
                advice="Start a pool of agents that handle it.",
                may_have_run=False,
                kind=kind.kind,
            )
            self.core.fail_unservable(kind.kind, error, now)
        if unserved:
            self._perform(now)
        return bool(unserved)

    def _arm(self, now: float, *, is_short: bool) -> None:
        """Set the timer to the next deadline, or to the next check of the directory."""
        at_s = now + (
            DIRECTORY_CHECK_SOON_S
            if is_short or self._executors.some_are_down
            else DIRECTORY_CHECK_S
        )
        due_s = self.core.next_deadline()
        if due_s is not None and due_s < at_s:
            at_s = due_s
        if self._timer is not None:
            if self._timer_at_s <= at_s:
                return
            self._timer.cancel()
        self._timer_at_s = at_s
        self._timer = self._host.loop.call_at(at_s, self._turn_on_timer)
