"""One execution in its execution service's hands: begun, begun again, told of, and let go."""

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
"""Between the end of an execution that could not be journalled and its next beginning."""


class ExecutionRunner:
    """Goes on with one execution until it is over, or has to be given up."""

    def __init__(
        self,
        kept: LedgerEntry,
        begin: Callable[[LedgerEntry], Awaitable[Execution[Any]]],
        new_incarnation: Callable[[], str],
        values: Values,
    ) -> None:
        self.kept: Final = kept
        self.execution: Execution[Any] | None = None
        """While it runs, and once it is over."""
        self.error: CallboardError | None = None
        """Why it was given up."""
        self._begin = begin
        self._new_incarnation = new_incarnation
        self._values = values
        self._incarnation = ""
        self._problem = ""
        self._told = asyncio.Event()
        """Set while there is something to tell: an execution, or an error."""

    async def run(self) -> None:
        """Returns once nobody has to go on with it."""
        tries, now = 0, asyncio.get_running_loop().time
        while True:
            began_s = now()
            error, is_journalled = await self._try()
            if now() - began_s > PAUSE.max_s:
                tries = 0  # It has gone on for a while: this is another trouble.
            match what_follows(error, is_journalled=is_journalled):
                case Next.FORGET:
                    return
                case Next.GIVE_UP:
                    self.error = _told(error)
                    LOGGER.warning("execution %s is given up: %s", self.kept.id, self.error)
                    self._told.set()
                    return
                case Next.TRY_AGAIN:
                    self._told.clear()
                    self.execution = None
                    self._problem = f"Its system waits for the journal: {error}"
                    LOGGER.warning("execution %s waits: %s", self.kept.id, error)
                    tries += 1
                    await asyncio.sleep(PAUSE.delay_s(tries))

    async def _try(self) -> tuple[BaseException | None, bool]:
        """Run it once; what it ended with, and whether the journal has that."""
        try:
            execution = await self._begin(self.kept)
        except Exception as error:  # noqa: BLE001 - a job's code may raise anything
            return error, False
        self.execution = execution
        self._incarnation, self._problem = self._new_incarnation(), ""
        self._told.set()
        await asyncio.wait((execution.outcome,))
        return execution.outcome.exception(), execution.is_journalled

    async def begun(self, within_s: float) -> Execution[Any] | None:
        """What runs, once something does; None when nothing has within `within_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._told.wait()
        return self.execution

    async def follow(self, request: FollowExecution) -> ExecutionFollowed:
        """Tell what is new."""
        wait_s = min(request.wait_s, WAIT_MAX_S)
        execution = await self.begun(wait_s if request.problem == self._problem else 0.0)
        if self.error is not None:
            return ExecutionFollowed(error=self.error.to_data())
        if execution is None:
            return ExecutionFollowed(problem=self._problem)
        incarnation = self._incarnation
        mark = Mark(*request.mark) if request.incarnation == incarnation else Mark()
        stream = execution.record.stream
        updates, mark = await stream.since(mark, wait_s, partials=request.wants_partials)
        if updates and isinstance(updates[-1], Finished) and not execution.is_journalled:
            # It has not ended, whatever it says: it is begun again, or given up, at once.
            await asyncio.sleep(NOT_JOURNALLED_S)
            return ExecutionFollowed(problem=self._problem)
        told = pack_updates(self._values, updates)
        return ExecutionFollowed(
            incarnation=incarnation,
            mark=(mark.position, mark.moved, mark.partials),
            updates=told.updates,
            snapshot=pack_snapshot(self._values, execution),
            partial_cost_s=told.partial_cost_s,
        )

    async def let_go(self) -> None:
        """Stop working on it; whoever comes next goes on."""
        execution = self.execution
        if execution is not None and not execution.outcome.done():
            execution.let_go()
            await asyncio.wait((execution.outcome,))


def _told(error: BaseException | None) -> CallboardError:
    if isinstance(error, CallboardError):
        return error
    return InternalError(f"its execution service could not go on: {error!r}.")
