"""How actors end on a host: in order, by failure, and for good.

An ordered stop of a cell: no more messages, children in reverse, the running handler
until the timeout and then no longer, the `stopping` hook, and the report. Whoever waits
for an answer from it gets `ActorStopped`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from callboard.messages.errors import ActorNotFound, ActorStartFailed, ActorStopped, CallboardError
from callboard.messages.lifecycle import Exit, ExitReason
from callboard.messages.spec import AutoShutdown, StopTimeout

from ..asks import Ask
from ..cell import Cell, Life
from ..dispatcher import Worker
from ..failures import describe_exception, is_being_cancelled

if TYPE_CHECKING:
    from .host import Host

__all__ = ["Endings"]

Stopped = Callable[[Exit], None]

LOGGER: Final = logging.getLogger("callboard.host")
KILL_GRACE_S: Final = 1.0
"""How long a cancelled handler may take to end before it is left behind, with a log line."""


class OrderlyStop:
    """One ordered stop under way. Whoever asks for a second one waits for the first."""

    __slots__ = ("_ends_at_s", "_timeout", "callbacks")

    def __init__(self, stopped: Stopped) -> None:
        self.callbacks = [stopped]
        self._ends_at_s: float | None = None
        self._timeout: asyncio.Timeout | None = None

    def end_by(self, at_s: float) -> None:
        """Give it until then at most."""
        if self._ends_at_s is None or at_s < self._ends_at_s:
            self._ends_at_s = at_s
            if self._timeout is not None:
                self._timeout.reschedule(at_s)

    def limit(self) -> asyncio.Timeout:
        """The limit to work within; entered at once."""
        self._timeout = asyncio.timeout_at(self._ends_at_s)
        return self._timeout


class Endings:
    """Stops cells and clears up after them."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self.start_failures: dict[int, ActorStartFailed] = {}
        """Why cells did not start, until their spawner has been told."""
        self._stopped: dict[int, asyncio.Future[None]] = {}
        self._quiet: dict[int, asyncio.Future[None]] = {}
        self._stops: dict[int, OrderlyStop] = {}
        self._watchers: list[Callable[[Cell, Exit], None]] = []

    def watch(self, watcher: Callable[[Cell, Exit], None]) -> None:
        """Call `watcher` with every top-level cell that ends for good."""
        self._watchers.append(watcher)

    # --- ordered stop -------------------------------------------------------------------

    def stop(self, cell: Cell, timeout: StopTimeout, reason: Exit, stopped: Stopped) -> None:
        """Stop a cell; at once when nothing runs in it, in a task otherwise."""
        ends_at_s = None if timeout.is_infinite else self._host.now() + timeout.seconds
        under_way = self._stops.get(cell.id)
        if under_way is not None:
            under_way.callbacks.append(stopped)
            if ends_at_s is not None:
                under_way.end_by(ends_at_s)
            return
        was_running = cell.life == Life.RUNNING
        cell.life = Life.STOPPING
        self._refuse_waiting(cell)
        if cell.children is None and not cell.behaviour.has_stopping_hook and cell.is_quiet:
            self._finish(cell, reason, (stopped,))
        else:
            ordered = self._stops[cell.id] = OrderlyStop(stopped)
            if ends_at_s is not None:
                ordered.end_by(ends_at_s)
            self._host.run_task(self._stop(cell, ordered, reason, was_running=was_running))

    async def _stop(
        self, cell: Cell, ordered: OrderlyStop, reason: Exit, *, was_running: bool
    ) -> None:
        outcome = reason
        began_at_s = self._host.now()
        limit = ordered.limit()
        try:
            async with limit:
                await self._stop_children(cell)
                await self._handlers_end(cell)
                if cell.behaviour.has_stopping_hook and was_running and cell.actor is not None:
                    await cell.actor.stopping(self._host.context(cell), reason)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if limit.expired():
                took_s = self._host.now() - began_at_s
                message = f"{cell.path} did not stop within {took_s:.1f} s."
                outcome = Exit(ExitReason.KILLED, {"message": message})
                self._kill(cell)
            elif is_being_cancelled(error):
                raise
            else:
                LOGGER.exception("the stopping hook of %s failed", cell.path)
                outcome = Exit(ExitReason.FAILED, describe_exception(error))
        self._stops.pop(cell.id, None)
        self._finish(cell, outcome, ordered.callbacks)

    async def _stop_children(self, cell: Cell) -> None:
        family = cell.children
        if family is None:
            return
        waiting = cell.stopping
        if waiting is None:
            waiting = cell.stopping = self._host.loop.create_future()
            family.supervisor.stop()
        await asyncio.shield(waiting)

    async def _handlers_end(self, cell: Cell) -> None:
        while not cell.is_quiet:
            quiet = self._quiet[cell.id] = self._host.loop.create_future()
            await quiet

    def turn_over(self, cell: Cell) -> None:
        """A worker has left a cell that is not to run any more."""
        quiet = self._quiet.pop(cell.id, None)
        if quiet is not None and not quiet.done():
            quiet.set_result(None)

    def _workers(self, cell: Cell) -> list[Worker]:
        return [worker for worker in self._host.dispatcher.workers if worker.cell is cell]

    def _kill(self, cell: Cell) -> None:
        workers = self._workers(cell)
        for worker in workers:
            if type(worker.item) is Ask:
                worker.item.fail(_stopped_too_soon(cell, may_have_run=True))
            worker.interrupt()
        if workers:
            self._host.loop.call_later(KILL_GRACE_S, self._tell_left_behind, cell)
        if cell.children is not None:
            for child in reversed(list(cell.children.cells.values())):
                self._kill(child)
                self._finish(child, Exit(ExitReason.KILLED), ())
                self.gone(child, Exit(ExitReason.KILLED))

    def _tell_left_behind(self, cell: Cell) -> None:
        if any(worker.item is not None for worker in self._workers(cell)):
            LOGGER.warning("a handler of %s goes on although it was cancelled", cell.path)

    def _finish(self, cell: Cell, outcome: Exit, callbacks: Sequence[Stopped]) -> None:
        cell.life = Life.STOPPED
        cell.actor = None
        cell.children = None
        if cell.stopping is not None and cell.stopping.done():
            cell.stopping = None
        for stopped in callbacks:
            stopped(outcome)

    # --- failure ---------------------------------------------------------------------------

    def failed(self, cell: Cell, failure: CallboardError) -> None:
        """Throw the actor away; its mailbox waits for the next one."""
        if cell.life != Life.RUNNING:
            return
        cell.life = Life.STARTING
        cell.actor = None
        for worker in self._workers(cell):
            worker.interrupt()
        reason = Exit.of_error(ExitReason.FAILED, failure)
        if cell.children is None:
            self._report_failed(cell, reason)
        else:
            self._host.run_task(self._fail_after_children(cell, reason))

    async def _fail_after_children(self, cell: Cell, reason: Exit) -> None:
        await self._stop_children(cell)
        cell.children = None
        self._report_failed(cell, reason)

    def _report_failed(self, cell: Cell, reason: Exit) -> None:
        self._host.family_of(cell.parent).failed(cell, reason)

    def family_stopped(self, cell: Cell, reason: Exit) -> None:
        """All children of a cell have stopped: because it stops, or because they gave up."""
        waiting = cell.stopping
        if waiting is not None:
            cell.stopping = None
            if not waiting.done():
                waiting.set_result(None)
            return
        cell.children = None
        if cell.life == Life.RUNNING:
            cell.life = Life.STARTING
            cell.actor = None
            for worker in self._workers(cell):
                worker.interrupt()
            if cell.behaviour.actor.supervision.auto_shutdown is AutoShutdown.NEVER:
                # OTP calls this end a shutdown. But an actor is more than the supervisor of
                # its children: a transient one would be gone without a word.
                reason = Exit(ExitReason.FAILED, reason.detail)
            self._report_failed(cell, reason)

    # --- the end ------------------------------------------------------------------------------

    def stop_self(self, cell: Cell, reason: Exit) -> None:
        """An actor ends itself, after the message it is handling."""

        def stopped(outcome: Exit) -> None:
            self._host.family_of(cell.parent).failed(cell, outcome)

        if cell.life == Life.RUNNING:
            self.stop(cell, StopTimeout.INFINITY, reason, stopped)

    async def stop_child(self, parent: Cell | None, number: int) -> None:
        """Stop one child and wait; raises `ActorNotFound` when there is none."""
        family = self._host.family_of(parent)
        cell = family.cells.get(number)
        if cell is None:
            raise ActorNotFound(
                f"no such child: {number}.",
                advice="It has stopped already, or is somebody else's.",
                may_have_run=False,
            )
        gone = self._stopped.setdefault(number, self._host.loop.create_future())
        family.remove(cell)
        await asyncio.shield(gone)

    def gone(self, cell: Cell, reason: Exit) -> None:
        """A cell ended for good: whoever still waits for it is told."""
        if self._host.cells.get(cell.id) is cell:
            del self._host.cells[cell.id]
        cell.life = Life.STOPPED
        cell.actor = None
        self._refuse_waiting(cell)
        waiting = self._stopped.pop(cell.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        if cell.parent is None:
            for watcher in self._watchers:
                watcher(cell, reason)

    def _refuse_waiting(self, cell: Cell) -> None:
        for item in cell.drain():
            if type(item) is Ask:
                item.fail(_stopped_too_soon(cell, may_have_run=False))
            else:
                self._host.letters.dead("actor_stopped", cell.path, item)
        if cell.pressed is not None:
            cell.release_pressure()


def _stopped_too_soon(cell: Cell, *, may_have_run: bool) -> ActorStopped:
    when = "while" if may_have_run else "before"
    return ActorStopped(
        f"{cell.path} stopped {when} it handled the request.",
        advice="Look it up again, or spawn another one.",
        may_have_run=may_have_run,
    )
