"""What all games share: an actor that spawns the players, starts them, and is told the end."""

import asyncio
from typing import ClassVar

from bench.timing import timed
from callboard import Actor, Context, Contract, Request, handler

__all__ = ["Play", "Played", "Report", "Stage", "Start"]


class Played(Contract):
    """How long a game took, and what came out."""

    elapsed_ns: int
    output: dict[str, int]


class Play(Request[Played]):
    """Play the game with these sizes."""

    sizes: dict[str, int]


class Start(Contract):
    """Tells a player to begin."""


class Report(Contract):
    """What a player has done, told when it has finished."""

    counts: dict[str, int]


class Stage(Actor):
    """One game: `prepare` is not timed, `perform` is."""

    concurrency: ClassVar[int] = 2
    """Reports are handled while `play` waits for them."""
    mailbox_messages: ClassVar[int] = 1_000_000
    """Every actor of a fork-join may report at once."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._awaited = 0
        self._reported: asyncio.Future[None] | None = None

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the players."""

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Play, and give the output."""
        raise NotImplementedError

    @handler
    async def play(self, request: Play, ctx: Context) -> Played:
        """Play it once."""
        await self.prepare(request.sizes, ctx)
        with timed() as stopwatch:
            output = await self.perform(request.sizes, ctx)
        return Played(elapsed_ns=stopwatch.elapsed_ns, output=output)

    @handler
    async def report(self, report: Report) -> None:
        """Add what a player has done."""
        for name, count in report.counts.items():
            self._counts[name] = self._counts.get(name, 0) + count
        self._awaited -= 1
        if not self._awaited and self._reported is not None:
            self._reported.set_result(None)

    async def reports(self, players: int) -> dict[str, int]:
        """The sums over what so many players report; call it once."""
        self._awaited += players
        if self._awaited:
            self._reported = asyncio.get_running_loop().create_future()
            await self._reported
        return self._counts
