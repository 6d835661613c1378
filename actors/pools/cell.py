"""A pool cell: one host's part of a pool. Its agents take work from one common mailbox.

A message to the pool cell goes to an idle agent. No agent has a queue of its own, so no message
waits behind a slow one. The pool cell itself handles nothing: agents take from its mailbox by
reference, and reply directly to the asker.
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
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import ActorStartFailed

from ..kernel.actor import Actor, Behaviour, behaviour_of, handler
from ..kernel.cell import Cell, Lifecycle, Recipe
from ..kernel.context import Context
from ..kernel.host.extension import Extension
from ..kernel.ports import CellDispatcher, CellHost, Children, RoleHost

__all__ = ["PoolCell", "PoolRecipe", "Pools"]

POOL_SUPERVISION: Final = SupervisorSpec(intensity=Intensity(restarts=1_000, period_s=10.0))


class PoolRecipe(Recipe):
    """How to make one host's part of a pool: its agent and its size.

    A resize changes the size here, so the part's next incarnation has the new size.
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
        """Make the pool cell. Raises `SpecError` when the agent is not a valid actor."""
        return PoolCell(number, self, behaviour_of(self.actor), host.dispatcher)

    def member(self) -> Recipe:
        """How to make one agent."""
        return Recipe(self.actor, self.args, self.keywords)


class LeavingAgents:
    """Replaces the pool cell for dismissed agents: they finish their handlers and then end."""

    def __init__(self, pool_cell: "PoolCell") -> None:
        self._pool_cell = pool_cell
        self.members: dict[int, Cell] = {}

    def take(self) -> None:
        """Give no more work."""

    def member_ready(self, member: Cell) -> None:
        """Remove an agent that has nothing more to do."""
        if member.is_quiet and not member.mailbox and self.members.pop(member.id, None) is not None:
            self._pool_cell.host.children_of(self._pool_cell).remove(member)
            self._pool_cell.check_drained()


class PoolCell(Cell):
    """The cell of a pool on one host: a mailbox that many cells serve."""

    __slots__ = ("_drained", "_idle", "_is_filled", "_leaving", "_recipe", "_starting")

    def __init__(
        self,
        number: int,
        recipe: PoolRecipe,
        behaviour: Behaviour,
        dispatcher: CellDispatcher[Cell],
    ) -> None:
        super().__init__(number, recipe, behaviour, dispatcher)
        self._recipe = recipe
        # The dispatcher never schedules it: `free` stays 0, its agents run its messages.
        self.free = 0
        # In the order in which they became idle; each once, even when it has several workers.
        self._idle: dict[Cell, None] = {}
        self._leaving = LeavingAgents(self)
        self._drained: asyncio.Future[None] | None = None
        self._starting: list[Cell] = []
        """New agents; nothing has awaited their first start yet."""
        self._is_filled = False
        """Whether the running start has already started the agents."""

    def put(self, item: Any) -> None:
        """Take a message and wake an idle agent for it."""
        super().put(item)
        if self._idle and self.mailbox:
            self._wake_one()

    def arrive(self, item: Any) -> bool:
        """Like `put`, for a message from a link."""
        over = super().arrive(item)
        if over and self._idle:
            self._wake_one()
        return over

    @property
    def is_blocked(self) -> bool:
        """Whether no agent is idle."""
        return not self._idle

    def is_handled_by(self, cell: Cell, message: Contract) -> bool:
        """Whether `cell` is one of the agents."""
        return cell.parent is self

    def handled_at_once(self, message: Contract) -> int:
        """How many messages all agents together may handle."""
        agents = 0 if self.children is None else len(self.children.cells)
        return agents * self.behaviour.concurrency

    @property
    def is_quiet(self) -> bool:
        """True: a pool cell runs no handler itself."""
        return True

    @property
    def supervision(self) -> SupervisorSpec:
        """The supervisor spec of its agents."""
        return POOL_SUPERVISION

    # --- the start of its agents --------------------------------------------------------------

    def start(self, children: Children[Cell], incarnation: int, *, is_first: bool) -> None:
        """Start the pool: a declared pool runs once all its agents do, any other at once."""
        if children.is_declared(self):
            children.run_start_hook(self, incarnation, is_first=is_first)
        else:
            children.mark_running(self, incarnation)

    async def run_started(self, ctx: Context) -> None:
        """Start the agents of a declared pool and wait for them."""
        self._fill()
        self._is_filled = True
        try:
            await self._await_members()
        except ActorStartFailed:
            await self.host.termination.stop_children(self)
            self.children = None
            raise

    def wake(self) -> None:
        """Start the agents, unless the start hook has done so."""
        if not self._is_filled:
            self._fill()
        self._is_filled = False

    async def wait_members_started(self) -> None:
        """Wait for the agents; end this part of the pool when one does not start."""
        try:
            await self._await_members()
        except ActorStartFailed:
            await self.host.termination.stop_child(self.parent, self.id)
            raise

    def start_error(self, error: BaseException) -> ActorStartFailed:
        """The error of the agent that did not start."""
        return error if isinstance(error, ActorStartFailed) else super().start_error(error)

    def _fill(self) -> None:
        self._idle.clear()
        self._leaving = LeavingAgents(self)
        self._starting = [self._add_member() for _ in range(self._recipe.size)]

    def _add_member(self) -> Cell:
        return self.host.spawner.begin_cell(self._member, self, Restart.PERMANENT)

    def _member(self, number: int) -> Cell:
        member = Cell(number, self._recipe.member(), self.behaviour, self.dispatcher)
        member.shared = self
        return member

    async def _await_members(self) -> None:
        members, self._starting = self._starting, []
        try:
            for member in members:
                await self.host.spawner.outcome(member)
        except ActorStartFailed:
            for member in members:
                self.host.termination.start_failures.pop(member.id, None)
            raise

    # --- work ---------------------------------------------------------------------------------

    def member_ready(self, member: Cell) -> None:
        """Give an idle agent work, or note that it is idle."""
        if member.lifecycle != Lifecycle.RUNNING or member.queued or not member.free:
            return
        if self.mailbox:
            member.queued = True
            self.dispatcher.enqueue(member)
        else:
            self._idle[member] = None
            self.check_drained()

    async def resize(self, size: int) -> None:
        """Change the number of agents: start more, or let surplus agents finish and end.

        Raises `ActorStartFailed` when a new agent does not start. The other new agents then
        stop, and the part keeps its size.
        """
        before, self._recipe.size = self._recipe.size, size
        members = self._members()
        for member in members[size:]:
            self._dismiss(member)
        added = [self._add_member() for _ in range(size - len(members))]
        try:
            for member in added:
                await self.host.spawner.outcome(member)
        except ActorStartFailed:
            self._recipe.size = before
            for member in added:
                self.host.termination.start_failures.pop(member.id, None)
                self._dismiss(member)
            raise

    async def wait_until_drained(self) -> None:
        """Wait until the mailbox is empty and no agent works."""
        while not self._is_drained():
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def check_drained(self) -> None:
        """End the wait of `wait_until_drained` when the mailbox is empty and no agent works."""
        if self._drained is not None and self._is_drained():
            self._drained.set_result(None)
            self._drained = None

    def on_removed(self) -> None:
        """The pool cell and all its agents have ended for good."""
        self.check_drained()

    def _is_drained(self) -> bool:
        members = () if self.children is None else self.children.cells.values()
        return not self.mailbox and all(
            member.is_quiet and not member.mailbox for member in members
        )

    def _members(self) -> list[Cell]:
        """The agents that stay, busy agents first."""
        children = self.children
        cells = () if children is None else children.cells.values()
        staying = [cell for cell in cells if cell.id not in self._leaving.members]
        return sorted(staying, key=lambda cell: cell in self._idle)

    def _dismiss(self, member: Cell) -> None:
        """Give an agent no more messages, and end it when its handlers are done."""
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
        """The number of idle agents."""
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
    """The pools of one host: the requests about their parts that cell 0 answers."""

    def __init__(self, host: RoleHost[Cell]) -> None:
        self._host = host

    @handler
    async def resize_part(self, command: ResizePart) -> PartResized:
        """Change the number of agents of a part. Raises `ActorStartFailed`."""
        part = self._part(command.cell)
        if part is not None:
            await part.resize(command.size)
        return PartResized()

    @handler
    async def drain(self, command: DrainActor) -> ActorDrained:
        """Wait until a part of a pool has handled all its messages."""
        part = self._part(command.cell)
        if part is not None:
            await part.wait_until_drained()
        return ActorDrained()

    def _part(self, number: int) -> PoolCell | None:
        part = self._host.cells.get(number)
        return part if isinstance(part, PoolCell) else None
