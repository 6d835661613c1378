"""How actors end on a host: in order, by failure, and for good.

An ordered stop of a cell: no more messages, children in reverse, the running handler
until the timeout and then no longer, the `stopping` hook, and the report. Whoever waits
for an answer from it gets `ActorStopped`.

An actor's stop timeout is its own: its children have theirs, one after another, before it
begins; a child without a limit has its parent's. A cell whose children do not stop first has
one time for all below it, as a supervisor in OTP.
Ended by force means: the actor is gone for all others at once; a coroutine is cancelled; a
thread (a `def` handler) cannot be, so it runs on for nobody, sees `ctx.cancelled`, and its
result is dropped.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Sequence
from typing import Final

from callboard.messages.control.control_plane import CONTROL_CELL, CONTROL_SLOT, ActorEnded
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.spec import Restart, StopTimeout
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStartFailed,
    CallboardError,
    MailboxFull,
)
from callboard.messages.core.ref import Address

from ..asks import Ask
from ..cell import Cell, Lifecycle
from ..dispatcher import Worker
from ..failures import describe_exception, is_being_cancelled
from ..ports import CellHost
from .cleanup import Cleanup
from .mailbox_policy import (
    apply_restart_policy,
    refuse_waiting,
    reopen_mailbox,
    stopped_early_error,
)

__all__ = ["Termination"]

Stopped = Callable[[Exit], None]

LOGGER: Final = logging.getLogger("callboard.host")
KILL_GRACE_S: Final = 1.0
"""How long a cancelled handler may take to end before it is left behind, with a log line."""


class OrderlyStop:
    """One ordered stop under way. Whoever asks for a second one waits for the first."""

    __slots__ = ("_more_s", "_now", "_seconds", "_timeout", "callbacks")

    def __init__(self, stopped: Stopped, timeout: StopTimeout, now: Callable[[], float]) -> None:
        self.callbacks = [stopped]
        self._now = now
        self._seconds = timeout.seconds
        self._more_s = 0.0
        self._timeout: asyncio.Timeout | None = None

    def shorten(self, timeout: StopTimeout) -> None:
        """Give it so much from now on at most; before its own time has begun, from then on."""
        self._seconds = min(self._seconds, timeout.seconds)
        if self._timeout is not None:
            ends_at_s = self._now() + timeout.seconds + self._more_s
            before_s = self._timeout.when()
            if ends_at_s < (math.inf if before_s is None else before_s):
                self._timeout.reschedule(ends_at_s)

    def limit(self, more_s: float = 0.0) -> asyncio.Timeout:
        """The limit to work within, `more_s` longer than its own time, which begins now."""
        if self._timeout is not None and self._timeout.expired():
            self._seconds = 0.0
        self._more_s = more_s
        seconds = self._seconds + more_s
        self._timeout = asyncio.timeout_at(None if seconds == math.inf else self._now() + seconds)
        return self._timeout


class Termination:
    """Stops cells and clears up after them; `tell` carries what the root must know."""

    def __init__(
        self,
        host: CellHost[Cell],
        workers: Collection[Worker],
        cleanup: Cleanup,
        tell: Callable[[Address, Contract], None],
    ) -> None:
        self._host = host
        self._all_workers = workers
        self._cleanup = cleanup
        self._tell = tell
        self.start_failures: dict[int, ActorStartFailed] = {}
        """Why cells did not start, until their spawner has been told."""
        self._stopped: dict[int, asyncio.Future[None]] = {}
        self._quiet: dict[int, asyncio.Future[None]] = {}
        self._stops: dict[int, OrderlyStop] = {}
        self.start_hooks: Final[dict[int, asyncio.Task[None]]] = {}
        """The start hooks that run, by their cell."""

    # --- ordered stop -------------------------------------------------------------------

    def stop(
        self,
        cell: Cell,
        timeout: StopTimeout,
        reason: Exit,
        stopped: Stopped,
        *,
        comes_back: bool = False,
    ) -> None:
        """Stop a cell; at once when nothing runs in it, in a task otherwise.

        With `comes_back` it is started again afterwards, and its mailbox is treated so.
        """
        under_way = self._stops.get(cell.id)
        if under_way is not None:
            under_way.callbacks.append(stopped)
            if timeout.is_brutal:
                self._kill_and_finish(cell, under_way.callbacks)
            else:
                under_way.shorten(timeout)
            return
        was_running = cell.lifecycle == Lifecycle.RUNNING
        cell.lifecycle = Lifecycle.STOPPING
        cell.before_stop(comes_back=comes_back)
        if comes_back:
            apply_restart_policy(cell)
            reopen_mailbox(cell)
        else:
            refuse_waiting(cell)
        if timeout.is_brutal:
            self._kill_and_finish(cell, (stopped,))
        elif (
            cell.children is None
            and not (cell.behaviour.has_stopping_hook and was_running)
            and cell.is_quiet
            and cell.id not in self.start_hooks
        ):
            self._finish(cell, reason, (stopped,))
        else:
            ordered = self._stops[cell.id] = OrderlyStop(stopped, timeout, self._host.now)
            self._host.run_task(self._stop(cell, ordered, reason, was_running=was_running))

    async def _stop(
        self, cell: Cell, ordered: OrderlyStop, reason: Exit, *, was_running: bool
    ) -> None:
        outcome = reason
        began_at_s = self._host.now()
        if cell.children_stop_first and cell.children is not None:
            try:
                async with ordered.limit(cell.children.patience_s()):
                    await self._start_hook_ends(cell, ordered)
                    await cell.prepare_stop()
                    await self.stop_children(cell)
                    cell.children = None
                began_at_s = self._host.now()
            except TimeoutError:
                pass  # The limit below has passed, too.
            if self._stops.get(cell.id) is not ordered:
                return  # Killed meanwhile.
        limit = ordered.limit()
        try:
            async with limit:
                await self._start_hook_ends(cell, ordered)
                await self.stop_children(cell)
                await self._handlers_end(cell)
                if cell.behaviour.has_stopping_hook and was_running and cell.actor is not None:
                    outcome = await cell.run_stopping(self._host.context(cell), reason)
        except (KeyboardInterrupt, GeneratorExit):
            raise  # The second: its process has ended before it.
        except BaseException as error:
            if limit.expired():
                took_s = self._host.now() - began_at_s
                outcome = _killed(f"{cell.path} did not stop within {took_s:.1f} s.")
                if self._stops.get(cell.id) is ordered:
                    self._kill(cell)
            elif is_being_cancelled(error):
                raise
            else:
                LOGGER.exception("the stopping hook of %s failed", cell.path)
                outcome = Exit(ExitReason.FAILED, describe_exception(error))
        if self._stops.get(cell.id) is ordered:
            del self._stops[cell.id]
            self._finish(cell, outcome, ordered.callbacks)

    async def _start_hook_ends(self, cell: Cell, ordered: OrderlyStop) -> None:
        hook = self.start_hooks.pop(cell.id, None)
        if hook is not None and self._stops.get(cell.id) is ordered:
            hook.cancel()
            await asyncio.wait((hook,))

    async def stop_children(self, cell: Cell) -> None:
        """Stop the children of a cell in reverse, each within its own time, and wait."""
        children = cell.children
        if children is None:
            return
        waiting = cell.stopping
        if waiting is None:
            waiting = cell.stopping = self._host.loop.create_future()
            children.supervisor.stop()
        await asyncio.shield(waiting)

    async def _handlers_end(self, cell: Cell) -> None:
        while not cell.is_quiet:
            quiet = self._quiet[cell.id] = self._host.loop.create_future()
            await quiet

    def end_turn(self, cell: Cell) -> None:
        """A worker has left a cell that is not to run any more."""
        quiet = self._quiet.pop(cell.id, None)
        if quiet is not None and not quiet.done():
            quiet.set_result(None)

    def _workers(self, cell: Cell) -> list[Worker]:
        return [worker for worker in self._all_workers if worker.cell is cell]

    def _kill_and_finish(self, cell: Cell, callbacks: Sequence[Stopped]) -> None:
        self._stops.pop(cell.id, None)
        self._kill(cell)
        self._finish(cell, _killed(f"{cell.path} was not asked to stop."), callbacks)

    def _kill(self, cell: Cell) -> None:
        """End what runs in a cell and all below it; the caller finishes the cell itself."""
        hook = self.start_hooks.pop(cell.id, None)
        if hook is not None:
            hook.cancel()
        workers = self._workers(cell)
        for worker in workers:
            if type(worker.item) is Ask:
                worker.item.fail(stopped_early_error(cell, may_have_run=True))
            worker.interrupt()
            worker.abandon_handler()
        if workers:
            # A handler that does not end does not keep the next incarnation from working.
            cell.free = cell.behaviour.concurrency
            self._host.loop.call_later(KILL_GRACE_S, _warn_left_behind, cell.path, workers)
        cell.on_killed()
        children = cell.children
        if children is None:
            return
        children.supervisor.abandon()
        comes_back = cell.keeps_children_when_killed()
        for child in reversed(list(children.cells.values())):
            outcome = _killed(f"{child.path} was killed with {cell.path}.")
            self._stops.pop(child.id, None)
            child.on_killed_with_parent(comes_back=comes_back)
            self._kill(child)
            self._finish(child, outcome, ())
            if comes_back:
                reopen_mailbox(child)
            else:
                self.remove(child, outcome)

    def _finish(self, cell: Cell, outcome: Exit, callbacks: Sequence[Stopped]) -> None:
        cell.lifecycle = Lifecycle.STOPPED
        cell.actor = None
        cell.children = None
        if cell.stopping is not None and cell.stopping.done():
            cell.stopping = None
        ends = self._cleanup.detach(cell)
        for stopped in callbacks:
            stopped(outcome)
        self._cleanup.notify_soon(ends, cell, outcome)

    # --- failure ---------------------------------------------------------------------------

    def actor_failed(self, cell: Cell, failure: CallboardError) -> None:
        """Throw the actor away; its mailbox waits for the next one."""
        self.fail(cell, Exit.of_error(ExitReason.FAILED, failure))

    def fail(self, cell: Cell, reason: Exit) -> None:
        """Let a running actor end like this; its supervisor decides."""
        if cell.lifecycle != Lifecycle.RUNNING:
            return
        ends = self._cleanup.detach(cell)
        cell.lifecycle = Lifecycle.STARTING
        cell.actor = None
        for worker in self._workers(cell):
            worker.interrupt()
        if cell.children is None:
            self._report_failed(cell, reason)
            self._cleanup.notify(ends, cell, reason)
        else:
            self._cleanup.notify(ends, cell, reason)  # Its children may take long.
            self._host.run_task(self._fail_after_children(cell, reason))

    async def _fail_after_children(self, cell: Cell, reason: Exit) -> None:
        incarnation = cell.incarnation
        await self.stop_children(cell)
        if cell.incarnation != incarnation or cell.lifecycle != Lifecycle.STARTING:
            return  # Stopped meanwhile, and perhaps started again.
        cell.children = None
        self._report_failed(cell, reason)

    def _report_failed(self, cell: Cell, reason: Exit) -> None:
        self._host.children_of(cell.parent).child_failed(cell, reason)

    def children_stopped(self, cell: Cell, reason: Exit) -> None:
        """All children of a cell have stopped: because it stops, or because they gave up."""
        waiting = cell.stopping
        if waiting is not None:
            cell.stopping = None
            if not waiting.done():
                waiting.set_result(None)
            return
        cell.children = None
        if cell.lifecycle == Lifecycle.RUNNING:
            reason = cell.exit_after_children(reason)
            ends = self._cleanup.detach(cell)
            cell.lifecycle = Lifecycle.STARTING
            cell.actor = None
            apply_restart_policy(cell)
            for worker in self._workers(cell):
                worker.interrupt()
            self._report_failed(cell, reason)
            self._cleanup.notify(ends, cell, reason)
        elif cell.lifecycle == Lifecycle.STARTING:
            cell.on_children_start_failed(reason)

    # --- the end ------------------------------------------------------------------------------

    def stop_self(self, cell: Cell, reason: Exit) -> None:
        """An actor ends itself, after the message it is handling."""

        def stopped(outcome: Exit) -> None:
            children.child_failed(cell, outcome)

        if cell.lifecycle == Lifecycle.RUNNING:
            children = self._host.children_of(cell.parent)
            comes_back = children.supervisor.child(cell.id).spec.restart is Restart.PERMANENT
            self.stop(cell, StopTimeout.INFINITY, reason, stopped, comes_back=comes_back)

    async def stop_child(self, parent: Cell | None, number: int) -> None:
        """Stop one child and wait; raises `ActorNotFound` when there is none."""
        children = self._host.children_of(parent)
        cell = children.cells.get(number)
        if cell is None:
            raise ActorNotFound(
                f"no such child: {number}.",
                advice="It has stopped already, or is somebody else's.",
                may_have_run=False,
            )
        gone = self._stopped.setdefault(number, self._host.loop.create_future())
        children.remove(cell)
        await asyncio.shield(gone)

    def remove(self, cell: Cell, reason: Exit) -> None:
        """A cell ended for good: whoever still waits for it is told."""
        if self._host.cells.get(cell.id) is cell:
            del self._host.cells[cell.id]
        cell.lifecycle = Lifecycle.STOPPED
        cell.actor = None
        for member in reversed(cell.declared_children()):
            if self._host.cells.get(member.id) is member:
                self.remove(member, reason)
        refuse_waiting(cell)
        cell.on_removed()
        # What was to be ends to its next incarnation, which will not be.
        self._cleanup.notify(self._cleanup.detach(cell), cell, reason)
        waiting = self._stopped.pop(cell.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        if cell.parent is None:
            self._report_end(cell, reason)

    def _report_end(self, cell: Cell, reason: Exit) -> None:
        """A top-level actor must not come back with its host: the root must know."""
        host = self._host
        if host.slot == CONTROL_SLOT or host.spawner.is_stopping:
            return
        ended = ActorEnded(slot=host.slot, cell=cell.id, reason=reason.to_data())
        try:
            self._tell(Address(CONTROL_SLOT, CONTROL_CELL), ended)
        except MailboxFull:
            host.dispatcher.dead_letters.counts["not_sent"] += 1


def _killed(message: str) -> Exit:
    return Exit(ExitReason.KILLED, {"message": message})


def _warn_left_behind(path: str, workers: Sequence[Worker]) -> None:
    if any(worker.item is not None and worker.cell is None for worker in workers):
        LOGGER.warning("a handler of %s goes on although it was cancelled", path)
