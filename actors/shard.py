"""A shard: one host's part of a pool. Its agents take work from one common mailbox.

A message to the shard goes to whichever agent is idle, so no agent has a queue of its
own behind which work could be stuck. The shard itself handles nothing: agents take from
its mailbox by reference, and replies go straight from the agent to the asker.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from callboard.messages.errors import ActorStartFailed

from .actor import Actor, Behaviour
from .cell import Cell, Life, Recipe
from .mailbox import put_first

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["PoolRecipe", "Shard"]


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
        """The shard's own actor, which handles nothing."""
        return Actor()

    def member(self) -> Recipe:
        """How to make one agent."""
        return Recipe(self.actor, self.args, self.keywords)


class LeavingAgents:
    """In the place of their shard, for agents that finish what they do and then end."""

    def __init__(self, shard: "Shard") -> None:
        self._shard = shard
        self.members: dict[int, Cell] = {}

    def take(self) -> None:
        """No more work for them."""

    def member_ready(self, member: Cell) -> None:
        """An agent has nothing more of its own to do: it ends with its last handler."""
        if member.is_quiet and not member.box and self.members.pop(member.id, None) is not None:
            self._shard.dispatcher.host.family_of(self._shard).remove(member)
            self._shard.check_drained()


class Shard(Cell):
    """The cell of a pool's part: a mailbox that many cells serve."""

    __slots__ = ("_drained", "_idle", "_leaving", "newborn")

    recipe: PoolRecipe

    def __init__(
        self, number: int, recipe: PoolRecipe, behaviour: Behaviour, dispatcher: "Dispatcher"
    ) -> None:
        super().__init__(number, recipe, behaviour, dispatcher)
        # Never scheduled itself: `free` stays 0, its members run its messages.
        self.free = 0
        # In the order in which they fell idle; each once, also when it may do several at once.
        self._idle: dict[Cell, None] = {}
        self._leaving = LeavingAgents(self)
        self._drained: asyncio.Future[None] | None = None
        self.newborn: list[Cell] = []
        """Agents whose first start has not been asked after yet."""

    def put(self, item: Any) -> None:
        """Take a message and wake an idle agent for it."""
        super().put(item)
        if self._idle and self.box:
            self._wake_one()

    def arrive(self, item: Any) -> bool:
        """Like `put`, for what came over a link."""
        over = super().arrive(item)
        if over and self._idle:
            self._wake_one()
        return over

    @property
    def is_quiet(self) -> bool:
        """A shard runs no handler itself."""
        return True

    def began(self) -> None:
        """Start the agents."""
        self._idle.clear()
        self._leaving = LeavingAgents(self)
        self.newborn = []
        self.dispatcher.host.births.fill(self)

    def member_ready(self, member: Cell) -> None:
        """An agent has nothing to do: give it work, or remember it."""
        if member.life != Life.RUNNING or member.queued or not member.free:
            return
        if self.box:
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
        before, self.recipe.size = self.recipe.size, size
        members = self._members()
        for member in (*members[size:],):
            self._let_go(member)
        births = self.dispatcher.host.births
        added = [births.add_member(self) for _ in range(size - len(members))]
        try:
            for member in added:
                await births.outcome(member)
        except ActorStartFailed:
            self.recipe.size = before
            for member in added:
                self.dispatcher.host.endings.start_failures.pop(member.id, None)
                self._let_go(member)
            raise

    async def drained(self) -> None:
        """Wait until nothing waits here and no agent works."""
        while not self._is_drained():
            if self._drained is None:
                self._drained = self.dispatcher.loop.create_future()
            await asyncio.shield(self._drained)

    def check_drained(self) -> None:
        """End the wait of `drained` when nothing waits or runs here any more."""
        if self._drained is not None and self._is_drained():
            self._drained.set_result(None)
            self._drained = None

    def ended(self) -> None:
        """It is gone for good, and all its agents are."""
        self.check_drained()

    def _is_drained(self) -> bool:
        members = () if self.children is None else self.children.cells.values()
        return not self.box and all(member.is_quiet and not member.box for member in members)

    def _members(self) -> list[Cell]:
        """The agents that stay, those with something to do first."""
        family = self.children
        cells = () if family is None else family.cells.values()
        staying = [cell for cell in cells if cell.id not in self._leaving.members]
        return sorted(staying, key=lambda cell: cell in self._idle)

    def _let_go(self, member: Cell) -> None:
        """Let an agent take nothing more, and end when it has done what it has."""
        family = self.children
        if family is None or member.id not in family.cells:
            return
        self._idle.pop(member, None)
        put_first(self, self.dispatcher.stashes.take(member))
        self._leaving.members[member.id] = member
        member.shard = self._leaving
        self._leaving.member_ready(member)
        if self.box and self._idle:
            self._wake_one()

    def turn_over(self) -> None:
        """Never called: a shard has no turn of its own."""

    @property
    def idle(self) -> int:
        """How many agents have nothing to do."""
        return len(self._idle)

    def _wake_one(self) -> None:
        while self._idle:
            member = next(iter(self._idle))
            del self._idle[member]
            if member.life == Life.RUNNING and not member.queued and member.free:
                member.queued = True
                self.dispatcher.enqueue(member)
                return
