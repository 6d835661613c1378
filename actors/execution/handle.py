"""What the caller of a submitted request holds: its result, its updates, its end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from callboard.messages.errors import DeadlineExceeded
from callboard.messages.execution import Decision
from callboard.messages.updates import ExecutionState, ExecutionUpdate

if TYPE_CHECKING:
    from .execution import Execution
    from .record import ExecutionStatistics

__all__ = ["ExecutionHandle"]

ResultT = TypeVar("ResultT")


class ExecutionHandle(Generic[ResultT]):
    """One execution, for its caller. Use it on the event loop of its system."""

    __slots__ = ("_execution", "id")

    def __init__(self, execution: "Execution[ResultT]") -> None:
        self._execution = execution
        self.id = execution.record.id

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
            raise DeadlineExceeded(
                f"execution {self.id} has no result within {timeout_s} s.",
                advice="It goes on: ask again, or cancel it.",
            )
        return outcome.result()

    def updates(self) -> AsyncIterator[ExecutionUpdate]:
        """Everything that happens, from the beginning on; `Finished` is the last.

        Any number of readers may read, each at its own speed: a slow one sees fewer
        `Progressed` and `PartialResult`, and all else.
        """
        return self._execution.record.stream.read()

    def cancel(self) -> bool:
        """Stop everything; whether it had not ended. `result` then raises `Cancelled`.

        Reaches the handlers that run, and their own asks. What has been delivered stays.
        """
        return self._execution.cancel()

    def cancel_task(self, task_id: str) -> bool:
        """Cancel one sub-task; whether it had not ended. What needs it is skipped.

        Raises:
            KeyError: there is no such sub-task.
            UsageError: the plan is not there yet, or the execution has ended.
        """
        return self._execution.cancel_task(task_id)

    def on_end(self, call: Callable[[], None]) -> None:
        """Call this once it is over, soon after."""
        self._execution.outcome.add_done_callback(lambda _outcome: call())

    def decide(self, task_id: str, decision: Decision, *, by: str = "driver") -> bool:
        """Settle an unsafe sub-task of which an attempt may have run; whether it was in doubt.

        Raises:
            KeyError: there is no such sub-task.
            UsageError: the execution is not running.
        """
        return self._execution.decide(task_id, decision, by)

    def state(self) -> ExecutionState:
        """Where it stands, now."""
        return self._execution.record.state()

    def statistics(self) -> "ExecutionStatistics":
        """All its figures, down to each lane."""
        return self._execution.record.statistics()
