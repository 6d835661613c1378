"""Ports: what the kernel needs from outside, as Protocols. Adapters live in `runtime/`.

Only the wiring knows which adapter stands behind a port.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from .control.hosts import ProcessOrder
from .control.lifecycle import Exit
from .control.spec import ChildId, ChildSpec, StopTimeout, SupervisorSpec

__all__ = [
    "ChildRunner",
    "Clock",
    "Engine",
    "FrameCarrier",
    "HostProcess",
    "LargeValueStore",
    "Ledger",
    "MakeSupervisor",
    "MetricSink",
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

    def start_children(
        self, children: Sequence[ChildId], first_incarnation: int, spec: ChildSpec
    ) -> None:
        """Begin to start those of one `add_children`; report on each as for `start_child`.

        Those that run at once may be reported together, by `children_started`.
        """

    def stop_child(
        self,
        child: ChildId,
        incarnation: int,
        timeout: StopTimeout,
        reason: Exit,
        *,
        comes_back: bool,
    ) -> None:
        """Begin to stop it, kill it after `timeout`; report `child_exited`.

        `comes_back` when it is to be started again with its group.
        """

    def child_gone(self, child: ChildId, reason: Exit) -> None:
        """It ended and is not restarted: forget it."""

    def supervisor_started(self) -> None:
        """Every child given at the start runs."""

    def supervisor_stopped(self, reason: Exit) -> None:
        """The supervisor has ended, and all its children with it."""

    def set_timer(self, at_s: float, callback: Callable[[], None]) -> TimerHandle:
        """Call `callback` at that time of the clock."""


class SupervisorPort(Protocol):
    """A supervisor as its owner sees it: events go in here, `ChildRunner` is called."""

    def expect_child(self, spec: ChildSpec) -> None:
        """Add a child that `start` starts, after those added before it. Raises `SpecError`."""

    def start(self) -> None:
        """Begin; children given at the start are started in order."""

    def add_child(self, spec: ChildSpec, child: ChildId = None) -> None:
        """Start one more child, under the id `child` if given (many may share one spec).

        Raises `SpecError` for an id in use, `UsageError` when there are too many.
        """

    def add_children(self, spec: ChildSpec, children: Sequence[ChildId]) -> None:
        """Start more children that share a spec; all of them, or none. Raises like `add_child`."""

    def child_started(self, child: ChildId, incarnation: int) -> None:
        """The start succeeded."""

    def children_started(self, children: Sequence[ChildId], first_incarnation: int) -> None:
        """These starts succeeded; the incarnations are consecutive."""

    def child_start_failed(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """The start failed."""

    def child_exited(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """A started child ended, asked for or not."""

    def remove_child(self, child: ChildId) -> None:
        """Stop and forget a child."""

    def terminate_child(self, child: ChildId) -> None:
        """Stop a child and keep its spec, unless it is temporary. Raises `ActorNotFound`."""

    def restart_child(self, child: ChildId) -> None:
        """Start a child that is down. Raises `ActorNotFound`, `UsageError`, `ActorStopped`."""

    def stop(self) -> None:
        """Stop all children in reverse order, then report `supervisor_stopped`."""

    def abandon(self) -> None:
        """Its children are gone by force: nothing is performed or heard any more."""

    def child(self, child: ChildId) -> Any:
        """A frozen picture of one child: `restarts`, `last_exit`, `is_down`.

        Raises `ActorNotFound`.
        """

    def stop_timeouts(self) -> Iterable[tuple[ChildId, StopTimeout]]:
        """How long each child may take to stop."""

    def history(self, child: ChildId) -> Any:
        """Its last ends and what was decided, oldest first; also of one that is forgotten."""

    def inherit(self, other: "SupervisorPort") -> None:
        """Go on with the histories that another supervisor kept of the same children."""

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


class LargeValueStore(Protocol):
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

    async def warm(self, codes: Sequence[bytes]) -> None:
        """Load the code of actors ahead of time; what cannot be loaded is left. Raises nothing."""

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

    async def start_process(self, number: int, order: ProcessOrder | None = None) -> HostProcess:
        """Start one more process, empty; with what `order` asks for.

        Raises `ClusterError`, at once and naming what is missing when no node has it, and
        within the start timeout when it is only taken. When the caller is cancelled nothing
        of the process is left.
        """

    def attach(self, control: Any) -> None:
        """The control host, to which processes bring their frames."""

    def default_hosts(self) -> int:
        """How many hosts make sense here."""

    def large_values(self) -> LargeValueStore:
        """The store for large values that all its processes share."""

    async def stop(self) -> None:
        """End all processes and let go of the cluster."""


class Ledger(Protocol):
    """Where a root writes down what its next incarnation must know. Small, slow, and safe."""

    async def write(self, entries: Mapping[str, bytes | None]) -> None:
        """Save these values, in this order; None erases. Returns once they are safe.

        Raises `ClusterError`; some may have been saved then.
        """

    async def read(self) -> dict[str, bytes]:
        """Everything that was saved. Raises `ClusterError`."""


class MetricSink(Protocol):
    """Takes the metrics of one host, whose labels it knows.

    `label` is the value of a metric's one label of its own, empty where it has none.
    """

    def gauge(self, name: str, value: float, label: str = "") -> None:
        """A metric that goes up and down is this now."""

    def count(self, name: str, increase: float, label: str = "") -> None:
        """A metric that only grows has grown by this, which may be 0 at first."""


class Pickler(Protocol):
    """Ships code: actor classes and the arguments of their constructors. Never messages."""

    def dumps(self, value: Any) -> bytes:
        """Bytes from which another process can make the same value."""

    def loads(self, data: bytes) -> Any:
        """The value again."""
