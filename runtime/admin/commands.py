"""Commands on the executions of one process, carried out in that process.

A journal has one writer. If no process runs an execution, a command that changes its journal goes
to that writer.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from callboard.actors.executions.history.changes import cancelled, decided, fork
from callboard.actors.executions.history.events import stream_of
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.actors.executions.history.reading import read_history
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import shell_command
from callboard.messages.jobs.commands import (
    CancelExecution,
    DecideStep,
    ExecutionCancelled,
    ExecutionCommand,
    ExecutionForked,
    ExecutionResumed,
    ForkExecution,
    PartialsView,
    QueryPartials,
    ResumeExecution,
    StepDecided,
)
from callboard.messages.jobs.job import Decision
from callboard.messages.jobs.updates import SubTaskPartial
from callboard.messages.storage.events import Append

from .port import Executions
from .submission import AwaitResult, ListJobs, SubmitExecution
from .submissions import Resume, Submissions, Submit

__all__ = ["ExecutionCommands"]

TEXT_CHARS_MAX: Final = 1_000
"""The length of a partial result that is shown as text."""


class ExecutionCommands:
    """Carries out commands.

    `resume` continues an execution that no process runs, `submit` begins one of a job that is
    offered. Without `submit`, submissions are refused.
    """

    def __init__(
        self, executions: Executions, resume: Resume, submit: Submit | None = None
    ) -> None:
        self._executions: Final = executions
        self._resume: Final = resume
        submissions = Submissions(executions, resume, submit)
        self._by_request: Final[Mapping[type, Callable[[Any], Awaitable[Contract]]]] = {
            CancelExecution: self._cancel,
            DecideStep: self._decide,
            ForkExecution: self._fork,
            ResumeExecution: self._go_on,
            SubmitExecution: submissions.submit,
            AwaitResult: submissions.wait,
            ListJobs: submissions.list_jobs,
            QueryPartials: self._partials,
        }

    async def answer(self, request: Request[Any]) -> Any:
        """The reply to a command. Raises `UsageError`, and what the journal raises."""
        return await self._by_request[type(request)](request)

    async def _cancel(self, command: CancelExecution) -> ExecutionCancelled:
        handle = self._executions.running(command.execution_id)
        if handle is not None:
            handle.cancel(by=command.by)
            return ExecutionCancelled(is_known=True, is_running=True)
        history = await self._history(command)
        if history is not None:
            await self._append(cancelled(history, command))
        return ExecutionCancelled(is_known=history is not None)

    async def _decide(self, command: DecideStep) -> StepDecided:
        handle = self._executions.running(command.execution_id)
        if handle is not None:
            decision = Decision.RUN_AGAIN if command.runs_again else Decision.FAIL
            is_settled = await handle.decide(
                command.step, decision, by=command.by, reason=command.reason
            )
            return StepDecided(is_known=True, is_running=True, is_settled=is_settled)
        history = await self._history(command)
        if history is None:
            return StepDecided(is_known=False)
        await self._append(decided(history, command))
        return StepDecided(is_known=True, is_settled=True)

    async def _fork(self, command: ForkExecution) -> ExecutionForked:
        history = await self._history(command)
        if history is None:
            return ExecutionForked(is_known=False)
        made, append = fork(history, command)
        await self._append(append)
        return ExecutionForked(is_known=True, sub_tasks=len(made.ids), shared=len(made.results))

    async def _go_on(self, command: ResumeExecution) -> ExecutionResumed:
        history, executions = await self._history(command), self._executions
        if history is None:
            return ExecutionResumed(is_known=False)
        if executions.running(command.execution_id) is not None:
            raise UsageError(
                f"execution {history.id} runs already, in process {os.getpid()}.",
                advice=f"Follow it with `{shell_command('callboard tail', history.id)}`.",
            )
        job = executions.job(history.job)
        if job is None:
            raise UsageError(
                f"the system that writes this journal has submitted no request of job "
                f"{history.job!r}, so it cannot continue the execution.",
                advice="Resume after the end of that system, or call `System.resume` in it.",
            )
        await self._resume(job, history.id)
        return ExecutionResumed(is_known=True)

    async def _partials(self, query: QueryPartials) -> PartialsView:
        view = self._executions.partials(query.execution_id, query.after)
        if view is None:
            return PartialsView(is_known=False)
        found, seen = view
        return PartialsView(is_known=True, partials=tuple(map(_as_json, found)), seen=seen)

    # --- the journal ----------------------------------------------------------------------

    async def _history(self, command: ExecutionCommand) -> ExecutionHistory | None:
        """The history of the execution, up to the version that the caller knows.

        None when this process does not write its journal, or the command has no token to change it.
        """
        journal = self._executions.journal
        if journal is None or not command.token:
            return None
        if command.event:
            stream = stream_of(command.execution_id)
            found = await journal.read_stream(stream, after=command.version - 1, limit=1)
            if not found or found[0].id.hex() != command.event:
                return None
        return await read_history(
            journal.read_stream, command.execution_id, up_to=command.version or None
        )

    async def _append(self, append: Append) -> None:
        journal = self._executions.journal
        assert journal is not None, "the history came from it"
        await journal.append(append.stream, append.events, append.expected)


def _as_json(partial: SubTaskPartial) -> SubTaskPartial:
    try:
        value = partial.value.model_dump(mode="json")
    except ValueError:
        value = repr(partial.value)[:TEXT_CHARS_MAX]
    return partial.model_copy(update={"value": value})
