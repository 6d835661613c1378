"""The nodes of the cluster, as the root sees them: the shell of the node plan."""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.hosts import AutoHosts
from callboard.messages.core.errors import ClusterError
from callboard.messages.ports import Engine, HostProcess

from .node_plan import HostPlace, NodeBook, Place, Step, choose_node, choose_standby, steps

if TYPE_CHECKING:
    from .slots import SlotTable

__all__ = ["Nodes"]

LOGGER: Final = logging.getLogger("callboard.root")
FRESH_S: Final = 1.0
"""For how long a report of the nodes is good enough."""


class Nodes:
    """Chooses nodes for processes."""

    def __init__(self, control: Host, engine: Engine, table: "SlotTable", wait_s: float) -> None:
        self.spares: Sequence[HostProcess] = ()
        """The standbys; set by their owner."""
        self._control = control
        self._engine = engine
        self._table = table
        self._wait_s = wait_s
        """How long a process may wait for the first node that takes one."""
        self._book = NodeBook()
        self._hosts: Counter[str] = Counter()
        """Hosts that start on each node."""
        self._standbys: Counter[str] = Counter()
        """Standbys that start on each node."""
        self._read_s = -FRESH_S
        self._reading: asyncio.Task[None] | None = None

    # --- what is known --------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read the nodes, unless they were read just now. Raises `ClusterError`."""
        if self._control.now() < self._read_s + FRESH_S:
            return
        if self._reading is None or self._reading.done():
            self._reading = self._control.start_task(self._read())
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        self._book.seen(await self._engine.nodes(), self._control.now())
        self._read_s = self._control.now()

    def suspect(self, node: str) -> None:
        """What runs on a node does not answer, or a process did not start there."""
        self._book.suspect(node, self._control.now())

    def answered(self, node: str) -> None:
        """A process of a node answers."""
        self._book.answered(node)

    def places(self) -> list[Place]:
        """The living nodes, with the processes that run or start there."""
        hosts, standbys = self._hosts.copy(), self._standbys.copy()
        for slot in self._table.slots.values():
            if slot.resources is None and slot.process is not None:
                hosts[slot.process.node] += 1
        standbys.update(spare.node for spare in self.spares)
        return self._book.places(hosts, standbys, self._control.now())

    # --- one process ----------------------------------------------------------------------------

    async def start_process(
        self, number: int, *, is_standby: bool = False, node: str = ""
    ) -> HostProcess:
        """Start a process that reserves nothing, on `node` or where the plan says.

        A node that leaves meanwhile is replaced by another one, unless it was given. Raises
        `ClusterError`; a node on which the start failed comes last from then on.
        """
        if not self._engine.has_nodes or node:
            return await self._start_on(node, number, is_standby=is_standby)
        while True:
            await self.refresh()
            chosen = await self._next_node(is_standby=is_standby)
            try:
                return await self._start_on(chosen, number, is_standby=is_standby)
            except ClusterError as error:
                if not await self._has_left(chosen):
                    raise
                LOGGER.warning("a process starts on another node: %s", error)

    async def _has_left(self, node: str) -> bool:
        """Whether a node is gone, by a new report."""
        self._read_s = -FRESH_S
        await self.refresh()
        return not self._book.is_there(node)

    async def _start_on(self, node: str, number: int, *, is_standby: bool) -> HostProcess:
        starting = self._standbys if is_standby else self._hosts
        starting[node] += 1
        try:
            return await self._engine.start_process(number, is_standby=is_standby, node=node)
        except ClusterError:
            self.suspect(node)
            raise
        finally:
            starting[node] -= 1

    async def _next_node(self, *, is_standby: bool) -> str:
        """The node for the next process; waits for one, as the cluster may be adding it."""
        until_s = self._control.now() + self._wait_s
        waits = False
        while (node := choose_node(self.places(), is_standby=is_standby)) is None:
            if self._control.now() >= until_s:
                raise ClusterError(
                    f"no node of the cluster takes hosts: none with a CPU has come within "
                    f"{self._wait_s:g} s.",
                    advice="Start a node with CPUs. For a host on a node that offers none, name "
                    "it: HostSpec(resources=Resources(cpus=0, node_labels=...)).",
                )
            if not waits:
                LOGGER.warning("no node offers a CPU: hosts wait until one comes")
                waits = True
            await asyncio.sleep(FRESH_S)
            await self.refresh()
        return node.id

    def choose_spare(
        self, spares: Sequence[HostProcess], warming: Collection[HostProcess]
    ) -> tuple[HostProcess, bool] | None:
        """The standby that becomes the next host; see `choose_standby`."""
        rows = [(spare.node, spare not in warming) for spare in spares]
        found = choose_standby(self.places(), rows)
        return None if found is None else (spares[found[0]], found[1])

    # --- all hosts ------------------------------------------------------------------------------

    def leaving(self) -> set[str]:
        """The nodes that are about to go, or are given back; none while no other takes hosts."""
        places = self.places()
        if not any(place.takes_hosts for place in places):
            return set()
        return {place.node.id for place in places if place.node.is_draining or place.is_released}

    def steps(self, hosts: Sequence[HostPlace], limits: AutoHosts | None) -> list[Step]:
        """The next steps towards the plan; see `steps`."""
        shared = [host for host in hosts if not host.is_fixed]
        if limits is None:
            return steps(self.places(), hosts)
        now = self._control.now()
        self._book.release(shared, limits, now)
        places = self.places()
        room = sum(place.node.room for place in places if place.takes_hosts)
        may_shrink = self._book.may_shrink(len(shared), max(room, limits.at_least), now)
        return steps(places, hosts, limits, may_shrink=may_shrink)
