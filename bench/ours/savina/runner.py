"""The base of all games: an actor that spawns and starts the players, and adds up reports."""

import asyncio
from typing import ClassVar

from bench.timing import timed
from callboard import Actor, Context, Contract, Request, handler

__all__ = ["GameRun", "GameRunner", "Report", "RunGame", "Start"]


class GameRun(Contract):
    """The duration and the output of a game."""

    elapsed_ns: int
    output: dict[str, int]


class RunGame(Request[GameRun]):
    """Run the game with these sizes."""

    sizes: dict[str, int]


class Start(Contract):
    """Starts a player."""


class Report(Contract):
    """The counts of a player, at its end."""

    counts: dict[str, int]


class GameRunner(Actor):
    """One game. `prepare` is not timed; `perform` is."""

    concurrency: ClassVar[int] = 2
    """Reports are handled while `run_game` waits for them."""
    mailbox_messages: ClassVar[int] = 1_000_000
    """Room for a report of every actor of a fork-join."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._awaited = 0
        self._reported: asyncio.Future[None] | None = None

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the players."""

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Run the game, and give the output."""
        raise NotImplementedError

    @handler
    async def run_game(self, request: RunGame, ctx: Context) -> GameRun:
        """Run the game once."""
        await self.prepare(request.sizes, ctx)
        with timed() as stopwatch:
            output = await self.perform(request.sizes, ctx)
        return GameRun(elapsed_ns=stopwatch.elapsed_ns, output=output)

    @handler
    async def report(self, report: Report) -> None:
        """Add the counts of a player."""
        for name, count in report.counts.items():
            self._counts[name] = self._counts.get(name, 0) + count
        self._awaited -= 1
        if not self._awaited and self._reported is not None:
            self._reported.set_result(None)

    async def reports(self, players: int) -> dict[str, int]:
        """Wait for the reports of so many players, and give the sums. Call it once."""
        self._awaited += players
        if self._awaited:
            self._reported = asyncio.get_running_loop().create_future()
            await self._reported
        return self._counts
