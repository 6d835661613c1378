"""The child runner of actors: the children of one cell, or of the host, under one supervisor.

The supervisor decides; the child runner makes actors, stops cells, and reports back. Hosts
have another `ChildRunner` under the same supervisor core.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.spec import ChildId, ChildSpec, StopTimeout, SupervisorSpec
from callboard.messages.core.errors import ActorStartFailed, CallboardError, NameTaken, SpecError
from callboard.messages.core.names import check_name
from callboard.messages.ports import SupervisorPort, TimerHandle

from ..cell import Cell, Lifecycle
from ..circles.runs import HookRun
from ..failures import linked_exit_error
from ..interrupts import is_interrupt
from ..isolation import fresh_context
from ..ports import CellHost

__all__ = ["CellChildren"]


class CellChildren:
    """Carries out the decisions of one supervisor on cells."""

    __slots__ = (
        "_host",
        "_names",
        "_on_stopped",
        "_waiting",
        "cells",
        "spec",
        "supervisor",
    )

    def __init__(
        self, host: CellHost[Cell], spec: SupervisorSpec, on_stopped: Callable[[Exit], None]
    ) -> None:
        self._host = host
        self.spec = spec
        self._on_stopped = on_stopped
        self._names: dict[str, int] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.cells: dict[int, Cell] = {}
        """The children, in the order of their start."""
        self.supervisor: SupervisorPort = self._make_supervisor()

    def _make_supervisor(self) -> SupervisorPort:
        supervisor = self._host.make_supervisor(self.spec, self)
        supervisor.start()
        return supervisor

    def add(self, cell: Cell, spec: ChildSpec) -> None:
        """Start a child; `wait_started` waits for the outcome of its first start.

        Raises `NameTaken` when a living sibling has its name, and `SpecError` for a text that is
        no name.
        """
        name = cell.recipe.name
        if name is not None:
            check_name("the actor's name", name, field="name")
            if name in self._names:
                raise NameTaken(
                    f"{cell.path} exists already.", advice="Choose another name, or stop that one."
                )
            self._names[name] = cell.id
        self.cells[cell.id] = cell
        self._host.cells[cell.id] = cell
        try:
            self.supervisor.add_child(spec, cell.id)
        except CallboardError:
            self._forget(cell)
            self._host.cells.pop(cell.id, None)
            raise

    def add_all(self, cells: Sequence[Cell], spec: ChildSpec) -> None:
        """Start children that share a spec, and have neither names nor start hooks.

        Like `add` for each, at less than half the cost; it adds all of them or none.
        """
        numbers = [cell.id for cell in cells]
        added = dict(zip(numbers, cells, strict=True))
        self.cells.update(added)
        self._host.cells.update(added)
        try:
            self.supervisor.add_children(spec, numbers)
        except CallboardError:
            for cell in cells:
                self._forget(cell)
                self._host.cells.pop(cell.id, None)
            raise

    async def wait_started(self, cell: Cell) -> None:
        """Wait for the outcome of a first start; raises `ActorStartFailed`."""
        if cell.lifecycle == Lifecycle.STARTING and cell.id in self.cells:
            waiting = self._waiting.get(cell.id)
            if waiting is None:
                waiting = self._waiting[cell.id] = self._host.loop.create_future()
            await asyncio.shield(waiting)

    def start_awaited(self, cell: Cell) -> "asyncio.Future[None] | None":
        """What `wait_started` waits for; None when nobody has called it."""
        return self._waiting.get(cell.id)

    def child_failed(self, cell: Cell, reason: Exit) -> None:
        """A running child has failed or stopped itself; it has no actor any more."""
        self._host.meters.ended_actors.record_failure(cell, reason, self._host.now())
        self.supervisor.child_exited(cell.id, cell.incarnation, reason)

    def remove(self, cell: Cell) -> None:
        """Stop and forget one child."""
        self.supervisor.remove_child(cell.id)

    def patience_s(self) -> float:
        """How long an ordered stop of all children may take, each within its own timeout.

        A child without a timeout adds nothing: the timeout of the cell that stops it counts.
        """
        total_s = 0.0
        for number, timeout in self.supervisor.stop_timeouts():
            cell = self.cells.get(number) if isinstance(number, int) else None
            if not timeout.is_infinite:
                total_s += timeout.seconds
            if cell is not None and cell.children is not None:
                is_own = timeout.is_infinite or cell.children_stop_first
                total_s += cell.children.patience_s() if is_own else 0.0
        return total_s

    def is_declared(self, cell: Cell) -> bool:
        """Whether the supervisor's spec declares the child, so that it outlives its own end."""
        return False

    def stop_for_good(self, cell: Cell) -> None:
        """Refuse the messages that wait for a declared child, if the child stays down."""

    # --- ChildRunner ------------------------------------------------------------

    def start_child(self, child: ChildId, incarnation: int, spec: ChildSpec) -> None:
        """Make the actor of a cell, and run its start hook in a task, if it has one."""
        assert isinstance(child, int)
        cell = self.cells[child]
        is_first = not cell.incarnation
        cell.incarnation = incarnation
        cell.fence = self._host.fences.draw()
        cell.lifecycle = Lifecycle.STARTING
        if not is_first:
            self._host.meters.restarts += 1
        try:
            cell.actor = fresh_context().run(cell.recipe.make)
        except BaseException as error:
            if is_interrupt(error):
                raise
            self._start_failed(cell, incarnation, error, is_first=is_first)
            return
        cell.start(self, incarnation, is_first=is_first)

    def start_children(
        self, children: Sequence[ChildId], first_incarnation: int, spec: ChildSpec
    ) -> None:
        """Make the actors of the cells of `add_all`, which have no start hooks."""
        cells: Any = self.cells
        draw_fence = self._host.fences.draw
        for incarnation, child in enumerate(children, first_incarnation):
            cell = cells[child]
            cell.incarnation = incarnation
            cell.fence = draw_fence()
            try:
                cell.actor = fresh_context().run(cell.recipe.make)
            except BaseException as error:
                if is_interrupt(error):
                    raise
                self._start_failed(cell, incarnation, error, is_first=True)
                continue
            cell.lifecycle = Lifecycle.RUNNING
            if cell.mailbox:  # The constructor of another child has sent it a message.
                cell.schedule()
        # The supervisor skips the children whose start failed: it has forgotten them.
        self.supervisor.children_started(children, first_incarnation)

    def run_start_hook(self, cell: Cell, incarnation: int, *, is_first: bool) -> None:
        """Run the start hook of a child; the child runs once the hook has returned."""
        hook = self._run_started_hook(cell, incarnation, is_first=is_first)
        task = self._host.start_task(hook)
        self._host.termination.start_hooks[cell.id] = task
        self._host.dispatcher.runs[task] = HookRun(cell)

    async def _run_started_hook(self, cell: Cell, incarnation: int, *, is_first: bool) -> None:
        assert cell.actor is not None
        try:
            await cell.run_started(self._host.context(cell))
        except BaseException as error:
            if self._host.termination.ends_start(cell, error):
                raise
            self._start_failed(cell, incarnation, error, is_first=is_first)
            return
        finally:
            self._forget_hook(cell)
        if cell.incarnation == incarnation and cell.lifecycle == Lifecycle.STARTING:
            exit_signal = self._host.monitors.take_late_exit(cell)
            if exit_signal is not None:
                self.mark_start_failed(
                    cell, linked_exit_error(cell, exit_signal), is_first=is_first
                )
                return
            self.mark_running(cell, incarnation)

    def _forget_hook(self, cell: Cell) -> None:
        hooks = self._host.termination.start_hooks
        if hooks.get(cell.id) is asyncio.current_task(self._host.loop):
            del hooks[cell.id]

    def mark_running(self, cell: Cell, incarnation: int) -> None:
        """The start of a child has succeeded."""
        cell.lifecycle = Lifecycle.RUNNING
        waiting = self._waiting.pop(cell.id, None) if self._waiting else None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        self.supervisor.child_started(cell.id, incarnation)
        cell.wake()

    def _start_failed(
        self, cell: Cell, incarnation: int, error: BaseException, *, is_first: bool
    ) -> None:
        if cell.incarnation != incarnation or cell.lifecycle != Lifecycle.STARTING:
            return
        self.mark_start_failed(cell, cell.start_error(error), is_first=is_first)

    def mark_start_failed(self, cell: Cell, failure: ActorStartFailed, *, is_first: bool) -> None:
        """The start of a child has failed."""
        cell.actor = None
        waiting = self._waiting.pop(cell.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(failure)
            waiting.exception()  # Retrieved: the spawner may no longer wait for it.
        elif is_first and not self.is_declared(cell):
            self._host.termination.start_failures[cell.id] = failure
        reason = Exit.of_error(ExitReason.START_FAILED, failure)
        self._host.cleanup.discard_start(cell, reason)
        self._host.meters.ended_actors.record_failure(cell, reason, self._host.now())
        self.supervisor.child_start_failed(cell.id, cell.incarnation, reason)
        self.stop_for_good(cell)

    def stop_child(
        self,
        child: ChildId,
        incarnation: int,
        timeout: StopTimeout,
        reason: Exit,
        *,
        comes_back: bool,
    ) -> None:
        """Stop a cell in order and report its end."""
        assert isinstance(child, int)
        cell = self.cells[child]

        def stopped(outcome: Exit) -> None:
            self.supervisor.child_exited(child, incarnation, outcome)

        self._host.termination.stop(cell, timeout, reason, stopped, comes_back=comes_back)

    def child_gone(self, child: ChildId, reason: Exit) -> None:
        """A child has ended for good: remove its cell."""
        cell = self.cells.get(child) if isinstance(child, int) else None
        if cell is not None:
            self._record_end(cell, reason)
            self._forget(cell)
            self._host.termination.remove(cell, reason)

    def supervisor_started(self) -> None:
        """Every declared child runs; without declared children there is nothing to do."""

    def supervisor_stopped(self, reason: Exit) -> None:
        """All children have stopped; the owner decides what follows."""
        for cell in list(self.cells.values()):
            if self.is_declared(cell):
                self._forget(cell)  # Its owner keeps the cell, and decides about it later.
                continue
            if not self._host.spawner.is_stopping:
                self._record_end(cell, reason)
            self._forget(cell)
            self._host.termination.remove(cell, reason)
        self._on_stopped(reason)

    def set_timer(self, at_s: float, callback: Callable[[], None]) -> TimerHandle:
        """A timer of the host's event loop."""
        return self._host.loop.call_at(at_s, callback)

    def named(self, name: str) -> Cell | None:
        """The child of that name."""
        return self.cells.get(self._names.get(name, -1))

    def _record_end(self, cell: Cell, reason: Exit) -> None:
        history = self.supervisor.history(cell.id).entries
        self._host.meters.ended_actors.record_end(cell, reason, self._host.now(), history)

    def _forget(self, cell: Cell) -> None:
        self.cells.pop(cell.id, None)
        name = cell.recipe.name
        if name is not None and self._names.get(name) == cell.id:
            del self._names[name]
        waiting: Any = self._waiting.pop(cell.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(
                SpecError(f"{cell.path} was stopped before it started.", advice="Spawn it again.")
            )
            waiting.exception()
