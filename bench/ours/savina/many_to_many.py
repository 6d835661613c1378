"""Games of many actors with many: chameneos, big."""

import random
from typing import Any

from callboard import Actor, Context, Contract, Ref, Request, handler
from callboard.actors.kernel.props import props

from .runner import GameRunner, Report, Start

__all__ = ["Big", "Chameneos"]

COLOURS = 3


class Meet(Contract):
    """A creature wants to meet another. The mall forwards this to the waiting one."""

    colour: int
    creature: Ref[Any]


class Change(Contract):
    """The colour after a meeting."""

    colour: int


class Leave(Contract):
    """The mall has closed."""


class Mall(Actor):
    """Pairs creatures, for a number of meetings."""

    def __init__(self, meetings: int) -> None:
        self._meetings_left = meetings
        self._waiting: Ref[Any] | None = None

    @handler
    async def meet(self, meet: Meet) -> None:
        """Let the creature wait, or meet the waiting one."""
        if not self._meetings_left:
            meet.creature.tell(Leave())
        elif self._waiting is None:
            self._waiting = meet.creature
        else:
            waiting, self._waiting = self._waiting, None
            self._meetings_left -= 1
            waiting.tell(meet)


class Creature(Actor):
    """Meets others and changes its colour."""

    def __init__(self, runner: Ref[GameRunner], mall: Ref[Mall], colour: int) -> None:
        self._runner = runner
        self._mall = mall
        self._colour = colour
        self._met = 0

    @handler
    async def start(self, message: Start, ctx: Context) -> None:
        """Go to the mall."""
        self._mall.tell(Meet(colour=self._colour, creature=ctx.self_ref))

    @handler
    async def meet(self, meet: Meet, ctx: Context) -> None:
        """Change both to the third colour, if their colours differ."""
        if self._colour != meet.colour:
            self._colour = COLOURS - self._colour - meet.colour
        self._met += 1
        meet.creature.tell(Change(colour=self._colour))
        self._mall.tell(Meet(colour=self._colour, creature=ctx.self_ref))

    @handler
    async def change(self, change: Change, ctx: Context) -> None:
        """Take the colour that the other creature computed."""
        self._colour = change.colour
        self._met += 1
        self._mall.tell(Meet(colour=self._colour, creature=ctx.self_ref))

    @handler
    async def leave(self, message: Leave) -> None:
        """Report."""
        self._runner.tell(Report(counts={"met": self._met}))


class Chameneos(GameRunner):
    """Creatures meet at one mall."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the mall and the creatures."""
        mall = await ctx.spawn(props(Mall, sizes["meetings"]))
        self._creatures = [
            await ctx.spawn(props(Creature, ctx.self_ref, mall, number % COLOURS))
            for number in range(sizes["creatures"])
        ]

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Run until all creatures have left."""
        for creature in self._creatures:
            creature.tell(Start())
        return await self.reports(len(self._creatures))


class Ping(Contract):
    """A ping, with the receiver of the pong."""

    sender: Ref[Any]


class Pong(Contract):
    """The answer to a ping."""


class Neighbours(Contract):
    """All members of the game."""

    members: list[Ref[Any]]


class Answered(Contract):
    """The number of pings that a member has answered."""

    pings: int


class ReadAnswered(Request[Answered]):
    """Ask for that number."""


class Member(Actor):
    """Pings others, one at a time, and answers their pings."""

    def __init__(self, runner: Ref[GameRunner], number: int, pings: int) -> None:
        self._runner = runner
        self._random = random.Random(number)
        self._pings_left = pings
        self._pongs = 0
        self._answered = 0
        self._members: list[Ref[Any]] = []

    @handler
    async def join(self, neighbours: Neighbours) -> None:
        """Note the other members."""
        self._members = neighbours.members

    @handler
    async def start(self, message: Start, ctx: Context) -> None:
        """Send the first ping."""
        self._ping(ctx)

    @handler
    async def pong(self, message: Pong, ctx: Context) -> None:
        """Send the next, or report."""
        self._pongs += 1
        if self._pings_left:
            self._ping(ctx)
        else:
            self._runner.tell(Report(counts={"pongs": self._pongs}))

    def _ping(self, ctx: Context) -> None:
        self._pings_left -= 1
        member = self._members[int(self._random.random() * len(self._members))]
        member.tell(Ping(sender=ctx.self_ref))

    @handler
    async def ping(self, ping: Ping) -> None:
        """Answer the ping."""
        self._answered += 1
        ping.sender.tell(Pong())

    @handler
    async def read(self, request: ReadAnswered) -> Answered:
        """Give the number of answered pings."""
        return Answered(pings=self._answered)


class Big(GameRunner):
    """Many to many."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the members, and send each the list of all."""
        self._members = [
            await ctx.spawn(props(Member, ctx.self_ref, number, sizes["pings"]))
            for number in range(sizes["actors"])
        ]
        for member in self._members:
            member.tell(Neighbours(members=self._members))

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Run until each member has its last pong."""
        for member in self._members:
            member.tell(Start())
        counts = await self.reports(len(self._members))
        answered = [await ctx.ask(ReadAnswered(), member) for member in self._members]
        return counts | {"pings": sum(answer.pings for answer in answered)}
