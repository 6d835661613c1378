"""Savina with xoscar: actors of the main pool, so messages stay in this process."""

import asyncio
import itertools
from typing import Any

import xoscar

from bench.entry import serve
from bench.loop import run_on_fastest_loop
from bench.outcome import Outcome, Params
from bench.peers.savina.drivers import DRIVERS
from bench.peers.savina.role import Message, Role, run_all
from bench.savina.games import Output

__all__: list[str] = []

ANY_PORT = "127.0.0.1:0"
REPORT_TIMEOUT_S = 120.0


class RoleActor(xoscar.Actor):
    """Plays one role. Its messages leave when the current message is handled."""

    def __init__(self, role: type[Role], args: tuple[Any, ...]) -> None:
        super().__init__()
        self._role = role(*args)
        self._outbox: list[tuple[Any, Message]] = []
        self._spawns: list[tuple[type[Role], tuple[Any, ...]]] = []
        self._leaves = False

    async def __post_create__(self) -> None:
        """Connect the role to xoscar."""
        self._role.me = self.ref()
        self._role.tell = lambda to, message: self._outbox.append((to, message))
        self._role.spawn = lambda role, *args: self._spawns.append((role, args))
        self._role.leave = self._leave

    def _leave(self) -> None:
        self._leaves = True

    async def receive(self, message: Message) -> None:
        """Handle one message."""
        self._role.receive(message)
        outbox, self._outbox = self._outbox, []
        for to, sent in outbox:
            await to.receive.tell(sent)
        spawns, self._spawns = self._spawns, []
        for role, args in spawns:
            actor = await xoscar.create_actor(RoleActor, role, args, address=self.address)
            await self._role.me.receive.tell(("spawned", actor))
        if self._leaves:
            # Not awaited, because it waits for the end of this call.
            self._leaving = asyncio.create_task(xoscar.destroy_actor(self._role.me))


class Collector(xoscar.Actor):
    """Adds up reports."""

    def __init__(self, reports: int, counts: "asyncio.Future[Output]") -> None:
        super().__init__()
        self._reports = reports
        self._all = counts
        self._counts: Output = {}

    async def receive(self, message: Message) -> None:
        """Add one report."""
        for name, count in message[1].items():
            self._counts[name] = self._counts.get(name, 0) + count
        self._reports -= 1
        if not self._reports:
            self._all.set_result(self._counts)


class XoscarLibrary:
    """Actors of one pool."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._numbers = itertools.count()
        self._collected: dict[str, asyncio.Future[Output]] = {}
        self._actors: list[Any] = []

    async def start(self, role: type[Role], *args: Any) -> Any:
        """Start an actor."""
        actor = await xoscar.create_actor(RoleActor, role, args, address=self._address)
        self._actors.append(actor)
        return actor

    async def tell(self, to: Any, message: Message) -> None:
        """Call the actor without taking the result."""
        await to.receive.tell(message)

    async def collector(self, reports: int) -> Any:
        """Start an actor with a future."""
        name = f"collector-{next(self._numbers)}"
        self._collected[name] = asyncio.get_running_loop().create_future()
        return await xoscar.create_actor(
            Collector, reports, self._collected[name], address=self._address, uid=name
        )

    async def ready(self) -> None:
        """Do nothing: the actors are ready."""

    async def reported(self, collector: Any) -> Output:
        """Wait for the future."""
        uid = collector.uid.decode() if isinstance(collector.uid, bytes) else collector.uid
        async with asyncio.timeout(REPORT_TIMEOUT_S):
            return await self._collected.pop(uid)

    async def clear(self) -> None:
        """Destroy the actors that have not left."""
        for actor in self._actors:
            if await xoscar.has_actor(actor):
                await xoscar.destroy_actor(actor)
        self._actors.clear()


async def _savina(params: Params) -> Outcome:
    async with await xoscar.create_actor_pool(ANY_PORT, n_process=0) as pool:
        return await run_all(XoscarLibrary(pool.external_address), DRIVERS, params)


def savina(params: Params) -> Outcome:
    """Run all games with sizes."""
    return run_on_fastest_loop(_savina(params))


if __name__ == "__main__":
    serve({"savina": savina})
