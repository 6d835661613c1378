"""The handle of a submitted request: its result, its updates, and its cancellation."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from callboard.messages.core.errors import DeadlineExceeded
from callboard.messages.core.timeouts import checked_timeout
from callboard.messages.jobs.execution import Decision
from callboard.messages.jobs.updates import ExecutionState, ExecutionUpdate, SubTaskPartial

if TYPE_CHECKING:
    from .record import ExecutionStatistics

__all__ = ["ExecutionBackend", "ExecutionHandle", "execution_of"]

ResultT = TypeVar("ResultT")


class ExecutionBackend(Protocol[ResultT]):
    """An execution behind its handle: a local one, or a remote one that is followed."""

    @property
    def id(self) -> str:
        """The unique id of the execution."""

    @property
    def outcome(self) -> "asyncio.Future[ResultT]":
        """The result, or the error, of the execution."""

    def updates(self) -> AsyncIterator[ExecutionUpdate]:
        """See `ExecutionHandle.updates`."""

    def cancel(self, by: str = "") -> bool:
        """See `ExecutionHandle.cancel`."""

    async def cancel_task(self, task_id: str) -> bool:
        """See `ExecutionHandle.cancel_task`."""

    async def decide(self, task_id: str, decision: Decision, by: str, reason: str) -> bool:
        """See `ExecutionHandle.decide`."""

    def state(self) -> ExecutionState:
        """See `ExecutionHandle.state`."""

    def statistics(self) -> "ExecutionStatistics":
        """See `ExecutionHandle.statistics`."""

    def partials(self, after: int) -> tuple[Sequence[SubTaskPartial], int]:
        """See `ExecutionHandle.partials`."""

    @property
    def problem(self) -> str:
        """The known obstacle to its progress; empty when there is none."""


class ExecutionHandle(Generic[ResultT]):
    """The caller's handle on one execution. Use it on the event loop of its system."""

    __slots__ = ("_execution", "id")

    def __init__(self, execution: ExecutionBackend[ResultT]) -> None:
        self._execution: Final = execution
        self.id: Final = execution.id

    async def result(self, timeout_s: float | None = None) -> ResultT:
        """The result of the job's `transform`, once everything is delivered.

        May be called any number of times. A timeout, or a cancellation of this call, does not
        cancel the execution.

        Raises:
            DeadlineExceeded: there is no result within `timeout_s` seconds, or the execution
                exceeded `Job.timeout_s`.
            Cancelled: the execution was cancelled.
            CallboardError: the execution failed; see `Job`.
        """
        if timeout_s is not None:
            checked_timeout(timeout_s)
        outcome = self._execution.outcome
        done, _ = await asyncio.wait((outcome,), timeout=timeout_s)
        if not done:
            problem = self._execution.problem
            raise DeadlineExceeded(
                f"execution {self.id} has no result within {timeout_s} s.",
                advice=problem or "It goes on: wait again, or cancel it.",
            )
        return outcome.result()

    def updates(self) -> AsyncIterator[ExecutionUpdate]:
        """All updates from the beginning on; `Finished` is the last one.

        Any number of readers may read, each at its own speed. A slow reader gets fewer
        `Progressed` and `PartialResult`, and all other updates.
        """
        return self._execution.updates()

    def partials(self, after: int = 0) -> tuple[Sequence[SubTaskPartial], int]:
        """The newest partial results of sub-tasks after the first `after`, and their count so far.

        It keeps the last `PARTIALS_KEPT`; the first one says how many are missing before it. A
        remote execution has those that came while somebody read its updates.
        """
        return self._execution.partials(after)

    def cancel(self, *, by: str = "") -> bool:
        """Cancel the execution; gives False if it has ended. Then `result` raises `Cancelled`.

        `by` names who cancels it, for the journal.
        The cancellation reaches running handlers and their own asks. It does not undo a
        delivery. A remote execution may have ended although this gives True.
        """
        return self._execution.cancel(by)

    async def cancel_task(self, task_id: str) -> bool:
        """Cancel one sub-task; gives False if it has ended. Sub-tasks that need it are skipped.

        Raises:
            UsageError: there is no such sub-task, the execution has no plan yet, or it has
                ended.
        """
        return await self._execution.cancel_task(task_id)

    def on_end(self, call: Callable[[], None]) -> None:
        """Call a function soon after the end of the execution."""
        self._execution.outcome.add_done_callback(lambda _outcome: call())

    async def decide(
        self, task_id: str, decision: Decision, *, by: str = "driver", reason: str = ""
    ) -> bool:
        """Settle a sub-task that is in doubt; gives False if it is not in doubt.

        The journal has who has decided, and why.

        Raises:
            UsageError: there is no such sub-task, or the execution is not running.
        """
        return await self._execution.decide(task_id, decision, by, reason)

    def state(self) -> ExecutionState:
        """The state now; for a remote execution, the last known one."""
        return self._execution.state()

    def statistics(self) -> "ExecutionStatistics":
        """All figures, down to each executor; for a remote execution, the last known ones."""
        return self._execution.statistics()


def execution_of(handle: ExecutionHandle[ResultT]) -> ExecutionBackend[ResultT]:
    """The execution of a handle, for the runtime only."""
    return handle._execution  # noqa: SLF001 - only this function may do this
