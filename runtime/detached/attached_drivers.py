"""The attached drivers of a root.

An attached driver has a slot that takes no actors. All hosts connect to it. The root drops a driver
that leaves, dies or is silent for too long: its asks stop, its watchers get a notice, and nothing
waits for it any longer.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.core.errors import CallboardError, HostLost
from callboard.messages.ports import FrameCarrier

from ..control_plane.root import Root
from .attached_driver_process import AttachedDriverProcess
from .ports import JoinReply, JoinRequest, RootEnvironment

__all__ = ["AttachedDrivers"]

LOGGER: Final = logging.getLogger("callboard.root")


class AttachedDrivers:
    """All attached drivers of one root. `on_dropped` gets the slot of each dropped driver."""

    def __init__(
        self,
        control: Host,
        root: Root,
        root_environment: RootEnvironment,
        silence_s: float,
        expected: Mapping[int, JoinRequest | None],
        on_dropped: Callable[[int], None],
    ) -> None:
        self._control = control
        self._root = root
        self._authority = root.registrar.authority
        self._root_environment = root_environment
        self._silence_s = silence_s
        """The silence after which the root drops a driver."""
        self.expected: Final = dict(expected)
        """Drivers of an earlier root, which join again or are dead. None stands for a driver that
        only hosts know."""
        # A driver that computes sends heartbeats before it can join again.
        self._heard_s: Final = dict.fromkeys(self.expected, control.now())
        self._watches: dict[int, Callable[[], None]] = {}
        """The function that ends the watch of each driver's process."""
        for join_request in self.expected.values():
            if join_request is not None:
                self._watch_driver(join_request)
        self._on_dropped = on_dropped

    async def join(
        self, join_request: JoinRequest, carrier: FrameCarrier, known_epoch: int
    ) -> JoinReply | None:
        """Accept a driver, for the first time or again; None when it was dropped meanwhile.

        `known_epoch` is the control epoch of its last join, or 0.
        """
        slot, attached_drivers = join_request.slot, self._root.table.attached_drivers
        if self._control.has_forgotten(slot):
            return None
        if slot not in attached_drivers:
            if known_epoch and slot not in self.expected:
                return None
            await self._root.registrar.records.attached_driver(slot, join_request)
        if slot not in attached_drivers:
            if known_epoch and slot not in self.expected:
                return None  # The driver has left meanwhile.
            self.expected.pop(slot, None)
            process = AttachedDriverProcess(
                self._control, slot, join_request.name, join_request.address
            )
            self._control.link(slot).connect(join_request.epoch, carrier)
            self._root.table.add_driver(slot, join_request.name, join_request.epoch, process)
            if slot not in self._watches:
                self._watch_driver(join_request)
            LOGGER.info("driver %s has attached", join_request.name)
        self.heard(slot)
        self._control.run_task(self._introduce(slot))
        return JoinReply(
            self._control.epoch,
            None,
            {
                host.number: (host.epoch, host.process.name, host.process.address)
                for host in self._root.table.living()
            },
            self._root.registrar.directory(),
        )

    def _watch_driver(self, join_request: JoinRequest) -> None:
        slot = join_request.slot
        self._watches[slot] = self._root_environment.watch_process(
            join_request, lambda: self._gone(slot)
        )

    async def _introduce(self, slot: int) -> None:
        attached_driver = self._root.table.attached_drivers.get(slot)
        if attached_driver is not None:
            here = {slot: (attached_driver.epoch, attached_driver.process)}
            await asyncio.gather(
                *(host.process.connect(here) for host in self._root.table.living()),
                return_exceptions=True,  # The successor of a host that dies here connects itself.
            )

    def is_known(self, slot: int) -> bool:
        """Whether this driver is attached now."""
        return slot in self._root.table.attached_drivers

    def heard(self, slot: int) -> None:
        """Note a heartbeat of a driver. May be called from another thread."""
        if self.is_known(slot) or slot in self.expected:
            self._heard_s[slot] = self._control.now()

    async def watch(self, every_s: float) -> None:
        """Drop silent drivers, until the task is cancelled."""
        while True:
            await asyncio.sleep(every_s)
            if not self._authority.may_act():
                # This root may have heard nothing because it is cut off.
                await self._authority.held()
                self._heard_s.update(dict.fromkeys(self._heard_s, self._control.now()))
                continue
            now_s = self._control.now()
            silent = [s for s, at_s in self._heard_s.items() if now_s - at_s > self._silence_s]
            for slot in silent:
                LOGGER.warning("the driver at slot %d is silent and is dropped", slot)
                await self.drop(slot)

    def _gone(self, slot: int) -> None:
        """Drop a driver whose process has ended without leaving."""
        if self.is_known(slot) or slot in self.expected:
            LOGGER.warning("the driver at slot %d is dead and is dropped", slot)
            self._control.run_task(self.drop(slot))

    async def drop(self, slot: int) -> None:
        """Remove a driver that has left or is dead, here and on all hosts."""
        await self._authority.held()
        watch = self._watches.pop(slot, None)
        if watch is not None:
            watch()
        self._heard_s.pop(slot, None)
        self.expected.pop(slot, None)
        self._root.table.attached_drivers.pop(slot, None)
        self._control.forget(slot, HostLost("the driver has left.", slot=slot))
        self._root.registrar.records.driver_gone(slot)
        self._on_dropped(slot)
        with contextlib.suppress(CallboardError):
            await self._root.forget_dead_letters(slot)
        # Also hosts that are coming up: they know the driver already.
        await asyncio.gather(
            *(
                host.process.disconnect(slot)
                for host in self._root.table.slots.values()
                if host.process is not None
            ),
            return_exceptions=True,
        )

    def close(self) -> None:
        """End all watches: the system stops."""
        while self._watches:
            self._watches.popitem()[1]()
