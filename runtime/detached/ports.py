"""What a detached system needs from outside: a root that comes back, and a driver's way to it.

Adapters: Ray (`entry.py`, `ray_line.py`, `root_actor.py`), and the simulator.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple, Protocol

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import DirectoryChanged, Peer
from callboard.messages.core.errors import CallboardError
from callboard.messages.ports import BlobStore, Engine, FrameCarrier, Ledger

from ..admin.client import AdminClient
from ..control_plane.adoption import DetachedProcess
from ..control_plane.control import Connection
from ..control_plane.records import Records
from ..hosting.environment import Environment
from ..hosting.settings import Settings
from ..transport.process_watch import Identity
from ..transport.pulls import PullCarrier
from ..transport.sockets import SocketAddress

__all__ = [
    "VISIT_TIMEOUT_S",
    "AttachedDriver",
    "DetachedEngine",
    "DetachedSystems",
    "DriverEngine",
    "Enter",
    "JoinReply",
    "JoinRequest",
    "Neighbour",
    "Pulled",
    "RootAway",
    "RootClient",
    "RootEnvironment",
    "Stopped",
    "join_request_of",
]

VISIT_TIMEOUT_S: Final = 30.0
"""How long connecting to a cluster may take where nothing is started there."""

Pulled = Sequence[tuple[bytes, Sequence[Any]]]
"""Frames with the references beside them."""


class RootAway(Exception):
    """The root does not answer now; it is coming back, or on its way."""


class JoinRequest(NamedTuple):
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


def join_request_of(row: Sequence[Any]) -> JoinRequest:
    """A visitor from its fields as plain data."""
    slot, epoch, name, address, job, identity = row
    return JoinRequest(
        slot,
        epoch,
        name,
        None if address is None else SocketAddress(*address),
        job,
        None if identity is None else Identity(*identity),
    )


class JoinReply(NamedTuple):
    """What an attached driver needs to take part."""

    control_epoch: int
    control_address: SocketAddress | None
    peers: dict[int, Peer]
    directory: DirectoryChanged


# --- the root's side ---------------------------------------------------------------------------


class DetachedEngine(Engine, Protocol):
    """An engine whose processes outlive the root that has started them."""

    async def find(self, name: str) -> DetachedProcess | None:
        """The process of that name; None when it is gone."""


class RootEnvironment(Protocol):
    """Where one incarnation of a root lives."""

    @property
    def ledger(self) -> Ledger:
        """What its predecessors have written down."""

    def engine(self, epoch: int, records: Records) -> DetachedEngine:
        """The engine of this incarnation; called once.

        It writes down each process before that is started, and when that has been ended.
        """

    async def end_processes(self, names: Iterable[str]) -> None:
        """End these processes, as far as they live."""

    async def forget(self) -> None:
        """Forget all that was written down. Raises `ClusterError`."""

    async def carrier_to(
        self, join_request: JoinRequest, pulls: PullCarrier
    ) -> tuple[FrameCarrier, SocketAddress | None]:
        """The way for frames to a driver, and the one it has for frames to here."""

    def watch_process(self, join_request: JoinRequest, gone: Callable[[], None]) -> Callable[[], None]:
        """Have `gone` called once, soon after the driver's process has ended.

        Never for one that lives, however busy or hard to reach. Gives what ends the watch.
        """

    async def end(self) -> None:
        """End this process; it is not to come back."""

    def crash(self) -> None:
        """End this process at once; it is started again."""


# --- a driver's side ---------------------------------------------------------------------------


class RootClient(Protocol):
    """A driver's line to the root of a system, whichever incarnation that is.

    Its calls raise `RootAway` while there is none, and `HostLost` once none comes back.
    """

    async def join(self, join_request: JoinRequest, known_epoch: int) -> JoinReply | None:
        """See `DetachedRoot.join`."""

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled | None:
        """See `DetachedRoot.pull`."""

    async def leave(self, slot: int) -> None:
        """See `DetachedRoot.leave`."""

    def beat(self, slot: int, every_s: float) -> Callable[[], None]:
        """Give signs of life as long as this process lives, however busy its event loop is.

        Gives what ends them.
        """

    def carrier(self, join_reply: JoinReply, mine: SocketAddress | None) -> FrameCarrier:
        """The way for frames to the root."""


class Neighbour(Protocol):
    """A host's process, as a driver reaches it."""

    name: str
    address: SocketAddress | None

    async def carrier(self) -> FrameCarrier:
        """The way for frames to it."""

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled:
        """What waits there for this driver. Raises `HostLost`, `TransportBroken`."""


class DriverEngine(Protocol):
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


# --- the systems of a cluster ------------------------------------------------------------------


class AttachedDriver(Connection, Protocol):
    """A driver's part in a detached system, once it has been let in."""

    @property
    def settings(self) -> Settings:
        """How the system is run."""

    @property
    def is_over(self) -> bool:
        """Whether this driver has left, was dropped, or the system has ended."""

    @property
    def make_ledger(self) -> Callable[[], Ledger] | None:
        """Makes the ledger of the executions that the system runs itself; it can be pickled.

        None where executions are their driver's own, and end with it.
        """


class Enter(Protocol):
    """The way into a detached system."""

    async def __call__(
        self,
        settings: Settings,
        environment: Environment,
        on_failed: Callable[[CallboardError], None],
        /,
        *,
        starts: bool,
    ) -> AttachedDriver:
        """Start a detached system, or attach to a running one.

        Raises `NameTaken` or `ActorNotFound`, `SpecError`, `ClusterError`.
        """


class Stopped(NamedTuple):
    """How a detached system was stopped."""

    name: str
    in_order: bool
    """Whether its actors were asked to stop; otherwise its root did not answer."""


class DetachedSystems(Protocol):
    """The detached systems of a cluster. All but `visit` need a visit."""

    def visit(
        self, address: str | None = None, *, start_timeout_s: float = VISIT_TIMEOUT_S
    ) -> AbstractAsyncContextManager[None]:
        """Be connected to a cluster.

        Raises `SpecError` without an address, `ClusterUnreachable` when nothing answers there,
        or connecting takes longer than `start_timeout_s`.
        """

    async def list_systems(self) -> list[str]:
        """The names of all that run."""

    async def list_leftovers(self) -> list[str]:
        """Those whose root is dead for good, while their entries and perhaps hosts are there."""

    async def admin_client(self, name: str) -> AdminClient:
        """A client of a system's admin API. Raises `ActorNotFound`."""

    async def stop_system(self, name: str, timeout_s: float) -> Stopped:
        """Stop a system: its actors in order, then its processes. Raises `ActorNotFound`."""
