"""How actors come to a host: cells, their numbers, their families, their contracts."""

import asyncio
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from callboard.messages.control import CONTROL_CELL
from callboard.messages.errors import ActorStartFailed, ActorStopped, CallboardError, SpecError
from callboard.messages.lifecycle import SHUT_DOWN, Exit
from callboard.messages.ref import Address
from callboard.messages.spec import ChildSpec, Intensity, Restart, StopTimeout, SupervisorSpec

from ..actor import Actor, Behaviour, behaviour_of
from ..cell import Cell, Life, Recipe
from ..family import Family
from ..keyed.keeper import Keeper, Keepership
from ..shard import PoolRecipe, Shard
from ..tree.branch import Branch, plant
from ..tree.spec import Node, TreeSpec, child_spec
from .warden import Warden, WardenRecipe

if TYPE_CHECKING:
    from .host import Host

__all__ = ["FIRST_LOCAL_CELL", "GUARDIAN", "Births"]

FIRST_LOCAL_CELL: Final = 1 << 32
"""Cells below are numbered by the root, so that they keep their number when their host dies."""

GUARDIAN: Final = SupervisorSpec(intensity=Intensity(restarts=10_000, period_s=10.0))
"""How a host supervises its top-level actors. They are thousands and fail independently;
what keeps a crash loop slow is the back-off, and what is beyond this is the host's own."""

POOL: Final = SupervisorSpec(intensity=Intensity(restarts=1_000, period_s=10.0))


class Births:
    """Makes cells and hands them to their families."""

    def __init__(self, host: "Host", on_failed: Callable[[Exit], None] | None) -> None:
        self._host = host
        self._next_local = FIRST_LOCAL_CELL
        self._known: set[Behaviour] = set()
        self._on_failed = on_failed
        self._guardian: Family | None = None
        self._all_stopped: asyncio.Future[None] | None = None
        self.comes_back = False
        """Whether the host is stopped only to be started again, in another process."""
        self._specs: dict[tuple[Restart, StopTimeout | None], ChildSpec] = {}

    @property
    def guardian(self) -> Family:
        """The family of the top-level actors."""
        if self._guardian is None:
            self._guardian = Family(self._host, GUARDIAN, self._guardian_stopped)
        return self._guardian

    @property
    def is_stopping(self) -> bool:
        """Whether the whole host is being stopped."""
        return self._all_stopped is not None

    async def stop_all(self, *, comes_back: bool = False) -> None:
        """Stop all top-level actors in reverse order of their starts, and wait.

        With `comes_back`, another process is to take the slot over with the same actors.
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
        """Begin to start an actor; `outcome` tells how it went.

        Raises `SpecError` when the class is no proper actor, `NameTaken` for its name.
        """
        host = self._host
        if parent is None and self.is_stopping:
            raise self._refusal()
        if isinstance(recipe, PoolRecipe):
            cell: Cell = Shard(
                self._number(number), recipe, behaviour_of(recipe.actor), host.dispatcher
            )
        else:
            make = Keeper if recipe.actor is Keepership else Cell
            cell = make(self._number(number), recipe, behaviour_of(recipe.actor), host.dispatcher)
        if cell.behaviour not in self._known:
            self._learn(cell.behaviour)
        cell.parent = parent
        self.family_of(parent).add(cell, self.spec(restart, stop_timeout))
        return cell

    def is_plain(self, actor: type[Actor]) -> bool:
        """Whether actors of a class are all there once they are made: no hook, no own cell."""
        try:
            return not behaviour_of(actor).has_started_hook and actor is not Keepership
        except SpecError:  # For whoever begins it.
            return False

    def begin_all(
        self, actor: type[Actor], births: Sequence[tuple[int, Recipe]], spec: ChildSpec
    ) -> list[Cell]:
        """Begin to start top-level actors of a plain class, by their numbers; see `is_plain`.

        As `begin` for each, at less than half the cost; all of them, or none.
        """
        if self.is_stopping:
            raise self._refusal()
        behaviour, dispatcher = behaviour_of(actor), self._host.dispatcher
        self.learn(behaviour)
        cells = [Cell(number, recipe, behaviour, dispatcher) for number, recipe in births]
        self.guardian.add_all(cells, spec)
        return cells

    def begin_child(self, make: Callable[[int], Cell], parent: Cell, restart: Restart) -> Cell:
        """Begin to start a child whose cell is of a kind of its own; see `outcome`."""
        cell = make(self._number(None))
        self.family_of(parent).add(cell, self.spec(restart, None))
        return cell

    def learn(self, behaviour: Behaviour) -> None:
        """Take in the contracts of an actor class that is going to run here."""
        if behaviour not in self._known:
            self._learn(behaviour)

    def begin_tree(
        self, tree: TreeSpec, number: int | None = None, places: Sequence[Address] = ()
    ) -> Cell:
        """Begin to start a tree, whose cells take numbers from `number` on; see `outcome`.

        Raises `SpecError` when a class in it is no proper actor, `NameTaken` for its name.
        """
        if self.is_stopping:
            raise self._refusal()
        branch = self.plant(tree, None, number, places)
        try:
            self.guardian.add(branch, child_spec(tree, "tree", tree.name))
        except CallboardError:
            self._host.endings.gone(branch, SHUT_DOWN)
            raise
        return branch

    def plant(
        self,
        node: Node,
        parent: Cell | None,
        number: int | None = None,
        places: Sequence[Address] = (),
    ) -> Cell:
        """The cells of a node and of all below it, known to this host and not started."""
        following = None if number is None else itertools.count(number)
        cell = plant(
            node,
            lambda: self._number(None if following is None else next(following)),
            self._host.dispatcher,
            parent,
            iter(places),
        )
        for planted in (cell, *(cell.cells_below() if isinstance(cell, Branch) else ())):
            if planted.behaviour not in self._known:
                self._learn(planted.behaviour)
        return cell

    def employ_warden(self) -> None:
        """Put the warden into cell 0. It has no family: nobody stops or restarts it."""
        host = self._host
        recipe = WardenRecipe(host)
        warden = Cell(CONTROL_CELL, recipe, behaviour_of(Warden), host.dispatcher)
        self.install(warden)

    def install(self, cell: Cell) -> None:
        """Run a cell of the kernel's own: outside all families."""
        self._learn(cell.behaviour)
        cell.actor = cell.recipe.make()
        cell.life = Life.RUNNING
        self._host.cells[cell.id] = cell

    async def outcome(self, cell: Cell) -> None:
        """Wait for the outcome of a cell's first start; raises `ActorStartFailed`."""
        failure = self._host.endings.start_failures.pop(cell.id, None)
        if failure is not None:
            raise failure
        await self.family_of(cell.parent).started(cell)
        if isinstance(cell, Shard):
            await self._members_started(cell)

    async def _members_started(self, shard: Shard) -> None:
        """Wait for a pool's agents; one that does not start ends its part of the pool."""
        members, shard.newborn = shard.newborn, []
        try:
            for member in members:
                await self.outcome(member)
        except ActorStartFailed:
            for member in members:
                self._host.endings.start_failures.pop(member.id, None)
            await self._host.stop_child(shard.parent, shard.id)
            raise

    def fill(self, shard: Shard) -> None:
        """Start the agents of a pool's part; called when the shard itself has started."""
        for _ in range(shard.recipe.size):
            shard.newborn.append(self.add_member(shard))

    def add_member(self, shard: Shard) -> Cell:
        """Begin to start one more agent of a pool's part; see `outcome`."""
        member = Cell(
            self._number(None), shard.recipe.member(), shard.behaviour, self._host.dispatcher
        )
        member.parent = shard
        member.shard = shard
        self.family_of(shard).add(member, self.spec(Restart.PERMANENT, None))
        return member

    def family_of(self, cell: Cell | None) -> Family:
        """The children of a cell (made at first use), or of the host itself."""
        if cell is None:
            return self.guardian
        if cell.children is None:
            branch = cell if isinstance(cell, Branch) else None
            if branch is not None:
                spec = branch.spec.supervisor
            else:
                spec = POOL if isinstance(cell, Shard) else cell.behaviour.actor.supervision
            on_stopped = functools.partial(self._host.endings.family_stopped, cell)
            cell.children = Family(self._host, spec, on_stopped, branch)
        return cell.children

    def _refusal(self) -> ActorStopped:
        return ActorStopped(
            f"host {self._host.name} is being stopped.",
            advice="Nothing is started on it any more.",
            may_have_run=False,
        )

    def _number(self, number: int | None) -> int:
        if number is not None:
            return number
        self._next_local += 1
        return self._next_local

    def _learn(self, behaviour: Behaviour) -> None:
        for row in list(behaviour.handlers.values()):
            self._host.contracts.learn(row.contract)
            if row.reply is not None:
                self._host.contracts.learn(row.reply)
        self._known.add(behaviour)

    def spec(self, restart: Restart, stop_timeout: StopTimeout | None) -> ChildSpec:
        """The spec of an actor that is none of a tree's."""
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
