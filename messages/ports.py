"""Ports: what the kernel needs from outside, as Protocols. Adapters live in `runtime/`.

Only the wiring knows which adapter stands behind a port.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from .lifecycle import Exit
from .spec import ChildId, ChildSpec, StopTimeout, SupervisorSpec

__all__ = [
    "BlobStore",
    "ChildRunner",
    "Clock",
    "Engine",
    "FrameCarrier",
    "HostProcess",
    "MakeSupervisor",
    "Pickler",
    "SupervisorPort",
    "TimerHandle",
    "TransportBroken",
]


class Clock(Protocol):
    """Monotonic time."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""


class TimerHandle(Protocol):
    """A timer that was set."""

    def cancel(self) -> None:
        """Forget it."""


class ChildRunner(Protocol):
    """What performs a supervisor's decisions: on actors in a host, or on hosts."""

    def start_child(self, child: ChildId, incarnation: int, spec: ChildSpec) -> None:
        """Begin to start it; report `child_started` or `child_start_failed`."""

    def stop_child(
        self, child: ChildId, incarnation: int, timeout: StopTimeout, reason: Exit
    ) -> None:
        """Begin to stop it, kill it after `timeout`; report `child_exited`."""

    def child_gone(self, child: ChildId, reason: Exit) -> None:
        """It ended and is not restarted: forget it."""

    def supervisor_stopped(self, reason: Exit) -> None:
        """The supervisor has ended, and all its children with it."""

    def set_timer(self, at_s: float, callback: Callable[[], None]) -> TimerHandle:
        """Call `callback` at that time of the clock."""


class SupervisorPort(Protocol):
    """A supervisor as its owner sees it: events go in here, `ChildRunner` is called."""

    def start(self) -> None:
        """Begin; children given at the start are started in order."""

    def add_child(self, spec: ChildSpec, child: ChildId = None) -> None:
        """Start one more child, under the id `child` if given (many may share one spec).

        Raises `SpecError` for an id in use, `UsageError` when there are too many.
        """

    def child_started(self, child: ChildId, incarnation: int) -> None:
        """The start succeeded."""

    def child_start_failed(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """The start failed."""

    def child_exited(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """A started child ended, asked for or not."""

    def remove_child(self, child: ChildId) -> None:
        """Stop and forget a child."""

    def stop(self) -> None:
        """Stop all children in reverse order, then report `supervisor_stopped`."""

    def child(self, child: ChildId) -> Any:
        """A frozen picture of one child: `restarts`, `last_exit`. Raises `ActorNotFound`."""

    def statistics(self) -> Any:
        """A frozen picture of it."""


MakeSupervisor = Callable[[SupervisorSpec, ChildRunner], SupervisorPort]


class TransportBroken(Exception):
    """It cannot be known whether a frame arrived: it is sent again under its number."""


class FrameCarrier(Protocol):
    """One peer, as a link's transport reaches it."""

    def write(self, frame: bytes) -> bool:
        """Hand a frame over without waiting, if the transport can; otherwise False.

        True promises nothing about arrival: the link sends again what is not acknowledged.
        """

    def close(self) -> None:
        """The link is done with it."""

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Hand a frame over and bring the peer's waiting frame back.

        Returns once the peer has it. Raises `HostLost` when the peer is dead, and
        `TransportBroken` when it cannot be known whether the frame arrived (it is then
        sent again under the same number).
        """


class BlobStore(Protocol):
    """Where values that are too large for a frame are put."""

    def put(self, body: bytes, buffers: Sequence[Any]) -> Any:
        """Store a message; gives a reference that may ride beside a frame."""

    def get(self, reference: Any) -> Awaitable[tuple[bytes, Sequence[Any]]]:
        """The stored message; raises `PayloadLost`."""


class HostProcess(Protocol):
    """One process that is, or can become, a host; the root's handle on it."""

    name: str
    """What the Ray dashboard shows."""

    async def become(self, slot: int, epoch: int, name: str) -> FrameCarrier:
        """Take over a slot; gives the way for the control host's frames to it.

        Raises `HostLost`.
        """

    def bring_frames(self, slot: int, epoch: int) -> None:
        """Bring the host's frames to the control host, whose link to it is connected now."""

    async def connect(
        self, peers: "Mapping[int, tuple[int, HostProcess]]", *, is_open: bool = True
    ) -> None:
        """Tell the host who is at other slots: slot to (epoch, process).

        With `is_open` False requests for their actors go on waiting, because those are
        still being started: until the same peers are told again. Raises `HostLost`.
        """

    async def watch(self) -> Exit:
        """Returns how the host ended, once it has; waits as long as that takes."""

    async def ping(self) -> None:
        """Returns when the process answers. Raises `HostLost`; the caller sets the deadline."""

    async def kill(self) -> None:
        """End the process at once."""


class Engine(Protocol):
    """Gives hosts their processes."""

    name: str

    async def start(self) -> None:
        """Get ready; raises `ClusterUnreachable` within its deadline."""

    async def start_process(self, number: int) -> HostProcess:
        """Start one more process, empty. Raises `ClusterError`."""

    def attach(self, control: Any) -> None:
        """The control host, to which processes bring their frames."""

    def default_hosts(self) -> int:
        """How many hosts make sense here."""

    def blobs(self) -> BlobStore:
        """The blob store that all its processes share."""

    async def stop(self) -> None:
        """End all processes and let go of the cluster."""


class Pickler(Protocol):
    """Ships code: actor classes and the arguments of their constructors. Never messages."""

    def dumps(self, value: Any) -> bytes:
        """Bytes from which another process can make the same value."""

    def loads(self, data: bytes) -> Any:
        """The value again."""
