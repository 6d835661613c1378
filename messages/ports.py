"""Ports: the kernel's interfaces to the outside, as Protocols. `runtime/` has the adapters.

Only the wiring knows the adapter behind a port.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from .control.hosts import HeartbeatAnswer, ProcessOrder
from .control.lifecycle import Exit
from .control.nodes import Node
from .control.spec import ChildId, ChildSpec, StopTimeout, SupervisorSpec

__all__ = [
    "BreakableCarrier",
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
        """Cancel the timer."""


class ChildRunner(Protocol):
    """Performs a supervisor's decisions: on actors in a host, or on hosts."""

    def start_child(self, child: ChildId, incarnation: int, spec: ChildSpec) -> None:
        """Begin to start a child; report `child_started` or `child_start_failed`."""

    def start_children(
        self, children: Sequence[ChildId], first_incarnation: int, spec: ChildSpec
    ) -> None:
        """Begin to start the children of one `add_children`; report each as in `start_child`.

        Children that run at once may be reported together, by `children_started`.
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
        """Begin to stop a child, and kill it after `timeout`; report `child_exited`.

        With `comes_back` the child will be restarted with its group.
        """

    def child_gone(self, child: ChildId, reason: Exit) -> None:
        """The child has ended and will not be restarted: remove it."""

    def supervisor_started(self) -> None:
        """All initial children run."""

    def supervisor_stopped(self, reason: Exit) -> None:
        """The supervisor and all its children have ended."""

    def set_timer(self, at_s: float, callback: Callable[[], None]) -> TimerHandle:
        """Call `callback` at that time of the clock."""


class SupervisorPort(Protocol):
    """A supervisor for its owner: takes events, and calls a `ChildRunner`."""

    def expect_child(self, spec: ChildSpec) -> None:
        """Add a child that `start` starts, after those added before it. Raises `SpecError`."""

    def start(self) -> None:
        """Start the initial children, in order."""

    def add_child(self, spec: ChildSpec, child: ChildId = None) -> None:
        """Start another child, with the id `child` if given (children may share a spec).

        Raises `SpecError` for an id in use, `UsageError` when there are too many children.
        """

    def add_children(self, spec: ChildSpec, children: Sequence[ChildId]) -> None:
        """Start several children that share a spec, all or none. Raises like `add_child`."""

    def child_started(self, child: ChildId, incarnation: int) -> None:
        """Report that a child has started."""

    def children_started(self, children: Sequence[ChildId], first_incarnation: int) -> None:
        """Report that children have started, with consecutive incarnations."""

    def child_start_failed(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """Report that the start of a child has failed."""

    def child_exited(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """Report that a started child has ended, on request or by itself."""

    def remove_child(self, child: ChildId) -> None:
        """Stop and remove a child."""

    def terminate_child(self, child: ChildId) -> None:
        """Stop a child and keep its spec, unless it is temporary. Raises `ActorNotFound`."""

    def restart_child(self, child: ChildId) -> None:
        """Start a child that is down. Raises `ActorNotFound`, `UsageError`, `ActorStopped`."""

    def stop(self) -> None:
        """Stop all children in reverse order, then report `supervisor_stopped`."""

    def abandon(self) -> None:
        """End without stopping the children, which were killed: perform and accept no more."""

    def child(self, child: ChildId) -> Any:
        """A snapshot of one child: `restarts`, `last_exit`, `is_down`.

        Raises `ActorNotFound`.
        """

    def stop_timeouts(self) -> Iterable[tuple[ChildId, StopTimeout]]:
        """The stop timeout of each child."""

    def history(self, child: ChildId) -> Any:
        """The last exits of a child and the decisions, oldest first; even of a removed child."""

    def inherit(self, other: "SupervisorPort") -> None:
        """Take over the histories of the same children from another supervisor."""

    def statistics(self) -> Any:
        """A snapshot of the supervisor."""


MakeSupervisor = Callable[[SupervisorSpec, ChildRunner], SupervisorPort]


class TransportBroken(Exception):
    """The arrival of a frame is not known: the link sends it again under its number."""


class FrameCarrier(Protocol):
    """The transport of a link to one peer."""

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream: large messages leave in parts then, and otherwise by reference.

        A stream may break, and frames with parts go by another way then.
        """

    def write(self, frame: bytes) -> bool:
        """Hand a frame over without waiting, if the transport can; otherwise give False.

        True promises no arrival: the link repeats frames that are not acknowledged.
        """

    def close(self) -> None:
        """Release the transport: the link uses it no more."""

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Hand a frame over, and bring back the frame that waits at the peer.

        Returns once the peer has the frame. Raises `HostLost` when the peer is dead, and
        `TransportBroken` when the arrival is not known (the link then sends the frame again
        under the same number).
        """


@runtime_checkable
class BreakableCarrier(FrameCarrier, Protocol):
    """A carrier that loses frames, and says so, while the processes of both sides live."""

    on_break: Callable[[], object]
    """Called when frames that were handed over may be lost. The link sets it."""


class LargeValueStore(Protocol):
    """The store of messages that are too large for a frame."""

    def put(self, body: bytes, buffers: Sequence[Any]) -> Any:
        """Store a message; gives a reference that may travel with a frame."""

    def get(self, reference: Any) -> Awaitable[tuple[bytes, Sequence[Any]]]:
        """The stored message; raises `PayloadLost`."""


class HostProcess(Protocol):
    """A process that is a host, or can become one; the root's handle on it."""

    name: str
    """The name in Ray's dashboard."""
    pid: int
    """Its process; 0 where it has none of its own."""

    @property
    def node(self) -> str:
        """The id of its node; empty where it is not known."""

    @property
    def mark(self) -> tuple[Any, ...]:
        """Plain data by which another incarnation of the root finds out whether it has ended."""

    @property
    def is_leased(self) -> bool:
        """Whether it ends itself without heartbeats. The end of one that does not is proven."""

    @property
    def has_ended(self) -> bool:
        """Whether its end is proven already; see `until_ended`."""

    async def become(self, slot: int, epoch: int, name: str) -> FrameCarrier:
        """Take over a slot; gives the transport for frames of the control host to it.

        Raises `HostLost`.
        """

    def bring_frames(self, slot: int, epoch: int) -> None:
        """Begin to bring the host's frames to the control host, whose link is connected now."""

    async def connect(
        self, peers: "Mapping[int, tuple[int, HostProcess]]", *, is_open: bool = True
    ) -> None:
        """Give the host the processes at other slots: slot to (epoch, process).

        With `is_open` False, requests for actors there wait, because the actors are still
        starting, until a call with the same peers opens them. Raises `HostLost`.
        """

    async def warm(self, codes: Sequence[bytes]) -> None:
        """Load the code of actors in advance. Skips code that does not load; raises nothing."""

    async def watch(self) -> Exit:
        """Wait for the end of the host; gives its exit."""

    def beat(
        self, stamp_s: float | None, answered: "Callable[[HeartbeatAnswer | None], None]"
    ) -> None:
        """Send a heartbeat from any thread, and return at once; `stamp_s` renews the lease.

        Calls `answered` once, from any thread: with None when the call has failed. A call that
        waits for an unreachable process has neither.
        """

    async def kill(self) -> None:
        """End the process at once. Returns once that is under way; see `until_ended`."""

    async def until_ended(self) -> None:
        """Return once the process has surely ended: it runs no code any more.

        The kernel says so, or the cluster, because the process died while its node lives. Never
        returns while neither says so: a process that cannot be reached may run.
        """


class Engine(Protocol):
    """Starts the processes of hosts."""

    name: str
    has_nodes: bool
    """Whether it has nodes to choose from."""

    @property
    def is_elastic(self) -> bool:
        """Whether nodes may come and go."""

    async def start(self) -> None:
        """Connect to the cluster; raises `ClusterUnreachable` within its deadline."""

    async def start_process(
        self,
        number: int,
        order: ProcessOrder | None = None,
        *,
        is_standby: bool = False,
        node: str = "",
    ) -> HostProcess:
        """Start an empty process: with the resources of `order`, or on `node`.

        The name of a standby says that it is one, since Ray cannot rename it later.

        Raises `ClusterError`: at once, with the missing resources, when no node has them, and
        within the start timeout when others use them. Cancelling the caller leaves no process
        behind.
        """

    def attach(self, control: Any) -> None:
        """Set the control host, to which processes bring their frames."""

    def renews_until_s(self) -> float:
        """The time, of the clock of leases, until which a root in this process may renew them.

        Infinite where the hosts need no control store of a cluster. Any thread may ask.
        """

    async def nodes(self) -> Sequence[Node]:
        """The nodes of now; none where they make no difference. Raises `ClusterError`."""

    def every(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` every so often, however busy the event loop is: from any thread.

        Returns a function that ends this. An engine whose hosts share this process never calls:
        they need no heartbeats.
        """

    def default_hosts(self) -> int:
        """The default number of hosts on this cluster."""

    def large_values(self) -> LargeValueStore:
        """The store for large values that all its processes share."""

    async def stop(self) -> None:
        """End all processes and disconnect from the cluster."""


class Ledger(Protocol):
    """Durable entries that a root writes for its next incarnation: few, small and slow."""

    async def write(self, entries: Mapping[str, bytes | None]) -> None:
        """Save these entries, in this order; None deletes one. Returns once they are durable.

        Raises `ClusterError`; some entries may have been saved then.
        """

    async def read(self) -> dict[str, bytes]:
        """All saved entries. Raises `ClusterError`."""


class MetricSink(Protocol):
    """Takes the metrics of one host, whose labels it knows.

    `label` is the value of the metric's own label, empty for a metric without one.
    """

    def gauge(self, name: str, value: float, label: str = "") -> None:
        """Set a metric that goes up and down."""

    def count(self, name: str, increase: float, label: str = "") -> None:
        """Increase a metric that only grows; an increase of 0 makes it appear."""


class Pickler(Protocol):
    """Serialises code: actor classes and their constructors' arguments. Never messages."""

    def dumps(self, value: Any) -> bytes:
        """Bytes from which another process can make the same value."""

    def loads(self, data: bytes) -> Any:
        """The value in these bytes."""
