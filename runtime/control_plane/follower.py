"""The follower: keeps the hosts where the node plan wants them, while nodes come and go.

It reads the nodes every `FOLLOW_EVERY_S`. The hosts of a draining node leave it all at once, each
by a take-over. With `AutoHosts` it also starts and ends hosts, and moves one at a time for balance.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, assert_never

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.hosts import AutoHosts, HostSpec
from callboard.messages.core.errors import CallboardError

from .node_plan import Add, HostPlace, Move, Remove, Step
from .nodes import Nodes

if TYPE_CHECKING:
    from .root import Root
    from .slots import Slot

__all__ = ["FOLLOW_EVERY_S", "Follower"]

LOGGER: Final = logging.getLogger("callboard.root")
FOLLOW_EVERY_S: Final = 2.0
"""How often the root reads the nodes."""


class Follower:
    """Performs the steps of the node plan on the hosts of one system."""

    def __init__(self, control: Host, root: "Root", nodes: Nodes, limits: AutoHosts | None) -> None:
        self._control = control
        self._root = root
        self._nodes = nodes
        self._limits = limits
        self._changing: dict[int, asyncio.Task[None]] = {}
        """Hosts that start, end or move."""

    def start(self) -> None:
        """Follow until the system stops."""
        self._control.run_task(self._follow())

    async def _follow(self) -> None:
        hosting = self._root.hosting
        while not hosting.is_closing:
            await asyncio.sleep(FOLLOW_EVERY_S)
            try:
                await self._nodes.refresh()
            except CallboardError as error:
                LOGGER.warning("the nodes are read again: %s", error)
                continue
            self._change_hosts()

    def _change_hosts(self) -> None:
        if not self._root.hosting.is_closing:
            self._root.standbys.leave(self._nodes.leaving())
            for step in self._steps():
                self._perform(step)

    def _steps(self) -> list[Step]:
        table = self._root.table
        for number, task in list(self._changing.items()):
            if task.done():
                del self._changing[number]
        slots = [slot for slot in table.slots.values() if not slot.final_epoch]
        is_quiet = not self._changing and all(slot.is_up for slot in slots)
        hosts = [self._place_of(slot) for slot in slots]
        # The number of hosts is right only while none of them changes.
        return self._nodes.steps(hosts, self._limits if is_quiet else None)

    def _place_of(self, slot: "Slot") -> HostPlace:
        is_settled = slot.is_up and slot.number not in self._changing
        return HostPlace(
            slot.number,
            slot.process.node if is_settled else "",
            is_empty=slot.is_idle,
            is_fixed=slot.resources is not None,
        )

    def _perform(self, step: Step) -> None:
        root = self._root
        match step:
            case Add(node):
                slot = root.table.add_slot("")
                slot.name = f"host-{slot.number}"
                self._change(slot, self._add(slot, node), f"starts on node {node}")
            case Remove(number):
                slot = root.table.slots[number]
                slot.is_leaving = True
                root.registrar.directory_changed()
                self._change(slot, self._remove(slot), "ends, as there are hosts enough")
            case Move(number, node, within_s):
                slot = root.table.slots[number]
                move = root.supervised_by(slot).move(slot, node, within_s)
                if move is not None:
                    where = f"node {node}" if node else "another node"
                    LOGGER.info("%s moves to %s", slot.name, where)
                    self._changing[number] = move
            case _:
                assert_never(step)

    def _change(self, slot: "Slot", change: Coroutine[Any, Any, None], what: str) -> None:
        LOGGER.info("%s %s", slot.name, what)
        self._changing[slot.number] = self._control.start_task(self._log_failure(slot, change))

    async def _log_failure(self, slot: "Slot", change: Coroutine[Any, Any, None]) -> None:
        try:
            await change
        except CallboardError as error:
            LOGGER.warning("%s: %s", slot.name, error)

    async def _remove(self, slot: "Slot") -> None:
        try:
            await self._root.registrar.spreading.leave(slot)
        except CallboardError as error:
            LOGGER.warning("keys of %s have not moved in order: %s", slot.name, error)
        await self._root.hosts.remove(slot)

    async def _add(self, slot: "Slot", node: str) -> None:
        root = self._root
        # The next root must not use the number again.
        table = root.table
        await root.registrar.records.reserve(table.next_cell, table.newest_slot, table.newest_term)
        root.hosting.prepare(slot, node)
        try:
            await root.hosting.prepared(slot)  # Otherwise a standby elsewhere would be quicker.
        except CallboardError:
            root.registrar.remove_slot(slot)
            raise
        await root.hosts.add(slot, HostSpec(slot.name))
