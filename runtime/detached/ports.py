"""What a detached system needs from outside: a root that comes back, and a driver's way to it.

Adapters: Ray (`ray_line.py`, `root_actor.py`), and the simulator.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from callboard.actors.host.host import Host
from callboard.messages.control import DirectoryChanged
from callboard.messages.guests import Peer
from callboard.messages.ports import BlobStore, Engine, FrameCarrier, Ledger

from ..engines.ray.lifeline import Identity
from ..root.adoption import LastingProcess
from ..transport.pulls import PullCarrier
from ..transport.sockets import SocketAddress

__all__ = [
    "Admission",
    "GuestEngine",
    "LastingEngine",
    "Neighbour",
    "Pulled",
    "RootAway",
    "RootLine",
    "Surroundings",
    "Visitor",
    "visitor_of",
]

Pulled = Sequence[tuple[bytes, Sequence[Any]]]
"""Frames with the references beside them."""


class RootAway(Exception):
    """The root does not answer now; it is coming back, or on its way."""


class Visitor(NamedTuple):
    """A driver that wants to be let in."""

    slot: int
    epoch: int
    name: str
    address: SocketAddress | None
    """Where it takes frames from processes of its own node."""
    job: str
    """What the cluster calls its job; empty when it is none of its own."""
    identity: Identity | None
    """What process it is, to others of its machine."""


def visitor_of(row: Sequence[Any]) -> Visitor:
    """A visitor from its fields as plain data."""
    slot, epoch, name, address, job, identity = row
    return Visitor(
        slot,
        epoch,
        name,
        None if address is None else SocketAddress(*address),
        job,
        None if identity is None else Identity(*identity),
    )


class Admission(NamedTuple):
    """What a guest needs to take part."""

    control_epoch: int
    control_address: SocketAddress | None
    peers: dict[int, Peer]
    directory: DirectoryChanged


# --- the root's side ---------------------------------------------------------------------------


class LastingEngine(Engine, Protocol):
    """An engine whose processes outlive the root that has started them."""

    before_start: Callable[[str], Awaitable[None]] | None
    """Called with a process' name before that is started."""
    after_end: Callable[[str], None] | None
    """Called with a process' name when it has been ended."""

    async def find(self, name: str) -> LastingProcess | None:
        """The process of that name; None when it is gone."""


class Surroundings(Protocol):
    """Where one incarnation of a root lives."""

    @property
    def ledger(self) -> Ledger:
        """What its predecessors have written down."""

    def engine(self, epoch: int) -> LastingEngine:
        """The engine of this incarnation; called once."""

    async def end_processes(self, names: Iterable[str]) -> None:
        """End these processes, as far as they live."""

    async def forget(self) -> None:
        """Forget all that was written down. Raises `ClusterError`."""

    async def way_to(
        self, visitor: Visitor, pulls: PullCarrier
    ) -> tuple[FrameCarrier, SocketAddress | None]:
        """The way for frames to a driver, and the one it has for frames to here."""

    def watch_over(self, visitor: Visitor, gone: Callable[[], None]) -> Callable[[], None]:
        """Have `gone` called once, soon after the driver's process has ended.

        Never for one that lives, however busy or hard to reach. Gives what ends the watch.
        """

    async def end(self) -> None:
        """End this process; it is not to come back."""

    def crash(self) -> None:
        """End this process at once; it is started again."""


# --- a driver's side ---------------------------------------------------------------------------


class RootLine(Protocol):
    """A driver's line to the root of a system, whichever incarnation that is.

    Its calls raise `RootAway` while there is none, and `HostLost` once none comes back.
    """

    async def admit(self, visitor: Visitor, known_epoch: int) -> Admission | None:
        """See `LastingRoot.admit`."""

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled | None:
        """See `LastingRoot.pull`."""

    async def leave(self, slot: int) -> None:
        """See `LastingRoot.leave`."""

    def beat(self, slot: int, every_s: float) -> Callable[[], None]:
        """Give signs of life as long as this process lives, however busy its event loop is.

        Gives what ends them.
        """

    def carrier(self, admission: Admission, mine: SocketAddress | None) -> FrameCarrier:
        """The way for frames to the root."""


class Neighbour(Protocol):
    """A host's process, as a driver reaches it."""

    name: str
    address: SocketAddress | None

    async def carrier(self) -> FrameCarrier:
        """The way for frames to it."""

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled:
        """What waits there for this driver. Raises `HostLost`, `TransportBroken`."""


class GuestEngine(Protocol):
    """What a driver has of the cluster."""

    def attach(self, control: Host) -> None:
        """The driver's own host."""

    def blobs(self) -> BlobStore:
        """The blob store of the system."""

    async def socket_address(self) -> SocketAddress | None:
        """Where this driver takes frames from processes of its own node."""

    def job(self) -> str:
        """What the cluster calls the job that ends with this process; empty for none."""

    def identity(self) -> Identity | None:
        """What process this is, to others of its machine."""

    async def find(self, name: str) -> Neighbour | None:
        """The host's process of that name; None when it is gone."""

    async def stop(self) -> None:
        """Let go of the cluster."""
