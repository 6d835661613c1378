"""Many that meet many: chameneos, big."""

import random
from typing import Any

from callboard import Actor, Context, Contract, Ref, Request, handler
from callboard.actors.kernel.props import props

from .stage import Report, Stage, Start

__all__ = ["Big", "Chameneos"]

COLOURS = 3


class Meet(Contract):
    """A creature wants to meet another; the mall passes it on to the one that waits."""

    colour: int
    creature: Ref[Any]


class Change(Contract):
    """The colour after a meeting."""

    colour: int


class Leave(Contract):
    """The mall has closed."""


class Mall(Actor):
    """Brings creatures together, in pairs, so many times."""

    def __init__(self, meetings: int) -> None:
        self._meetings_left = meetings
        self._waiting: Ref[Any] | None = None

    @handler
    async def meet(self, meet: Meet) -> None:
        """Let it wait, or meet the one that waits."""
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

    def __init__(self, stage: Ref[Stage], mall: Ref[Mall], colour: int) -> None:
        self._stage = stage
        self._mall = mall
        self._colour = colour
        self._met = 0

    @handler
    async def start(self, message: Start, ctx: Context) -> None:
        """Go to the mall."""
        self._mall.tell(Meet(colour=self._colour, creature=ctx.self_ref))

    @handler
    async def meet(self, meet: Meet, ctx: Context) -> None:
        """Both take the third colour, if theirs differ."""
        if self._colour != meet.colour:
            self._colour = COLOURS - self._colour - meet.colour
        self._met += 1
        meet.creature.tell(Change(colour=self._colour))
        self._mall.tell(Meet(colour=self._colour, creature=ctx.self_ref))

    @handler
    async def change(self, change: Change, ctx: Context) -> None:
        """What the other one has worked out."""
        self._colour = change.colour
        self._met += 1
        self._mall.tell(Meet(colour=self._colour, creature=ctx.self_ref))

    @handler
    async def leave(self, message: Leave) -> None:
        """Report."""
        self._stage.tell(Report(counts={"met": self._met}))


class Chameneos(Stage):
    """Creatures meet at one mall."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the mall and the creatures."""
        mall = await ctx.spawn(props(Mall, sizes["meetings"]))
        self._creatures = [
            await ctx.spawn(props(Creature, ctx.self_ref, mall, number % COLOURS))
            for number in range(sizes["creatures"])
        ]

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Until all have left."""
        for creature in self._creatures:
            creature.tell(Start())
        return await self.reports(len(self._creatures))


class Ping(Contract):
    """To whom the pong goes."""

    sender: Ref[Any]


class Pong(Contract):
    """The answer to a ping."""


class Neighbours(Contract):
    """Everybody in the game."""

    members: list[Ref[Any]]


class Answered(Contract):
    """How many pings a member has answered."""

    pings: int


class ReadAnswered(Request[Answered]):
    """Ask for it."""


class Member(Actor):
    """Pings others, one at a time, and answers theirs."""

    def __init__(self, stage: Ref[Stage], number: int, pings: int) -> None:
        self._stage = stage
        self._random = random.Random(number)
        self._pings_left = pings
        self._pongs = 0
        self._answered = 0
        self._members: list[Ref[Any]] = []

    @handler
    async def join(self, neighbours: Neighbours) -> None:
        """Learn who there is."""
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
            self._stage.tell(Report(counts={"pongs": self._pongs}))

    def _ping(self, ctx: Context) -> None:
        self._pings_left -= 1
        member = self._members[int(self._random.random() * len(self._members))]
        member.tell(Ping(sender=ctx.self_ref))

    @handler
    async def ping(self, ping: Ping) -> None:
        """Answer it."""
        self._answered += 1
        ping.sender.tell(Pong())

    @handler
    async def read(self, request: ReadAnswered) -> Answered:
        """How many it has answered."""
        return Answered(pings=self._answered)


class Big(Stage):
    """Many to many."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the members and let each know all."""
        self._members = [
            await ctx.spawn(props(Member, ctx.self_ref, number, sizes["pings"]))
            for number in range(sizes["actors"])
        ]
        for member in self._members:
            member.tell(Neighbours(members=self._members))

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Until each has its last pong."""
        for member in self._members:
            member.tell(Start())
        counts = await self.reports(len(self._members))
        answered = [await ctx.ask(ReadAnswered(), member) for member in self._members]
        return counts | {"pings": sum(answer.pings for answer in answered)}
