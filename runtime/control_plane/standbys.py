"""Standbys: warm, empty processes that wait to take over a slot.

A standby replaces a dead host within milliseconds, while the next standby starts. A host that
reserves resources has no standby, which would reserve them twice.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.views import StandbyView
from callboard.messages.core.errors import CallboardError
from callboard.messages.ports import HostProcess

from .heartbeats import Heartbeats
from .nodes import Nodes

__all__ = ["Standbys"]

LOGGER: Final = logging.getLogger("callboard.root")
ANSWER_S: Final = 0.3
"""How long a standby of a node in doubt may take to answer, before another process is started."""
STANDBY_AGE_MIN_S: Final = 5.0
CODES_MAX: Final = 256
"""Kinds of actors whose code standbys load; beyond that the newest."""


class Standbys:
    """The empty processes of one system."""

    def __init__(self, control: Host, nodes: Nodes, wanted: int) -> None:
        self.spares: Final[list[HostProcess]] = []
        self._control = control
        self.nodes: Final = nodes
        nodes.spares = self.spares
        self._wanted = wanted
        self._starting = 0
        self._numbered = 0
        self._closed = False
        self._codes: dict[bytes, None] = {}
        self._warming: dict[HostProcess, int] = {}
        self._given_up: dict[HostProcess, asyncio.Event] = {}
        """Set when a standby is given up, for the watch of it."""
        self.heartbeats: Heartbeats
        """Renew the leases of all processes; set before the first start."""

    @property
    def ready(self) -> int:
        """The number of standbys that have loaded their code."""
        return sum(process not in self._warming for process in self.spares)

    def views(self) -> tuple[StandbyView, ...]:
        """Every standby, for people."""
        return tuple(
            StandbyView(name=process.name, pid=process.pid, is_ready=process not in self._warming)
            for process in self.spares
        )

    @property
    def are_missing(self) -> bool:
        """Whether fewer standbys wait than wanted, without those that start."""
        return len(self.spares) < self._wanted

    def next_number(self) -> int:
        """A number for one more process, unique in the system."""
        self._numbered += 1
        return self._numbered

    async def start_process(self, *, is_standby: bool = False, node: str = "") -> HostProcess:
        """Start a process that reserves nothing, on `node` if given. Raises `ClusterError`."""
        number = self.next_number()
        process = await self.nodes.start_process(number, is_standby=is_standby, node=node)
        self.heartbeats.watch(process)
        return process

    async def gather(self, hosts: int) -> None:
        """Start the processes of `hosts` hosts, and the standbys, all at once."""
        starts = [self.start_process() for _ in range(hosts)]
        starts += [self.start_process(is_standby=True) for _ in range(self._wanted)]
        for process in await asyncio.gather(*starts):
            self.keep(process)

    async def take(self, node: str = "") -> HostProcess:
        """A standby, or else a new process, to become a host; on `node` if given.

        Raises `ClusterError`.
        """
        spares = [spare for spare in self.spares if not node or spare.node == node]
        chosen = self.nodes.choose_spare(spares, self._warming)
        if chosen is None:
            return await self.start_process(node=node)
        process, is_best = chosen
        if not is_best and not await self.heartbeats.answers(process, ANSWER_S):
            try:
                return await self.start_process()
            except CallboardError as error:
                LOGGER.warning("a standby of a node in doubt is used: %s", error)
        if process not in self.spares:  # It was taken meanwhile, or has ended.
            return await self.start_process(node=node)
        self.spares.remove(process)
        return process

    def leave(self, nodes: Collection[str]) -> None:
        """End the standbys of these nodes; others start elsewhere."""
        leaving = [spare for spare in self.spares if spare.node in nodes]
        if leaving and not self._closed:
            self._control.run_task(self._replace(leaving))

    async def _replace(self, leaving: Sequence[HostProcess]) -> None:
        for process in leaving:
            if process in self.spares:
                self.spares.remove(process)
                await process.kill()
        await self.start_one()

    async def start_one(self) -> None:
        """Start standbys until there are as many as wanted."""
        while not self._closed and self._starting + len(self.spares) < self._wanted:
            self._starting += 1
            try:
                process = await self.start_process(is_standby=True)
                self._warm(process, tuple(self._codes))
                self.keep(process)
            except CallboardError as error:
                LOGGER.warning("a standby did not start: %s", error)
                return
            finally:
                self._starting -= 1

    def close(self) -> None:
        """Start no more standbys."""
        self._closed = True

    def preload(self, code: bytes) -> None:
        """Load the code of actors in all standbys, ahead of a take-over.

        Loading takes longer than all other steps of a take-over.
        """
        if not code or code in self._codes:
            return
        if len(self._codes) >= CODES_MAX:
            del self._codes[next(iter(self._codes))]
        self._codes[code] = None
        for process in self.spares:
            self._warm(process, (code,))

    def _warm(self, process: HostProcess, codes: tuple[bytes, ...]) -> None:
        """Load code in a standby; until then other standbys are preferred."""
        self._warming[process] = self._warming.get(process, 0) + 1
        self._control.run_task(self._until_warm(process, codes))

    async def _until_warm(self, process: HostProcess, codes: tuple[bytes, ...]) -> None:
        try:
            await process.warm(codes)
        finally:
            self._warming[process] -= 1
            if not self._warming[process]:
                del self._warming[process]

    def keep(self, process: HostProcess) -> None:
        """Add an empty process to the standbys."""
        self.heartbeats.watch(process)
        self.spares.append(process)
        self._control.run_task(self._watch(process))

    def give_up(self, process: HostProcess) -> None:
        """A standby misses heartbeats: it is killed and replaced."""
        given_up = self._given_up.get(process)
        if given_up is not None:
            given_up.set()

    async def _watch(self, process: HostProcess) -> None:
        """Replace a standby that dies before it is needed, or no longer answers."""
        began_s = self._control.now()
        given_up = self._given_up[process] = asyncio.Event()
        loop = self._control.loop
        ends = [loop.create_task(process.watch()), loop.create_task(given_up.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            del self._given_up[process]
        if process in self.spares and not self._closed:
            self.spares.remove(process)
            self.heartbeats.forget(process)
            LOGGER.warning("standby %s is lost and replaced", process.name)
            await process.kill()
            # Not faster: standbys that die at once would be replaced without end.
            await asyncio.sleep(max(0.0, began_s + STANDBY_AGE_MIN_S - self._control.now()))
            await self.start_one()
