"""Games about messages alone: ping-pong, counting, the two fork-joins, the ring."""

import math
from typing import Any

from callboard import Actor, Context, Contract, Ref, Request, handler
from callboard.actors.kernel.props import props
from callboard.messages.core.errors import MailboxFull

from .runner import GameRunner, Report, Start

__all__ = ["Counting", "ForkJoinCreate", "ForkJoinThroughput", "PingPong", "ThreadRing"]

ANGLE = 37.2


class Ping(Contract):
    """A ping, with the receiver of the pong."""

    sender: Ref[Any]


class Pong(Contract):
    """The answer to a ping."""


class Ponger(Actor):
    """Answers pings."""

    def __init__(self) -> None:
        self._pings = 0

    @handler
    async def ping(self, ping: Ping) -> None:
        """Answer the ping."""
        self._pings += 1
        ping.sender.tell(Pong())

    @handler
    async def tally(self, request: "ReadCount") -> "Count":
        """Give the number of pings."""
        return Count(count=self._pings)


class Pinger(Actor):
    """Sends a ping after each pong."""

    def __init__(self, runner: Ref[GameRunner], ponger: Ref[Ponger], round_trips: int) -> None:
        self._runner = runner
        self._ponger = ponger
        self._round_trips = round_trips
        self._pongs = 0

    @handler
    async def start(self, message: Start, ctx: Context) -> None:
        """Send the first ping."""
        self._ponger.tell(Ping(sender=ctx.self_ref))

    @handler
    async def pong(self, message: Pong, ctx: Context) -> None:
        """Send the next, or report."""
        self._pongs += 1
        if self._pongs < self._round_trips:
            self._ponger.tell(Ping(sender=ctx.self_ref))
        else:
            self._runner.tell(Report(counts={"pongs": self._pongs}))


class PingPong(GameRunner):
    """Two actors send one message back and forth."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the two."""
        self._ponger = await ctx.spawn(Ponger)
        self._pinger = await ctx.spawn(
            props(Pinger, ctx.self_ref, self._ponger, sizes["round_trips"])
        )

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Run until the last pong."""
        self._pinger.tell(Start())
        counts = await self.reports(1)
        return counts | {"pings": (await ctx.ask(ReadCount(), self._ponger)).count}


class Count(Contract):
    """A count."""

    count: int


class ReadCount(Request[Count]):
    """Ask for the count."""


class Increment(Contract):
    """One more."""


class Counter(Actor):
    """Counts."""

    def __init__(self) -> None:
        self._count = 0

    @handler
    async def increment(self, message: Increment) -> None:
        """One more."""
        self._count += 1

    @handler
    async def read(self, request: ReadCount) -> Count:
        """The count so far."""
        return Count(count=self._count)


class Counting(GameRunner):
    """One sends, another counts."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the counter."""
        self._counter = await ctx.spawn(Counter)

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Send all messages, then ask for the count."""
        counter = self._counter
        for _ in range(sizes["messages"]):
            message = Increment()
            try:
                counter.tell(message)
            except MailboxFull:
                await counter.send(message)
        return {"count": (await ctx.ask(ReadCount(), counter)).count}


class Work(Contract):
    """Compute a sine."""


class Worker(Actor):
    """Computes a number of sines, then reports."""

    def __init__(self, runner: Ref[GameRunner], messages: int) -> None:
        self._runner = runner
        self._messages = messages
        self._handled = 0

    @handler
    async def work(self, message: Work) -> None:
        """Compute one sine."""
        assert math.sin(ANGLE) ** 2 > 0
        self._handled += 1
        if self._handled == self._messages:
            self._runner.tell(Report(counts={"handled": self._handled}))


class ForkJoinThroughput(GameRunner):
    """Messages distributed to many actors."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the workers."""
        runner, messages = ctx.self_ref, sizes["messages"]
        self._workers = [
            await ctx.spawn(props(Worker, runner, messages)) for _ in range(sizes["actors"])
        ]

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Send to the workers in turn."""
        for _ in range(sizes["messages"]):
            for worker in self._workers:
                message = Work()
                try:
                    worker.tell(message)
                except MailboxFull:
                    await worker.send(message)
        return await self.reports(len(self._workers))


class ShortLived(Actor):
    """Computes one sine and ends."""

    def __init__(self, runner: Ref[GameRunner]) -> None:
        self._runner = runner

    @handler
    async def work(self, message: Work, ctx: Context) -> None:
        """Handle its only message."""
        assert math.sin(ANGLE) ** 2 > 0
        self._runner.tell(Report(counts={"finished": 1}))
        ctx.stop()


class ForkJoinCreate(GameRunner):
    """Actors created for one message each."""

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Spawn each actor, and send it a message."""
        runner = ctx.self_ref
        for _ in range(sizes["actors"]):
            (await ctx.spawn(props(ShortLived, runner))).tell(Work())
        return await self.reports(sizes["actors"])


class Neighbour(Contract):
    """The next member of the ring."""

    next: Ref[Any]


class Token(Contract):
    """The token, with its remaining hops."""

    hops_left: int


class Member(Actor):
    """One actor of the ring."""

    def __init__(self, runner: Ref[GameRunner], place: int, hops: int) -> None:
        self._runner = runner
        self._place = place
        self._hops = hops
        self._next: Ref[Any] | None = None

    @handler
    async def join(self, neighbour: Neighbour) -> None:
        """Note the next member."""
        self._next = neighbour.next

    @handler
    async def token(self, token: Token) -> None:
        """Pass the token on, or report."""
        assert self._next is not None
        if token.hops_left:
            self._next.tell(Token(hops_left=token.hops_left - 1))
        else:
            self._runner.tell(Report(counts={"last": self._place, "hops": self._hops}))


class ThreadRing(GameRunner):
    """A token goes round a ring."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the ring and close it."""
        self._ring = [
            await ctx.spawn(props(Member, ctx.self_ref, place, sizes["hops"]))
            for place in range(sizes["actors"])
        ]
        for member, following in zip(self._ring, self._ring[1:] + self._ring[:1], strict=True):
            member.tell(Neighbour(next=following))

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Run until the token has made all hops."""
        self._ring[0].tell(Token(hops_left=sizes["hops"]))
        return await self.reports(1)
