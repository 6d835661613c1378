"""What the commands of this machine wish of a driver's executions, granted where they are.

A journal has one writer. A command that wants to change one whose writer lives asks that writer.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from callboard.actors.execution.history.events import stream_of
from callboard.messages.contract import Contract, Request
from callboard.messages.errors import UsageError
from callboard.messages.events import NewEvent
from callboard.messages.job import Decision, Job
from callboard.messages.wishes import (
    CancelExecution,
    DecideStep,
    EventsWritten,
    ExecutionCancelled,
    ExecutionResumed,
    ResumeExecution,
    StepDecided,
    WriteEvents,
)

from .executions import Executions, read_history
from .looking import Ask

__all__ = ["Wishes"]

TakeUp = Callable[[Job[Any, Any], str], Awaitable[object]]


class Wishes:
    """Answers what is asked of who runs executions: wishes here, looks by `ask_desk`.

    `take_up` goes on with an execution, if that is more than to resume it.
    """

    def __init__(
        self, executions: Executions, ask_desk: Ask, take_up: TakeUp | None = None
    ) -> None:
        self._executions = executions
        self._ask_desk = ask_desk
        self._take_up: TakeUp = executions.resume if take_up is None else take_up
        self._grants: Final[Mapping[type, Callable[[Any], Awaitable[Contract]]]] = {
            CancelExecution: self._cancel,
            DecideStep: self.decide,
            ResumeExecution: self._resume,
            WriteEvents: self._write,
        }

    async def answer(self, request: Request[Any]) -> Any:
        """The reply to a look or a wish; raises why there is none."""
        return await self._grants.get(type(request), self._ask_desk)(request)

    async def _cancel(self, request: CancelExecution) -> ExecutionCancelled:
        handle = self._executions.running(request.execution_id)
        if handle is not None:
            handle.cancel()
        return ExecutionCancelled(is_known=handle is not None)

    async def decide(self, request: DecideStep) -> StepDecided:
        """Settle a step of one that runs. Raises `UsageError`."""
        handle = self._executions.running(request.execution_id)
        if handle is None:
            return StepDecided(is_known=False)
        decision = Decision.RUN_AGAIN if request.runs_again else Decision.FAIL
        is_settled = await handle.decide(request.step, decision, by=request.by)
        return StepDecided(is_known=True, is_settled=is_settled)

    async def _resume(self, request: ResumeExecution) -> ExecutionResumed:
        if not await self._writes(request):
            return ExecutionResumed(is_known=False)
        executions, execution_id = self._executions, request.execution_id
        self._refuse_running(execution_id)
        assert executions.journal is not None
        history = await read_history(executions.journal, execution_id)
        assert history is not None
        job = executions.job(history.job)
        if job is None:
            raise UsageError(
                f"the system that writes this journal has submitted no request of job "
                f"{history.job!r}: it does not know how to go on.",
                advice="Resume when that system has ended, or by `System.resume` in it.",
            )
        await self._take_up(job, execution_id)
        return ExecutionResumed(is_known=True)

    async def _write(self, request: WriteEvents) -> EventsWritten:
        if not await self._writes(request):
            return EventsWritten(is_known=False)
        self._refuse_running(request.append_to)
        journal = self._executions.journal
        assert journal is not None
        events = [
            NewEvent(bytes.fromhex(event_id), kind, bytes.fromhex(data))
            for event_id, kind, data in request.events
        ]
        await journal.append(stream_of(request.append_to), events, request.expected)
        return EventsWritten(is_known=True)

    def _refuse_running(self, execution_id: str) -> None:
        if self._executions.running(execution_id) is not None:
            raise UsageError(
                f"execution {execution_id} runs already, in process {os.getpid()}.",
                advice=f"Follow it with `callboard tail {execution_id}`.",
            )

    async def _writes(self, request: WriteEvents | ResumeExecution) -> bool:
        """Whether the journal of this driver is the one that the command has read."""
        journal = self._executions.journal
        if journal is None:
            return False
        stream = stream_of(request.execution_id)
        found = await journal.read_stream(stream, after=request.version - 1, limit=1)
        return bool(found) and found[0].id.hex() == request.event
