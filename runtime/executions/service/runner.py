"""Runs one execution in the execution service: starts, restarts, reports and releases it."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from callboard.actors.executions.execution import Execution
from callboard.actors.executions.update_stream import Mark
from callboard.messages.core.errors import CallboardError, InternalError
from callboard.messages.jobs.updates import Finished

from ..values import Values
from .core import PAUSE, LedgerEntry, Next, what_follows
from .messages import ExecutionFollowed, FollowExecution
from .rendering import pack_snapshot, pack_updates

__all__ = ["ExecutionRunner"]

LOGGER: Final = logging.getLogger("callboard.executions")
WAIT_MAX_S: Final = 20.0
NOT_JOURNALLED_S: Final = 0.05
"""The pause between the end of an execution that is not in the journal and its next start."""


class ExecutionRunner:
    """Runs one execution until it is over or given up."""

    def __init__(
        self,
        entry: LedgerEntry,
        begin: Callable[[LedgerEntry], Awaitable[Execution[Any]]],
        new_incarnation: Callable[[], str],
        values: Values,
    ) -> None:
        self.entry: Final = entry
        self.execution: Execution[Any] | None = None
        """The execution while it runs, and after its end."""
        self.error: CallboardError | None = None
        """The reason why it was given up."""
        self._begin = begin
        self._new_incarnation = new_incarnation
        self._values = values
        self._incarnation = ""
        self._problem = ""
        self._is_reportable = asyncio.Event()
        """Set while there is an execution or an error to report."""

    async def run(self) -> None:
        """Return when the execution is over or given up."""
        tries, now = 0, asyncio.get_running_loop().time
        while True:
            began_s = now()
            error, is_journalled = await self._try()
            if now() - began_s > PAUSE.max_s:
                tries = 0  # It ran for a while, so this is another failure.
            match what_follows(error, is_journalled=is_journalled):
                case Next.FORGET:
                    return
                case Next.GIVE_UP:
                    self.error = _as_callboard_error(error)
                    LOGGER.warning("execution %s is given up: %s", self.entry.id, self.error)
                    self._is_reportable.set()
                    return
                case Next.TRY_AGAIN:
                    self._is_reportable.clear()
                    self.execution = None
                    self._problem = f"Its system waits for the journal: {error}"
                    LOGGER.warning("execution %s waits: %s", self.entry.id, error)
                    tries += 1
                    await asyncio.sleep(PAUSE.delay_s(tries))

    async def _try(self) -> tuple[BaseException | None, bool]:
        """Run it once; returns its error, and whether its end is in the journal."""
        try:
            execution = await self._begin(self.entry)
        except Exception as error:  # noqa: BLE001 - a job's code may raise anything
            return error, False
        self.execution = execution
        self._incarnation, self._problem = self._new_incarnation(), ""
        self._is_reportable.set()
        await asyncio.wait((execution.outcome,))
        return execution.outcome.exception(), execution.is_journalled

    async def begun(self, within_s: float) -> Execution[Any] | None:
        """Wait for its start and return the execution; None after `within_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._is_reportable.wait()
        return self.execution

    async def follow(self, request: FollowExecution) -> ExecutionFollowed:
        """The news since the mark of the request."""
        wait_s = min(request.wait_s, WAIT_MAX_S)
        execution = await self.begun(wait_s if request.problem == self._problem else 0.0)
        if self.error is not None:
            return ExecutionFollowed(error=self.error.to_data())
        if execution is None:
            return ExecutionFollowed(problem=self._problem)
        incarnation = self._incarnation
        mark = Mark(*request.mark) if request.incarnation == incarnation else Mark()
        stream = execution.record.stream
        updates, mark = await stream.since(
            mark, wait_s, partials=request.wants_partials, streamed=request.wants_streamed
        )
        if updates and isinstance(updates[-1], Finished) and not execution.is_journalled:
            # Its end is not in the journal, so it starts again or is given up at once.
            await asyncio.sleep(NOT_JOURNALLED_S)
            return ExecutionFollowed(problem=self._problem)
        packed = pack_updates(self._values, updates)
        return ExecutionFollowed(
            incarnation=incarnation,
            mark=(mark.position, mark.moved, mark.partials, mark.streamed),
            updates=packed.updates,
            snapshot=pack_snapshot(self._values, execution),
            partial_cost_s=packed.partial_cost_s,
        )

    async def release(self) -> None:
        """Stop the work on it without its end; another service continues it."""
        execution = self.execution
        if execution is not None and not execution.outcome.done():
            execution.let_go()
            await asyncio.wait((execution.outcome,))


def _as_callboard_error(error: BaseException | None) -> CallboardError:
    if isinstance(error, CallboardError):
        return error
    return InternalError(f"the execution service could not run it: {error!r}.")
