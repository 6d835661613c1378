"""A pool cell: one host's part of a pool. Its agents take work from one common mailbox.

A message to the pool cell goes to whichever agent is idle, so no agent has a queue of its
own behind which work could be stuck. The pool cell itself handles nothing: agents take from
its mailbox by reference, and replies go straight from the agent to the asker.
"""

import asyncio
from typing import Any, Final

from callboard.messages.control.control_plane import (
    ActorDrained,
    DrainActor,
    PartResized,
    ResizePart,
)
from callboard.messages.control.spec import Intensity, Restart, SupervisorSpec
from callboard.messages.core.errors import ActorStartFailed

from ..kernel.actor import Actor, Behaviour, behaviour_of, handler
from ..kernel.cell import Cell, Lifecycle, Recipe
from ..kernel.context import Context
from ..kernel.host.extension import Extension
from ..kernel.ports import CellDispatcher, CellHost, Children, RoleHost

__all__ = ["PoolCell", "PoolRecipe", "Pools"]

POOL: Final = SupervisorSpec(intensity=Intensity(restarts=1_000, period_s=10.0))


class PoolRecipe(Recipe):
    """How to make one host's part of a pool: an agent, and how many of it.

    The size changes when the pool is resized: the part's next incarnation has the new one.
    """

    __slots__ = ("size",)

    def __init__(
        self,
        actor: type[Actor],
        args: tuple[Any, ...],
        keywords: dict[str, Any] | None,
        name: str | None,
        size: int,
    ) -> None:
        super().__init__(actor, args, keywords, name)
        self.size = size

    def make(self) -> Actor:
        """The pool cell's own actor, which handles nothing."""
        return Actor()

    def make_cell(self, number: int, host: CellHost[Cell]) -> "PoolCell":
        """The common mailbox. Raises `SpecError` when the agent is no proper actor."""
        return PoolCell(number, self, behaviour_of(self.actor), host.dispatcher)

    def member(self) -> Recipe:
        """How to make one agent."""
        return Recipe(self.actor, self.args, self.keywords)


class LeavingAgents:
    """In the place of their pool cell, for agents that finish what they do and then end."""

    def __init__(self, pool_cell: "PoolCell") -> None:
        self._shard = pool_cell
        self.members: dict[int, Cell] = {}

    def take(self) -> None:
        """No more work for them."""

    def member_ready(self, member: Cell) -> None:
        """An agent has nothing more of its own to do: it ends with its last handler."""
        if member.is_quiet and not member.mailbox and self.members.pop(member.id, None) is not None:
            self._shard.host.children_of(self._shard).remove(member)
            self._shard.check_drained()


class PoolCell(Cell):
    """The cell of a pool's part: a mailbox that many cells serve."""

    __slots__ = ("_drained", "_idle", "_is_filled", "_leaving", "_newborn", "_recipe")

    def __init__(
        self,
        number: int,
        recipe: PoolRecipe,
        behaviour: Behaviour,
        dispatcher: CellDispatcher[Cell],
    ) -> None:
        super().__init__(number, recipe, behaviour, dispatcher)
        self._recipe = recipe
        # Never scheduled itself: `free` stays 0, its members run its messages.
        self.free = 0
        # In the order in which they fell idle; each once, also when it may do several at once.
        self._idle: dict[Cell, None] = {}
        self._leaving = LeavingAgents(self)
        self._drained: asyncio.Future[None] | None = None
        self._newborn: list[Cell] = []
        """Agents whose first start has not been asked after yet."""
        self._is_filled = False
        """Whether the start under way has started the agents already."""

    def put(self, item: Any) -> None:
        """Take a message and wake an idle agent for it."""
        super().put(item)
        if self._idle and self.mailbox:
            self._wake_one()

    def arrive(self, item: Any) -> bool:
        """Like `put`, for what came over a link."""
        over = super().arrive(item)
        if over and self._idle:
            self._wake_one()
        return over

    @property
    def is_quiet(self) -> bool:
        """A pool cell runs no handler itself."""
        return True

    @property
    def supervision(self) -> SupervisorSpec:
        """How its agents are supervised."""
        return POOL

    # --- the start of its agents --------------------------------------------------------------

    def start(self, children: Children[Cell], incarnation: int, *, is_first: bool) -> None:
        """A declared pool runs once all its agents do, any other at once."""
        if children.is_declared(self):
            children.run_start_hook(self, incarnation, is_first=is_first)
        else:
            children.mark_running(self, incarnation)

    async def run_started(self, ctx: Context) -> None:
        """Start the agents of a declared pool, and wait for them."""
        self._fill()
        self._is_filled = True
        try:
            await self._members_started()
        except ActorStartFailed:
            await self.host.termination.stop_children(self)
            self.children = None
            raise

    def wake(self) -> None:
        """Start the agents, unless that has been waited for."""
        if not self._is_filled:
            self._fill()
        self._is_filled = False

    async def wait_members_started(self) -> None:
        """Wait for the agents; one that does not start ends this part of the pool."""
        try:
            await self._members_started()
        except ActorStartFailed:
            await self.host.termination.stop_child(self.parent, self.id)
            raise

    def start_error(self, error: BaseException) -> ActorStartFailed:
        """That of the agent that did not start."""
        return error if isinstance(error, ActorStartFailed) else super().start_error(error)

    def _fill(self) -> None:
        self._idle.clear()
        self._leaving = LeavingAgents(self)
        self._newborn = [self._add_member() for _ in range(self._recipe.size)]

    def _add_member(self) -> Cell:
        return self.host.spawner.begin_cell(self._member, self, Restart.PERMANENT)

    def _member(self, number: int) -> Cell:
        member = Cell(number, self._recipe.member(), self.behaviour, self.dispatcher)
        member.shared = self
        return member

    async def _members_started(self) -> None:
        members, self._newborn = self._newborn, []
        try:
            for member in members:
                await self.host.spawner.outcome(member)
        except ActorStartFailed:
            for member in members:
                self.host.termination.start_failures.pop(member.id, None)
            raise

    # --- work ---------------------------------------------------------------------------------

    def member_ready(self, member: Cell) -> None:
        """An agent has nothing to do: give it work, or remember it."""
        if member.lifecycle != Lifecycle.RUNNING or member.queued or not member.free:
            return
        if self.mailbox:
            member.queued = True
            self.dispatcher.enqueue(member)
        else:
            self._idle[member] = None
            self.check_drained()

    async def resize(self, size: int) -> None:
        """Have so many agents: more start now; those too many end after what they do.

        Raises `ActorStartFailed` when one does not start: the others that were to come are
        stopped, and the part keeps the size it had.
        """
        before, self._recipe.size = self._recipe.size, size
        members = self._members()
        for member in members[size:]:
            self._let_go(member)
        added = [self._add_member() for _ in range(size - len(members))]
        try:
            for member in added:
                await self.host.spawner.outcome(member)
        except ActorStartFailed:
            self._recipe.size = before
            for member in added:
                self.host.termination.start_failures.pop(member.id, None)
                self._let_go(member)
            raise

    async def drained(self) -> None:
        """Wait until nothing waits here and no agent works."""
        while not self._is_drained():
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def check_drained(self) -> None:
        """End the wait of `drained` when nothing waits or runs here any more."""
        if self._drained is not None and self._is_drained():
            self._drained.set_result(None)
            self._drained = None

    def on_removed(self) -> None:
        """It is gone for good, and all its agents are."""
        self.check_drained()

    def _is_drained(self) -> bool:
        members = () if self.children is None else self.children.cells.values()
        return not self.mailbox and all(
            member.is_quiet and not member.mailbox for member in members
        )

    def _members(self) -> list[Cell]:
        """The agents that stay, those with something to do first."""
        children = self.children
        cells = () if children is None else children.cells.values()
        staying = [cell for cell in cells if cell.id not in self._leaving.members]
        return sorted(staying, key=lambda cell: cell in self._idle)

    def _let_go(self, member: Cell) -> None:
        """Let an agent take nothing more, and end when it has done what it has."""
        children = self.children
        if children is None or member.id not in children.cells:
            return
        self._idle.pop(member, None)
        self.put_first(self.dispatcher.stashes.take(member))
        self._leaving.members[member.id] = member
        member.shared = self._leaving
        self._leaving.member_ready(member)
        if self.mailbox and self._idle:
            self._wake_one()

    def end_turn(self) -> None:
        """Never called: a pool cell has no turn of its own."""

    @property
    def idle(self) -> int:
        """How many agents have nothing to do."""
        return len(self._idle)

    def _wake_one(self) -> None:
        while self._idle:
            member = next(iter(self._idle))
            del self._idle[member]
            if member.lifecycle == Lifecycle.RUNNING and not member.queued and member.free:
                member.queued = True
                self.dispatcher.enqueue(member)
                return


class Pools(Extension):
    """The pools of one host: what its cell 0 answers about their parts."""

    def __init__(self, host: RoleHost[Cell]) -> None:
        self._host = host

    @handler
    async def resize_part(self, command: ResizePart) -> PartResized:
        """Let more or fewer agents serve a part of a pool. Raises `ActorStartFailed`."""
        part = self._part(command.cell)
        if part is not None:
            await part.resize(command.size)
        return PartResized()

    @handler
    async def drain(self, command: DrainActor) -> ActorDrained:
        """Wait until a part of a pool has handled what it has."""
        part = self._part(command.cell)
        if part is not None:
            await part.drained()
        return ActorDrained()

    def _part(self, number: int) -> PoolCell | None:
        part = self._host.cells.get(number)
        return part if isinstance(part, PoolCell) else None
