"""The ports of a detached system: the environment of its root, and a driver's way to the root.

Adapters: Ray (`detached_systems.py`, `root_actor.py` and `root_client.py` in `engines/ray/`), and
the simulator.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple, Protocol

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import DirectoryChanged, Peer
from callboard.messages.core.errors import CallboardError
from callboard.messages.ports import Engine, FrameCarrier, LargeValueStore, Ledger

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
    "RootLedger",
    "Stopped",
    "join_request_of",
]

VISIT_TIMEOUT_S: Final = 30.0
"""How long the connection to a cluster may take, without a start there."""

Pulled = Sequence[tuple[bytes, Sequence[Any]]]
"""Frames, each with its object references."""


class RootAway(Exception):
    """The root does not answer now; it is being replaced, or its start is under way."""


class JoinRequest(NamedTuple):
    """The request of a driver that joins."""

    slot: int
    epoch: int
    name: str
    address: SocketAddress | None
    """The socket for frames from processes of its own node."""
    job: str
    """The cluster's id of its job; empty when the driver has no job of its own."""
    identity: Identity | None
    """Its process, for other processes of its machine."""


def join_request_of(row: Sequence[Any]) -> JoinRequest:
    """A join request from its fields as plain data."""
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
    """The facts that a driver needs to join."""

    control_epoch: int
    control_address: SocketAddress | None
    peers: dict[int, Peer]
    directory: DirectoryChanged


# --- the root's side ---------------------------------------------------------------------------


class DetachedEngine(Engine, Protocol):
    """An engine whose processes outlive the root that started them."""

    async def find(self, name: str) -> DetachedProcess | None:
        """The process of that name; None when it is gone."""

    async def until_ended(self, mark: Sequence[Any]) -> None:
        """Return when the process with that `HostProcess.mark` has surely ended."""


class RootLedger(Ledger, Protocol):
    """A ledger at which roots claim epochs."""

    async def add(self, key: str, value: bytes) -> bool:
        """Save an entry that does not exist, in one step; False when it exists already.

        Raises `ClusterError`; the entry may have been saved then.
        """

    async def read_some(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The saved entries of these keys. Raises `ClusterError`."""


class RootEnvironment(Protocol):
    """The process of one incarnation of a root."""

    @property
    def ledger(self) -> RootLedger:
        """The records of earlier incarnations."""

    def identity(self) -> bytes:
        """This process, for `has_ended` of later incarnations."""

    async def has_ended(self, identity: bytes) -> bool:
        """Whether the process of an earlier incarnation has ended for sure.

        False for a process that cannot be seen from here, as on a node that was cut off.
        """

    def engine(self, epoch: int, records: Records) -> DetachedEngine:
        """Make the engine of this incarnation; called once.

        The engine records each process before its start and after its end.
        """

    async def end_processes(self, names: Iterable[str]) -> None:
        """End these processes, as far as they live."""

    async def forget(self) -> None:
        """Erase all records. Raises `ClusterError`."""

    async def carrier_to(
        self, join_request: JoinRequest, pulls: PullCarrier
    ) -> tuple[FrameCarrier, SocketAddress | None]:
        """The carrier of frames to a driver, and the socket for its frames to this root."""

    def watch_process(
        self, join_request: JoinRequest, gone: Callable[[], None]
    ) -> Callable[[], None]:
        """Call `gone` once, soon after the driver's process has ended.

        Never for a process that lives, however busy or hard to reach. Returns a function that
        ends the watch.
        """

    async def end(self) -> None:
        """End this process for good."""

    def crash(self) -> None:
        """Kill this process; another incarnation replaces it."""


# --- a driver's side ---------------------------------------------------------------------------


class RootClient(Protocol):
    """A driver's client of the root of a system, across its incarnations.

    Calls raise `RootAway` while no root answers, and `HostLost` once none comes back.
    """

    async def join(self, join_request: JoinRequest, known_epoch: int) -> JoinReply | None:
        """See `DetachedRoot.join`."""

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled | None:
        """See `DetachedRoot.pull`."""

    async def leave(self, slot: int) -> None:
        """See `DetachedRoot.leave`."""

    def beat(self, slot: int, every_s: float) -> Callable[[], None]:
        """Send heartbeats while this process lives, however busy its event loop is.

        Returns a function that ends them.
        """

    def carrier(self, join_reply: JoinReply, mine: SocketAddress | None) -> FrameCarrier:
        """The carrier of frames to the root."""


class Neighbour(Protocol):
    """The process of a host, for a driver."""

    name: str
    address: SocketAddress | None

    async def carrier(self) -> FrameCarrier:
        """The carrier of frames to it."""

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled:
        """The frames that wait there for a driver. Raises `HostLost`, `TransportBroken`."""


class DriverEngine(Protocol):
    """A driver's engine: its connection to the cluster."""

    def attach(self, control: Host) -> None:
        """Set the driver's own host."""

    def large_values(self) -> LargeValueStore:
        """The store for large values of the system."""

    async def socket_address(self) -> SocketAddress | None:
        """The socket for frames from processes of this driver's node."""

    def job(self) -> str:
        """The cluster's id of the job that ends with this process; empty for none."""

    def identity(self) -> Identity | None:
        """This process, for other processes of its machine."""

    async def find(self, name: str) -> Neighbour | None:
        """The host's process of that name; None when it is gone."""

    async def stop(self) -> None:
        """Disconnect from the cluster."""


# --- the systems of a cluster ------------------------------------------------------------------


class AttachedDriver(Connection, Protocol):
    """A driver's connection to a detached system, after its join."""

    @property
    def settings(self) -> Settings:
        """The settings of the system."""

    @property
    def is_over(self) -> bool:
        """Whether this driver has left, was dropped, or the system has ended."""

    @property
    def make_ledger(self) -> Callable[[], Ledger] | None:
        """Makes the ledger of the executions that the system runs itself; can be pickled.

        None where executions belong to their driver and end with it.
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
    """The outcome of `stop_system`."""

    name: str
    in_order: bool
    """Whether its actors stopped in order; otherwise its root did not answer."""


class DetachedSystems(Protocol):
    """The detached systems of a cluster. Call all methods but `visit` inside a `visit`."""

    def visit(
        self, address: str | None = None, *, start_timeout_s: float = VISIT_TIMEOUT_S
    ) -> AbstractAsyncContextManager[None]:
        """Connect to a cluster; the end of `async with` disconnects.

        Raises `SpecError` without an address, and `ClusterUnreachable` when no cluster answers
        within `start_timeout_s`.
        """

    async def list_systems(self) -> list[str]:
        """The names of all systems that run."""

    async def list_leftovers(self) -> list[str]:
        """The systems whose root is dead for good, and that left records and perhaps hosts."""

    async def admin_client(self, name: str) -> AdminClient:
        """A client of a system's admin API. Raises `ActorNotFound`."""

    async def stop_system(self, name: str, timeout_s: float) -> Stopped:
        """Stop a system: its actors in order, then its processes. Raises `ActorNotFound`."""
