"""An attached driver as a peer of hosts: it has a slot, and no process that the root started."""

from collections.abc import Mapping, Sequence
from typing import Any

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import CONTROL_CELL, PeersChanged
from callboard.messages.core.ref import Address

from ..transport.sockets import SocketAddress

__all__ = ["AttachedDriverProcess"]


class AttachedDriverProcess:
    """Takes the place that a `HostProcess` has for a host."""

    def __init__(self, control: Host, slot: int, name: str, address: SocketAddress | None) -> None:
        self.name = name
        self.address = address
        self.handle: Any = None
        """None: a driver cannot be called, and pulls its frames."""
        self._control = control
        self._slot = slot

    async def warm(self, codes: Sequence[bytes]) -> None:
        """Does nothing: a driver never takes over."""

    async def connect(self, peers: Mapping[int, tuple[int, Any]], *, is_open: bool = True) -> None:
        """Send the driver its peers, without other attached drivers."""
        known = {
            slot: (epoch, process.name, process.address)
            for slot, (epoch, process) in peers.items()
            if not isinstance(process, AttachedDriverProcess)
        }
        if known:
            control_actor = Address(self._slot, CONTROL_CELL)
            self._control.tell(control_actor, PeersChanged(peers=known, is_open=is_open))
