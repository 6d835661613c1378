"""What the caller of a submitted request holds: its result, its updates, its end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from callboard.messages.core.errors import DeadlineExceeded
from callboard.messages.jobs.execution import Decision
from callboard.messages.jobs.updates import ExecutionState, ExecutionUpdate

if TYPE_CHECKING:
    from .record import ExecutionStatistics

__all__ = ["ExecutionBackend", "ExecutionHandle", "execution_of"]

ResultT = TypeVar("ResultT")


class ExecutionBackend(Protocol[ResultT]):
    """An execution as its handle sees it: it runs here, or elsewhere and is followed."""

    @property
    def id(self) -> str:
        """What no other execution is called."""

    @property
    def outcome(self) -> "asyncio.Future[ResultT]":
        """Its result, or what it failed with."""

    def updates(self) -> AsyncIterator[ExecutionUpdate]:
        """See `ExecutionHandle.updates`."""

    def cancel(self) -> bool:
        """See `ExecutionHandle.cancel`."""

    async def cancel_task(self, task_id: str) -> bool:
        """See `ExecutionHandle.cancel_task`."""

    async def decide(self, task_id: str, decision: Decision, by: str) -> bool:
        """See `ExecutionHandle.decide`."""

    def state(self) -> ExecutionState:
        """See `ExecutionHandle.state`."""

    def statistics(self) -> "ExecutionStatistics":
        """See `ExecutionHandle.statistics`."""

    @property
    def problem(self) -> str:
        """What keeps it from going on; empty when nothing is known to."""


class ExecutionHandle(Generic[ResultT]):
    """One execution, for its caller. Use it on the event loop of its system."""

    __slots__ = ("_execution", "id")

    def __init__(self, execution: ExecutionBackend[ResultT]) -> None:
        self._execution: Final = execution
        self.id: Final = execution.id

    async def result(self, timeout_s: float | None = None) -> ResultT:
        """What the job's `transform` gave, when everything has been delivered.

        May be called any number of times. Giving up, or being cancelled here, does not
        cancel the execution.

        Raises:
            DeadlineExceeded: it is not there within `timeout_s`, or the execution's own
                time (`Job.timeout_s`) was over.
            Cancelled: somebody cancelled the execution.
            CallboardError: what made it fail; see `Job`.
        """
        outcome = self._execution.outcome
        done, _ = await asyncio.wait((outcome,), timeout=timeout_s)
        if not done:
            problem = self._execution.problem
            raise DeadlineExceeded(
                f"execution {self.id} has no result within {timeout_s} s.",
                advice=problem or "It goes on: ask again, or cancel it.",
            )
        return outcome.result()

    def updates(self) -> AsyncIterator[ExecutionUpdate]:
        """Everything that happens, from the beginning on; `Finished` is the last.

        Any number of readers may read, each at its own speed: a slow one sees fewer
        `Progressed` and `PartialResult`, and all else.
        """
        return self._execution.updates()

    def cancel(self) -> bool:
        """Stop everything; whether it had not ended. `result` then raises `Cancelled`.

        Reaches the handlers that run, and their own asks. What has been delivered stays. An
        execution that runs elsewhere may have ended without this being known here yet.
        """
        return self._execution.cancel()

    async def cancel_task(self, task_id: str) -> bool:
        """Cancel one sub-task; whether it had not ended. What needs it is skipped.

        Raises:
            UsageError: there is no such sub-task, the plan is not there yet, or the execution
                has ended.
        """
        return await self._execution.cancel_task(task_id)

    def on_end(self, call: Callable[[], None]) -> None:
        """Call this once it is over, soon after."""
        self._execution.outcome.add_done_callback(lambda _outcome: call())

    async def decide(self, task_id: str, decision: Decision, *, by: str = "driver") -> bool:
        """Settle a sub-task that is in doubt; gives whether it was.

        Raises:
            UsageError: there is no such sub-task, or the execution is not running.
        """
        return await self._execution.decide(task_id, decision, by)

    def state(self) -> ExecutionState:
        """Where it stands now; of one that runs elsewhere, as it was told last."""
        return self._execution.state()

    def statistics(self) -> "ExecutionStatistics":
        """All its figures, down to each executor; as old as those of `state`."""
        return self._execution.statistics()


def execution_of(handle: ExecutionHandle[ResultT]) -> ExecutionBackend[ResultT]:
    """What a handle is on, for the runtime: its callers need nothing of it."""
    return handle._execution  # noqa: SLF001 - this function is the one way in
