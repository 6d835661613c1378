"""The guests of a root: drivers that have attached to its system.

A guest has a slot that takes no actors. It is introduced to all hosts, and dropped when it
leaves or has been silent for too long: its asks are stopped then, whoever watches it is
told, and nothing waits for it any longer.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from callboard.actors.host.host import Host
from callboard.messages.control import DirectoryChanged
from callboard.messages.errors import CallboardError, HostLost
from callboard.messages.guests import Peer
from callboard.messages.ports import FrameCarrier

from ..root.root import Root
from ..transport.sockets import SocketAddress
from .guest_process import GuestProcess

__all__ = ["Admission", "Guests"]

LOGGER: Final = logging.getLogger("callboard.root")


class Admission(NamedTuple):
    """What a guest needs to take part."""

    control_epoch: int
    control_address: SocketAddress | None
    peers: dict[int, Peer]
    directory: DirectoryChanged


class Guests:
    """All guests of one root."""

    def __init__(
        self, control: Host, root: Root, silence_s: float, expected: Mapping[int, None]
    ) -> None:
        self._control = control
        self._root = root
        self._silence_s = silence_s
        """A guest that has said nothing for so long is dropped."""
        self._expected = dict(expected)
        """Guests of the root before, that hosts still know: they come again, or are dead."""
        self._heard_s: dict[int, float] = {}
        self._adopted_s = control.now()

    def admit(
        self,
        slot: int,
        epoch: int,
        name: str,
        address: SocketAddress | None,
        carrier: FrameCarrier,
        known_epoch: int,
    ) -> Admission | None:
        """Let a driver in, or in again; None when it was dropped meanwhile.

        `known_epoch` is the control epoch that had let it in before, or 0.
        """
        guests = self._root.table.guests
        if slot not in guests:
            if known_epoch == self._control.epoch:
                return None
            if known_epoch and slot not in self._expected:
                return None
            self._expected.pop(slot, None)
            process = GuestProcess(self._control, slot, name, address)
            self._control.link(slot).connect(epoch, carrier)
            self._root.table.add_guest(slot, name, epoch, process)
            LOGGER.info("driver %s has attached", name)
        self.heard(slot)
        self._control.run_task(self._introduce(slot))
        return Admission(
            self._control.epoch,
            None,
            {
                host.number: (host.epoch, host.process.name, host.process.address)
                for host in self._root.table.living()
            },
            self._root.registrar.directory(),
        )

    async def _introduce(self, slot: int) -> None:
        guest = self._root.table.guests.get(slot)
        if guest is not None:
            here = {slot: (guest.epoch, guest.process)}
            await asyncio.gather(
                *(host.process.connect(here) for host in self._root.table.living()),
                return_exceptions=True,  # One that dies is told when it is back.
            )

    def is_known(self, slot: int) -> bool:
        """Whether this driver is a guest now."""
        return slot in self._root.table.guests

    def heard(self, slot: int) -> None:
        """A guest gives a sign of life. May be called from another thread."""
        if self.is_known(slot):
            self._heard_s[slot] = self._control.now()

    async def watch(self, every_s: float, on_dropped: Callable[[int], None]) -> None:
        """Drop who is silent, for ever."""
        while True:
            await asyncio.sleep(every_s)
            now_s = self._control.now()
            silent = [s for s, at_s in self._heard_s.items() if now_s - at_s > self._silence_s]
            if self._expected and now_s - self._adopted_s > self._silence_s:
                silent += self._expected
            for slot in silent:
                LOGGER.warning("a driver (slot %d) is gone", slot)
                await self.drop(slot)
                on_dropped(slot)

    async def drop(self, slot: int) -> None:
        """A guest has left, or is dead: everybody forgets it."""
        self._heard_s.pop(slot, None)
        self._expected.pop(slot, None)
        self._root.table.guests.pop(slot, None)
        self._control.forget(slot, HostLost("the driver has left.", slot=slot))
        with contextlib.suppress(CallboardError):
            await self._root.forget_letters(slot)
        await asyncio.gather(
            *(host.process.disconnect(slot) for host in self._root.table.living()),
            return_exceptions=True,
        )
