"""A shard: one host's part of a pool. Its agents take work from one common mailbox.

A message to the shard goes to whichever agent is idle, so no agent has a queue of its
own behind which work could be stuck. The shard itself handles nothing: agents take from
its mailbox by reference, and replies go straight from the agent to the asker.
"""

from typing import TYPE_CHECKING, Any

from .actor import Actor, Behaviour
from .cell import Cell, Life, Recipe

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["PoolRecipe", "Shard"]


class PoolRecipe(Recipe):
    """How to make one host's part of a pool: an agent, and how many of it."""

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


class Shard(Cell):
    """The cell of a pool's part: a mailbox that many cells serve."""

    __slots__ = ("_idle", "newborn")

    def __init__(
        self, number: int, recipe: PoolRecipe, behaviour: Behaviour, dispatcher: "Dispatcher"
    ) -> None:
        super().__init__(number, recipe, behaviour, dispatcher)
        # Never scheduled itself: `free` stays 0, its members run its messages.
        self.free = 0
        # In the order in which they fell idle; each once, also when it may do several at once.
        self._idle: dict[Cell, None] = {}
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
