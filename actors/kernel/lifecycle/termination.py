"""The termination of actors on a host: ordered stop, failure, and end for good.

An ordered stop of a cell refuses new messages, stops the children in reverse order, waits
for the running handler until the timeout, runs the `stopping` hook, and reports the end. An
asker that waits for a reply gets `ActorStopped`.

An actor's stop timeout is its own. Before it begins, its children stop one after another,
each within its own timeout; a child without one stops within its parent's. A cell whose
children do not stop first has one timeout for all below it, like a supervisor in OTP.

A killed actor has ended for all others at once. Its coroutine is cancelled. A thread (of a
`def` handler) cannot be cancelled: it runs on, sees `ctx.cancelled`, and its result is
dropped.
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
from ..circles.runs import HookRun
from ..dispatcher import Worker
from ..failures import describe_exception
from ..ports import CellHost
from .cleanup import Cleanup
from .mailbox_policy import (
    apply_restart_policy,
    refuse_waiting,
    reopen_mailbox,
    stopped_early_error,
)

__all__ = ["Termination"]

OnStopped = Callable[[Exit], None]

LOGGER: Final = logging.getLogger("callboard.host")
KILL_GRACE_S: Final = 1.0
"""How long a cancelled handler may take to end before a log line reports it."""


class OrderlyStop:
    """An ordered stop under way. A second stop of the same cell joins the first."""

    __slots__ = ("_more_s", "_now", "_seconds", "_timeout", "callbacks")

    def __init__(self, stopped: OnStopped, timeout: StopTimeout, now: Callable[[], float]) -> None:
        self.callbacks = [stopped]
        self._now = now
        self._seconds = timeout.seconds
        self._more_s = 0.0
        self._timeout: asyncio.Timeout | None = None

    def shorten(self, timeout: StopTimeout) -> None:
        """Shorten the timeout: from now on, or from its beginning if it has not begun."""
        self._seconds = min(self._seconds, timeout.seconds)
        if self._timeout is not None:
            ends_at_s = self._now() + timeout.seconds + self._more_s
            before_s = self._timeout.when()
            if ends_at_s < (math.inf if before_s is None else before_s):
                self._timeout.reschedule(ends_at_s)

    def limit(self, more_s: float = 0.0) -> asyncio.Timeout:
        """Begin the cell's timeout, longer by `more_s`; returns the limit to work within."""
        if self._timeout is not None and self._timeout.expired():
            self._seconds = 0.0
        self._more_s = more_s
        seconds = self._seconds + more_s
        self._timeout = asyncio.timeout_at(None if seconds == math.inf else self._now() + seconds)
        return self._timeout


class Termination:
    """Ends cells and clears up after them; `tell` sends reports to the root."""

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
        """The errors of failed starts, until their spawner takes them."""
        self._stopped: dict[int, asyncio.Future[None]] = {}
        self._quiet: dict[int, asyncio.Future[None]] = {}
        self._stops: dict[int, OrderlyStop] = {}
        self.start_hooks: Final[dict[int, asyncio.Task[None]]] = {}
        """The running start hooks, by cell."""

    # --- ordered stop -------------------------------------------------------------------

    def stop(
        self,
        cell: Cell,
        timeout: StopTimeout,
        reason: Exit,
        stopped: OnStopped,
        *,
        comes_back: bool = False,
    ) -> None:
        """Stop a cell in order: at once when nothing runs in it, in a task otherwise.

        With `comes_back` a new start follows, and its mailbox takes messages for it.
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
                    await self._cancel_start_hook(cell, ordered)
                    await cell.before_children_stop()
                    await self.stop_children(cell)
                    cell.children = None
                began_at_s = self._host.now()
            except TimeoutError:
                pass  # The limit below has passed as well.
            if self._stops.get(cell.id) is not ordered:
                return  # It was killed meanwhile.
        limit = ordered.limit()
        try:
            async with limit:
                await self._cancel_start_hook(cell, ordered)
                await self.stop_children(cell)
                await self._wait_for_handlers(cell)
                if cell.behaviour.has_stopping_hook and was_running and cell.actor is not None:
                    task = asyncio.current_task()
                    assert task is not None
                    self._host.dispatcher.runs[task] = HookRun(cell)
                    outcome = await cell.run_stopping(self._host.context(cell), reason)
        except BaseException as error:
            if self._host.ends_task(error):
                raise
            if limit.expired():
                took_s = self._host.now() - began_at_s
                outcome = _killed(f"{cell.path} did not stop within {took_s:.1f} s.")
                if self._stops.get(cell.id) is ordered:
                    self._kill(cell)
            else:
                described = describe_exception(error)
                LOGGER.error(  # noqa: TRY400 - the exception's own methods may raise
                    "the stopping hook of %s failed\n%s", cell.path, described["remote_traceback"]
                )
                outcome = Exit(ExitReason.FAILED, described)
        if self._stops.get(cell.id) is ordered:
            del self._stops[cell.id]
            self._finish(cell, outcome, ordered.callbacks)

    async def _cancel_start_hook(self, cell: Cell, ordered: OrderlyStop) -> None:
        hook = self.start_hooks.pop(cell.id, None)
        if hook is not None and self._stops.get(cell.id) is ordered:
            hook.cancel()
            await asyncio.wait((hook,))

    def ends_start(self, cell: Cell, error: BaseException) -> bool:
        """Whether an error in a start hook only says that the kernel has ended the hook."""
        if isinstance(error, asyncio.CancelledError):
            hook = self.start_hooks.get(cell.id)  # Whoever cancels a hook takes it out first.
            if hook is not asyncio.current_task(self._host.loop):
                return True
        return self._host.ends_task(error)

    async def stop_children(self, cell: Cell) -> None:
        """Stop the children of a cell in reverse order, each within its own timeout, and wait."""
        children = cell.children
        if children is None:
            return
        waiting = cell.stopping
        if waiting is None:
            waiting = cell.stopping = self._host.loop.create_future()
            children.supervisor.stop()
        await asyncio.shield(waiting)

    async def _wait_for_handlers(self, cell: Cell) -> None:
        while not cell.is_quiet:
            quiet = self._quiet[cell.id] = self._host.loop.create_future()
            await quiet

    def worker_left(self, cell: Cell) -> None:
        """A worker has left a cell that does not run any more."""
        quiet = self._quiet.pop(cell.id, None)
        if quiet is not None and not quiet.done():
            quiet.set_result(None)

    def _workers(self, cell: Cell) -> list[Worker]:
        return [worker for worker in self._all_workers if worker.cell is cell]

    def _kill_and_finish(self, cell: Cell, callbacks: Sequence[OnStopped]) -> None:
        self._stops.pop(cell.id, None)
        self._kill(cell)
        self._finish(cell, _killed(f"{cell.path} was killed without an ordered stop."), callbacks)

    def _kill(self, cell: Cell) -> None:
        """Kill all that runs in a cell, and all cells below it; the caller finishes the cell."""
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
            # A handler that does not end must not block the next incarnation.
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
            child.before_killed_with_parent(comes_back=comes_back)
            self._kill(child)
            self._finish(child, outcome, ())
            if comes_back:
                reopen_mailbox(child)
            else:
                self.remove(child, outcome)

    def _finish(self, cell: Cell, outcome: Exit, callbacks: Sequence[OnStopped]) -> None:
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
        """Drop a failed actor; its mailbox waits for the next incarnation."""
        self.fail(cell, Exit.of_error(ExitReason.FAILED, failure))

    def fail(self, cell: Cell, reason: Exit) -> None:
        """End a running actor with this reason; its supervisor decides what follows."""
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
            self._cleanup.notify(ends, cell, reason)  # The stop of its children may take long.
            self._host.run_task(self._fail_after_children(cell, reason))

    async def _fail_after_children(self, cell: Cell, reason: Exit) -> None:
        incarnation = cell.incarnation
        await self.stop_children(cell)
        if cell.incarnation != incarnation or cell.lifecycle != Lifecycle.STARTING:
            return  # It was stopped meanwhile, and perhaps started again.
        cell.children = None
        self._report_failed(cell, reason)

    def _report_failed(self, cell: Cell, reason: Exit) -> None:
        self._host.children_of(cell.parent).child_failed(cell, reason)

    def children_stopped(self, cell: Cell, reason: Exit) -> None:
        """All children have stopped: the cell stops them, or their supervisor gave up."""
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
        """Stop an actor after the message that it handles now."""

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
                f"there is no child {number}.",
                advice="It has stopped already, or is not a child of this actor.",
                may_have_run=False,
            )
        stopped = self._stopped.setdefault(number, self._host.loop.create_future())
        children.remove(cell)
        await asyncio.shield(stopped)

    def stop_awaited(self, cell: Cell) -> "asyncio.Future[None] | None":
        """What `stop_child` waits for; None when nobody has called it for the cell."""
        return self._stopped.get(cell.id)

    def remove(self, cell: Cell, reason: Exit) -> None:
        """Remove a cell that has ended for good, and refuse its waiting messages."""
        if self._host.cells.get(cell.id) is cell:
            del self._host.cells[cell.id]
        cell.lifecycle = Lifecycle.STOPPED
        cell.actor = None
        for member in reversed(cell.declared_children()):
            if self._host.cells.get(member.id) is member:
                self.remove(member, reason)
        refuse_waiting(cell)
        cell.on_removed()
        # The watches and links that waited for its next incarnation, which will not come.
        self._cleanup.notify(self._cleanup.detach(cell), cell, reason)
        waiting = self._stopped.pop(cell.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        if cell.parent is None:
            self._report_end(cell, reason)

    def _report_end(self, cell: Cell, reason: Exit) -> None:
        """Report to the root that a top-level actor must not start again with its host."""
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
        LOGGER.warning("a handler of %s still runs although it was cancelled", path)
