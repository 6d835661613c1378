"""A family: the children of one cell (or of the host itself), under one supervisor.

The supervisor decides, the family performs: it makes actors, stops cells, and reports
back. It is the `ChildRunner` of actors; hosts have another one with the same core.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from callboard.messages.errors import CallboardError, NameTaken, SpecError
from callboard.messages.lifecycle import Exit, ExitReason
from callboard.messages.ports import SupervisorPort, TimerHandle
from callboard.messages.spec import ChildId, ChildSpec, StopTimeout, SupervisorSpec

from .cell import Cell, Life
from .failures import is_being_cancelled, start_failed

if TYPE_CHECKING:
    from .host.host import Host

__all__ = ["Family"]


class Family:
    """Performs one supervisor's decisions on cells."""

    __slots__ = ("_host", "_names", "_on_stopped", "_waiting", "cells", "supervisor")

    def __init__(
        self, host: "Host", spec: SupervisorSpec, on_stopped: Callable[[Exit], None]
    ) -> None:
        self._host = host
        self._on_stopped = on_stopped
        self._names: dict[str, int] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.cells: dict[int, Cell] = {}
        """The children, in the order of their start."""
        self.supervisor: SupervisorPort = host.make_supervisor(spec, self)
        self.supervisor.start()

    def add(self, cell: Cell, spec: ChildSpec) -> None:
        """Start a child; the outcome of its first start is what `started` waits for.

        Raises `NameTaken` when a living sibling has its name.
        """
        name = cell.recipe.name
        if name is not None:
            if name in self._names:
                raise NameTaken(
                    f"{cell.path} lives already.", advice="Choose another name, or stop that one."
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

    async def started(self, cell: Cell) -> None:
        """Wait for the outcome of a first start; raises `ActorStartFailed`."""
        if cell.life == Life.STARTING and cell.id in self.cells:
            waiting = self._waiting.get(cell.id)
            if waiting is None:
                waiting = self._waiting[cell.id] = self._host.loop.create_future()
            await asyncio.shield(waiting)

    def failed(self, cell: Cell, reason: Exit) -> None:
        """A running child failed; its actor is gone already."""
        self.supervisor.child_exited(cell.id, cell.incarnation, reason)

    def remove(self, cell: Cell) -> None:
        """Stop and forget one child."""
        self.supervisor.remove_child(cell.id)

    # --- ChildRunner ------------------------------------------------------------

    def start_child(self, child: ChildId, incarnation: int, spec: ChildSpec) -> None:
        """Make the actor of a cell: at once, or in a task when it has a start hook."""
        assert isinstance(child, int)
        cell = self.cells[child]
        is_first = not cell.incarnation
        cell.incarnation = incarnation
        cell.life = Life.STARTING
        try:
            cell.actor = cell.recipe.make()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a constructor may raise anything
            self._start_failed(cell, incarnation, error, is_first=is_first)
            return
        if cell.behaviour.has_started_hook:
            self._host.run_task(self._run_started_hook(cell, incarnation, is_first=is_first))
        else:
            self._running(cell, incarnation)

    async def _run_started_hook(self, cell: Cell, incarnation: int, *, is_first: bool) -> None:
        assert cell.actor is not None
        try:
            await cell.actor.started(self._host.context(cell))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if is_being_cancelled(error):
                raise
            self._start_failed(cell, incarnation, error, is_first=is_first)
            return
        if cell.incarnation == incarnation and cell.life == Life.STARTING:
            self._running(cell, incarnation)

    def _running(self, cell: Cell, incarnation: int) -> None:
        cell.life = Life.RUNNING
        waiting = self._waiting.pop(cell.id, None) if self._waiting else None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        self.supervisor.child_started(cell.id, incarnation)
        cell.began()

    def _start_failed(
        self, cell: Cell, incarnation: int, error: BaseException, *, is_first: bool
    ) -> None:
        if cell.incarnation != incarnation:
            return
        cell.actor = None
        failure = start_failed(cell, error)
        waiting = self._waiting.pop(cell.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(failure)
            waiting.exception()  # Retrieved here: the spawner may have given up waiting.
        elif is_first:
            self._host.endings.start_failures[cell.id] = failure
        self.supervisor.child_start_failed(
            cell.id, incarnation, Exit.of_error(ExitReason.START_FAILED, failure)
        )

    def stop_child(
        self, child: ChildId, incarnation: int, timeout: StopTimeout, reason: Exit
    ) -> None:
        """Stop a cell in order and report it."""
        assert isinstance(child, int)
        cell = self.cells[child]

        def stopped(outcome: Exit) -> None:
            self.supervisor.child_exited(child, incarnation, outcome)

        self._host.stop_cell(cell, timeout, reason, stopped)

    def child_gone(self, child: ChildId, reason: Exit) -> None:
        """A child ended for good: its messages are dead letters now."""
        cell = self.cells.get(child) if isinstance(child, int) else None
        if cell is not None:
            self._forget(cell)
            self._host.cell_gone(cell, reason)

    def supervisor_stopped(self, reason: Exit) -> None:
        """All children have stopped; the owner decides what that means."""
        for cell in list(self.cells.values()):
            self._forget(cell)
            self._host.cell_gone(cell, reason)
        self._on_stopped(reason)

    def set_timer(self, at_s: float, callback: Callable[[], None]) -> TimerHandle:
        """A timer of the host's event loop."""
        return self._host.loop.call_at(at_s, callback)

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
