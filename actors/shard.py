"""A shard: one host's part of a pool. Its agents take work from one common mailbox.

A message to the shard goes to whichever agent is idle, so no agent has a queue of its
own behind which work could be stuck. The shard itself handles nothing: agents take from
its mailbox by reference, and replies go straight from the agent to the asker.
"""

from typing import Any, Final

from callboard.messages.errors import ActorStartFailed
from callboard.messages.spec import Intensity, Restart, SupervisorSpec

from .actor import Actor, Behaviour, behaviour_of
from .cell import Cell, Life, Recipe
from .context import Context
from .host.ports import CellDispatcher, CellHost, Children

__all__ = ["PoolRecipe", "Shard"]

POOL: Final = SupervisorSpec(intensity=Intensity(restarts=1_000, period_s=10.0))


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

    def make_cell(self, number: int, host: CellHost[Cell]) -> "Shard":
        """The common mailbox. Raises `SpecError` when the agent is no proper actor."""
        return Shard(number, self, behaviour_of(self.actor), host.dispatcher)

    def member(self) -> Recipe:
        """How to make one agent."""
        return Recipe(self.actor, self.args, self.keywords)


class Shard(Cell):
    """The cell of a pool's part: a mailbox that many cells serve."""

    __slots__ = ("_idle", "_is_filled", "_newborn", "_recipe")

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
        self._newborn: list[Cell] = []
        """Agents whose first start has not been asked after yet."""
        self._is_filled = False
        """Whether the start under way has started the agents already."""

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

    @property
    def supervision(self) -> SupervisorSpec:
        """How its agents are supervised."""
        return POOL

    # --- the start of its agents --------------------------------------------------------------

    def start(self, family: Children[Cell], incarnation: int, *, is_first: bool) -> None:
        """A declared pool runs once all its agents do, any other at once."""
        if family.is_member(self):
            family.run_start_hook(self, incarnation, is_first=is_first)
        else:
            family.runs(self, incarnation)

    async def run_started(self, ctx: Context) -> None:
        """Start the agents of a declared pool, and wait for them."""
        self._fill()
        self._is_filled = True
        try:
            await self._members_started()
        except ActorStartFailed:
            await self.host.endings.stop_children(self)
            self.children = None
            raise

    def began(self) -> None:
        """Start the agents, unless that has been waited for."""
        if not self._is_filled:
            self._fill()
        self._is_filled = False

    async def all_started(self) -> None:
        """Wait for the agents; one that does not start ends this part of the pool."""
        try:
            await self._members_started()
        except ActorStartFailed:
            await self.host.endings.stop_child(self.parent, self.id)
            raise

    def start_failure(self, error: BaseException) -> ActorStartFailed:
        """That of the agent that did not start."""
        return error if isinstance(error, ActorStartFailed) else super().start_failure(error)

    def _fill(self) -> None:
        self._idle.clear()
        self._newborn = []
        for _ in range(self._recipe.size):
            self.host.births.begin_cell(self._member, self, Restart.PERMANENT)

    def _member(self, number: int) -> Cell:
        member = Cell(number, self._recipe.member(), self.behaviour, self.dispatcher)
        member.shared = self
        self._newborn.append(member)
        return member

    async def _members_started(self) -> None:
        members, self._newborn = self._newborn, []
        try:
            for member in members:
                await self.host.births.outcome(member)
        except ActorStartFailed:
            for member in members:
                self.host.endings.start_failures.pop(member.id, None)
            raise

    # --- work ---------------------------------------------------------------------------------

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
