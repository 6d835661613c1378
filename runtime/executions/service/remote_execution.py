"""An execution that a detached system runs, for its driver: keeps the news for its handle.

It takes the place that `Execution` has for an execution of this process.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from callboard.actors.executions.record import ExecutionStatistics
from callboard.actors.executions.update_stream import INTERVAL_S, UpdateStream
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import CallboardError, HostLost, error_from_data
from callboard.messages.jobs.commands import CancelExecution, DecideStep
from callboard.messages.jobs.execution import Decision, ExecutionStatus
from callboard.messages.jobs.updates import (
    ExecutionMetrics,
    ExecutionPhase,
    ExecutionState,
    ExecutionUpdate,
    Finished,
    PartialResult,
    PhaseChanged,
    Progressed,
    StateChanged,
    SubTaskPartial,
    TaskTroubled,
)

from ..values import Values
from .messages import CancelTask, ExecutionFollowed, FollowExecution
from .rendering import unpack_snapshot, unpack_update

__all__ = ["AskExecutionService", "RemoteExecution", "driver_left"]

ResultT = TypeVar("ResultT")
ReplyT = TypeVar("ReplyT")
PARTIAL_PAUSE: Final = 20
"""The pause between partial results, in multiples of their cost, like in the same process."""
CANCEL_AGAIN_S: Final = 0.2
PHASES: Final = list(ExecutionPhase)


class AskExecutionService(Protocol):
    """Asks the execution service; waits for one that is being replaced."""

    def __call__(self, request: Request[ReplyT], /) -> Coroutine[Any, Any, ReplyT]:
        """Ask. Raises the service's error, and `HostLost` once the service is gone for good."""


class RemoteExecution(Generic[ResultT]):
    """An execution that this driver follows. `begun_at` is in seconds since 1970."""

    def __init__(
        self,
        execution_id: str,
        job: str,
        loop: asyncio.AbstractEventLoop,
        values: Values,
        ask: AskExecutionService,
        start: Callable[[Coroutine[Any, Any, None]], Any],
        begun_at: float,
    ) -> None:
        self.id: Final = execution_id
        self.outcome: Final[asyncio.Future[ResultT]] = loop.create_future()
        self.taken: Final = asyncio.Event()
        """Set when the execution service has it; an earlier command would not find it."""
        self.problem = ""
        self._ask = ask
        self._start = start
        self._values = values
        self._now: Final[Callable[[], float]] = loop.time
        self._stream: Final = UpdateStream(loop, loop.time, self._newest_progress, self._newest)
        self._readers = 0
        self._incarnation = ""
        self._mark = (0, 0, 0, 0)
        self._steps = 0
        """Status changes that readers have got."""
        self._repeated = 0
        """Status changes that a new incarnation repeats."""
        self._phase = -1
        self._progress: Progressed | None = None
        self._partial: PartialResult | None = None
        self._partial_at_s = 0.0
        self._state = _beginning(execution_id, job, begun_at)
        self._statistics = ExecutionStatistics(
            execution_id, ExecutionStatus.PENDING, ExecutionPhase.VALIDATING, 0.0, 0, None, ()
        )

    # --- following -----------------------------------------------------------------------------

    def question(self, wait_s: float) -> FollowExecution:
        """The next request to the execution service."""
        pause_s = self._partial_at_s - self._now()
        if self._readers and pause_s > 0.0:
            wait_s = min(wait_s, pause_s)
        return FollowExecution(
            execution_id=self.id,
            incarnation=self._incarnation,
            mark=self._mark,
            problem=self.problem,
            wants_partials=self._readers > 0 and pause_s <= 0.0,
            wants_streamed=self._readers > 0,
            wait_s=wait_s,
        )

    def apply(self, answer: ExecutionFollowed) -> None:
        """Apply the news. Raises `ContractError` for a value that cannot be read here."""
        self.problem = answer.problem
        if answer.error is not None:
            raise error_from_data(answer.error)
        if not answer.incarnation:
            return
        if answer.incarnation != self._incarnation:
            self._incarnation, self._repeated = answer.incarnation, self._steps
        self._mark = answer.mark
        self._state, self._statistics = unpack_snapshot(self._values, answer.snapshot)
        if answer.partial_cost_s:
            pause_s = max(INTERVAL_S, answer.partial_cost_s * PARTIAL_PAUSE)
            self._partial_at_s = self._now() + pause_s
        self._take([unpack_update(self._values, update) for update in answer.updates])

    def _take(self, updates: Sequence[ExecutionUpdate]) -> None:
        for update in updates:
            match update:
                case StateChanged():
                    if self._repeated:
                        self._repeated -= 1
                    else:
                        self._steps += 1
                        self._stream.note(update)
                case PhaseChanged():
                    place = PHASES.index(update.phase)
                    if place > self._phase:  # A new incarnation repeats some phases.
                        self._phase = place
                        self._stream.note(update)
                case TaskTroubled():
                    self._stream.note(update)
                case Progressed():
                    self._progress = update
                    self._stream.moved(0, 0)
                case PartialResult():
                    self._partial = update
                    self._stream.moved(update.results, 1)
                case SubTaskPartial():
                    self._stream.streamed(update)
                case Finished():
                    self._finish(update)

    def _finish(self, update: Finished) -> None:
        self._stream.finish(update)
        if self.outcome.done():
            return
        if update.error is None:
            self.outcome.set_result(update.result)
        else:
            self._set_error(error_from_data(update.error))

    def note_problem(self, error: CallboardError) -> None:
        """Note that the execution service does not answer now."""
        self.problem = f"The execution service of its system does not answer: {error.message}"

    def fail(self, error: CallboardError) -> None:
        """End readers and the wait for the result with an error: no more news come here."""
        self.taken.set()
        if not self.outcome.done():
            self._set_error(error)
            elapsed_s = self._statistics.elapsed_s
            status = self._statistics.status
            self._stream.finish(
                Finished(
                    execution_id=self.id, status=status, elapsed_s=elapsed_s, error=error.to_data()
                )
            )

    def _set_error(self, error: CallboardError) -> None:
        self.outcome.set_exception(error)
        self.outcome.exception()  # Seen: a caller may never ask for the result.

    def _newest_progress(self) -> Progressed:
        assert self._progress is not None, "progress arrives before a reader asks for it"
        return self._progress

    def _newest(self) -> PartialResult | None:
        return self._partial

    # --- its handle ------------------------------------------------------------------------------

    async def updates(self) -> AsyncIterator[ExecutionUpdate]:
        """See `ExecutionHandle.updates`."""
        self._readers += 1
        try:
            async for update in self._stream.read():
                yield update
        finally:
            self._readers -= 1

    def cancel(self, by: str = "") -> bool:
        """See `ExecutionHandle.cancel`; the command is under way when this returns."""
        if self.outcome.done():
            return False
        self._start(self._cancel(by))
        return True

    async def _cancel(self, by: str) -> None:
        await self.taken.wait()
        while not self.outcome.done():
            if (await self._ask(CancelExecution(execution_id=self.id, by=by))).is_known:
                return
            await asyncio.sleep(CANCEL_AGAIN_S)  # The execution is starting, or waits.

    async def cancel_task(self, task_id: str) -> bool:
        """See `ExecutionHandle.cancel_task`."""
        await self.taken.wait()
        return (await self._ask(CancelTask(execution_id=self.id, task_id=task_id))).was_open

    async def decide(self, task_id: str, decision: Decision, by: str, reason: str) -> bool:
        """See `ExecutionHandle.decide`."""
        if decision is Decision.ASK:
            return False
        await self.taken.wait()
        command = DecideStep(
            execution_id=self.id,
            step=task_id,
            runs_again=decision is Decision.RUN_AGAIN,
            by=by,
            reason=reason,
        )
        return (await self._ask(command)).is_settled

    def state(self) -> ExecutionState:
        """See `ExecutionHandle.state`."""
        return self._state

    def partials(self, after: int) -> tuple[Sequence[SubTaskPartial], int]:
        """See `ExecutionHandle.partials`."""
        return self._stream.partials_since(after)

    def statistics(self) -> ExecutionStatistics:
        """See `ExecutionHandle.statistics`."""
        return self._statistics


def driver_left(execution_id: str, system: str) -> HostLost:
    """The error of pending waits when this driver leaves."""
    return HostLost(
        f"this driver has left, and execution {execution_id} continues in system {system!r}.",
        advice=f"Attach again: `await system.resume(job, {execution_id!r})`.",
    )


def _beginning(execution_id: str, job: str, begun_at: float) -> ExecutionState:
    return ExecutionState(
        execution_id=execution_id,
        agent_id="",
        job=job,
        status=ExecutionStatus.PENDING,
        current_phase=ExecutionPhase.VALIDATING,
        start_time=dt.datetime.fromtimestamp(begun_at, dt.UTC),
        end_time=None,
        context={},
        intermediate_results=0,
        metrics=ExecutionMetrics(
            sub_tasks=0, done=0, failed=0, attempts=0, retries=0, timeouts=0, host_losses=0,
            running=0, elapsed_s=0.0,
        ),
        dependencies=(),
        transitions=(),
    )  # fmt: skip
