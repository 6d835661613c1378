"""The spawner of a host: it makes cells, numbers them, and adds them to their parents."""

import asyncio
import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.lifecycle import SHUT_DOWN, Exit
from callboard.messages.control.spec import (
    ChildSpec,
    Intensity,
    Restart,
    StopTimeout,
    SupervisorSpec,
)
from callboard.messages.core.errors import ActorStopped, CallboardError, SpecError

from ..actor import Actor, Behaviour, Handler, behaviour_of
from ..cell import Cell, Lifecycle, Recipe
from ..ports import CellHost, Children
from .children import CellChildren

__all__ = ["FIRST_LOCAL_CELL", "GUARDIAN", "Spawner"]

FIRST_LOCAL_CELL: Final = 1 << 32
"""The root gives the numbers below, so that a cell keeps its number when its host dies."""

GUARDIAN: Final = SupervisorSpec(intensity=Intensity(restarts=10_000, period_s=10.0))
"""How a host supervises its top-level actors. They are thousands and fail independently: the
back-off slows a crash loop down, and above this intensity the host itself fails."""


class Spawner:
    """Makes cells, and adds them to the children of their parents."""

    def __init__(self, host: CellHost[Cell], on_failed: Callable[[Exit], None] | None) -> None:
        self._host = host
        self._next_local = FIRST_LOCAL_CELL
        self._known: weakref.WeakSet[Behaviour] = weakref.WeakSet()
        self._on_failed = on_failed
        self._guardian: CellChildren | None = None
        self._all_stopped: asyncio.Future[None] | None = None
        self.comes_back = False
        """Whether the host stops for a restart, in another process."""
        self._specs: dict[tuple[Restart, StopTimeout | None], ChildSpec] = {}

    @property
    def guardian(self) -> CellChildren:
        """The child runner of the top-level actors."""
        if self._guardian is None:
            self._guardian = CellChildren(self._host, GUARDIAN, self._guardian_stopped)
        return self._guardian

    @property
    def is_stopping(self) -> bool:
        """Whether the whole host is being stopped."""
        return self._all_stopped is not None

    async def stop_all(self, *, comes_back: bool = False) -> None:
        """Stop all top-level actors in reverse order of their starts, and wait.

        With `comes_back`, another process will take over the slot with the same actors.
        """
        if self._guardian is None:
            return
        if self._all_stopped is None:
            self.comes_back = comes_back
            self._all_stopped = self._host.loop.create_future()
            self._guardian.supervisor.stop()
        await asyncio.shield(self._all_stopped)

    def _guardian_stopped(self, reason: Exit) -> None:
        self._guardian = None
        if self._all_stopped is not None:
            self._all_stopped.set_result(None)
            return
        if self._on_failed is not None:
            self._on_failed(reason)

    async def spawn(
        self,
        recipe: Recipe,
        parent: Cell | None,
        restart: Restart = Restart.TRANSIENT,
        stop_timeout: StopTimeout | None = None,
        number: int | None = None,
    ) -> Cell:
        """Start an actor and wait until it runs; raises what its start raises."""
        cell = self.begin(recipe, parent, restart, stop_timeout, number)
        await self.outcome(cell)
        return cell

    def begin(
        self,
        recipe: Recipe,
        parent: Cell | None,
        restart: Restart = Restart.TRANSIENT,
        stop_timeout: StopTimeout | None = None,
        number: int | None = None,
    ) -> Cell:
        """Begin to start an actor; `outcome` waits for the start.

        Raises `SpecError` when the class is no proper actor, `NameTaken` for its name.
        """
        host = self._host
        return self.begin_cell(
            lambda taken: recipe.make_cell(taken, host), parent, restart, stop_timeout, number
        )

    def begin_cell(
        self,
        make: Callable[[int], Cell],
        parent: Cell | None,
        restart: Restart = Restart.TRANSIENT,
        stop_timeout: StopTimeout | None = None,
        number: int | None = None,
    ) -> Cell:
        """Like `begin`, in the cell that `make` returns for a number."""
        if parent is None and self.is_stopping:
            raise self._stopping_error()
        cell = make(self.next_number() if number is None else number)
        if cell.behaviour not in self._known:
            self._learn(cell.behaviour)
        cell.parent = parent
        self.children_of(parent).add(cell, self.spec(restart, stop_timeout))
        return cell

    def begin_top_level(self, cell: Cell, spec: ChildSpec) -> None:
        """Begin to start a top-level actor that has a spec of its own."""
        try:
            if self.is_stopping:
                raise self._stopping_error()
            self.guardian.add(cell, spec)
        except CallboardError:
            self._host.termination.remove(cell, SHUT_DOWN)
            raise

    def is_plain(self, actor: type[Actor]) -> bool:
        """Whether actors of a class have no start hook, so that they run once they are made."""
        try:
            return not behaviour_of(actor).has_started_hook
        except SpecError:  # `begin` raises it.
            return False

    def begin_all(
        self, actor: type[Actor], entries: Sequence[tuple[int, Recipe]], spec: ChildSpec
    ) -> list[Cell]:
        """Begin to start top-level actors of a plain class, by their numbers; see `is_plain`.

        Like `begin` for each, at less than half the cost; it starts all of them or none.
        """
        if self.is_stopping:
            raise self._stopping_error()
        behaviour, dispatcher = behaviour_of(actor), self._host.dispatcher
        self.learn(behaviour)
        cells = [Cell(number, recipe, behaviour, dispatcher) for number, recipe in entries]
        self.guardian.add_all(cells, spec)
        return cells

    def learn(self, behaviour: Behaviour) -> None:
        """Register the contracts of an actor class that will run here."""
        if behaviour not in self._known:
            self._learn(behaviour)

    def install(self, recipe: Recipe, extra: Mapping[type, Handler]) -> None:
        """Run an actor in cell 0, without a supervisor.

        It handles `extra` too. Raises `SpecError` when its class already handles one of them.
        """
        behaviour = behaviour_of(recipe.actor).extended(extra)
        cell = Cell(CONTROL_CELL, recipe, behaviour, self._host.dispatcher)
        self._learn(behaviour)
        cell.actor = recipe.make()
        cell.lifecycle = Lifecycle.RUNNING
        self._host.cells[CONTROL_CELL] = cell

    async def outcome(self, cell: Cell) -> None:
        """Wait for the outcome of a cell's first start; raises `ActorStartFailed`."""
        failure = self._host.termination.start_failures.pop(cell.id, None)
        if failure is not None:
            raise failure
        await self.children_of(cell.parent).wait_started(cell)
        if type(cell) is not Cell:
            await cell.wait_members_started()

    def children_of(self, cell: Cell | None) -> Children[Cell]:
        """The children of a cell (made at first use), or of the host itself."""
        if cell is None:
            return self.guardian
        if cell.children is None:
            on_stopped = functools.partial(self._host.termination.children_stopped, cell)
            children = cell.make_children(on_stopped)
            if children is None:
                children = CellChildren(self._host, cell.supervision, on_stopped)
            cell.children = children
        return cell.children

    def _stopping_error(self) -> ActorStopped:
        return ActorStopped(
            f"host {self._host.name} is stopping.",
            advice="It starts no more actors: spawn on another host.",
            may_have_run=False,
        )

    def next_number(self) -> int:
        """A number for a cell that this host numbers itself; the root never gives it."""
        self._next_local += 1
        return self._next_local

    def _learn(self, behaviour: Behaviour) -> None:
        for row in list(behaviour.handlers.values()):
            self._host.contracts.learn(row.contract)
            if row.reply is not None:
                self._host.contracts.learn(row.reply)
            for kind in row.yields:
                self._host.contracts.learn(kind)
        self._known.add(behaviour)

    def spec(self, restart: Restart, stop_timeout: StopTimeout | None) -> ChildSpec:
        """The spec of an actor that has none of its own."""
        # Shared: a spec per actor would cost more than the actor's own state.
        spec = self._specs.get((restart, stop_timeout))
        if spec is None:
            spec = (
                ChildSpec("actor", restart=restart)
                if stop_timeout is None
                else ChildSpec("actor", restart=restart, stop_timeout=stop_timeout)
            )
            self._specs[restart, stop_timeout] = spec
        return spec
