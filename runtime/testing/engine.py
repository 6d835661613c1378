"""The simulated engine: hosts run as simulated processes of one world, with its clock and seed."""

import asyncio
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.hosts import ProcessOrder
from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.nodes import Node
from callboard.messages.core.errors import ClusterError, FrameError, HostLost, PayloadLost
from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import HostProcess, LargeValueStore
from callboard.supervisors.supervisor import Supervisor

from ..hosting.environment import Environment
from ..hosting.settings import Settings
from ..hosting.wiring import CloudPickler, make_host
from .network import RETRY_S, Endpoint, Network
from .process import SimulatedProcess
from .world import World

__all__ = ["SimulatedEngine", "SimulatedPickler", "environment_of"]

HOSTS_DEFAULT: Final = 2
WALL_TIME_S: Final = 1_700_000_000.0
"""The wall clock at the start of a world."""
START_MIN_S: Final = 0.2
START_SPREAD_S: Final = 0.4
"""The start time of a process, as measured with Ray."""
NODE_DEAD_MIN_S: Final = 12.0
NODE_DEAD_SPREAD_S: Final = 53.0
"""The time until Ray declares a node dead that cannot be reached."""
PLAIN: Final = (str, int, float, bool, bytes, type(None))


class SimulatedLargeValues:
    """Large values by reference inside one process."""

    def put(self, body: bytes, buffers: Sequence[Any]) -> Any:
        """Use the value itself as its reference."""
        return (body, tuple(bytes(buffer) for buffer in buffers))

    async def get(self, reference: Any) -> tuple[bytes, Sequence[Any]]:
        """Return the value of a reference."""
        if not isinstance(reference, tuple):
            raise PayloadLost(
                f"{type(reference).__name__} is no reference of this engine.",
                advice="Please report this.",
            )
        body, buffers = reference
        return body, buffers


class SimulatedPickler:
    """Ships spawn entries: it keeps values that need no copy, and pickles the others.

    Classes and plain arguments survive without a copy, and pickling a class by value for every
    seed takes longer than the whole run of the seed.
    """

    def __init__(self, kept: list[Any], bind: Callable[[Address], Ref[Any]]) -> None:
        self._kept = kept
        self._bind = bind
        self._pickler = CloudPickler(bind)

    def dumps(self, value: Any) -> bytes:
        """The index of the kept value, or its pickle."""
        if not _is_plain(value):
            return b"P" + self._pickler.dumps(value)
        self._kept.append(value)
        return b"K%d" % (len(self._kept) - 1)

    def loads(self, data: bytes) -> Any:
        """The value, with its references bound to this host."""
        if data[:1] == b"P":
            return self._pickler.loads(data[1:])
        return self._bound(self._kept[int(data[1:])])

    def _bound(self, value: Any) -> Any:
        kind = type(value)
        if kind is Ref:
            return self._bind(value.address)
        if kind is tuple or kind is list:
            return kind(map(self._bound, value))
        if kind is dict:
            return {key: self._bound(each) for key, each in value.items()}
        return value


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind is tuple or kind is list:
        return all(map(_is_plain, value))
    if kind is dict:
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    # Specs and restart kinds are frozen.
    return (
        isinstance(value, PLAIN)
        or kind is Ref
        or isinstance(value, type)
        or (kind.__module__ == "callboard.messages.control.spec")
    )


class _Driver:
    """The driver's process as an endpoint of calls."""

    def __init__(self, engine: "SimulatedEngine") -> None:
        self._engine = engine
        self.name = "driver"
        self.loop = engine.world.driver

    @property
    def host(self) -> Host | None:
        return self._engine.control

    def death(self, why: str) -> Exception:
        return HostLost(f"the driver {why}.")


class SimulatedEngine:
    """Processes of one world."""

    name = "sim"
    has_nodes = False
    is_elastic = False

    def __init__(
        self,
        world: World,
        settings: Settings,
        network: Network | None = None,
        *,
        environment: Environment | None = None,
        on_host: Callable[[Host], None] | None = None,
    ) -> None:
        self.world: Final = world
        self.settings: Final = settings
        self.network: Final = Network(world) if network is None else network
        self.control: Host | None = None
        self.driver: Endpoint = _Driver(self)
        """The process of the control host."""
        self.processes: Final[list[SimulatedProcess]] = []
        """All processes so far, in the order of their starts."""
        self.failing_starts = 0
        """The number of coming process starts that fail."""
        self.node_count = 1
        """The number of nodes. With more than one, processes are not on the driver's, node 0."""
        self._dead_nodes: dict[int, None] = {}
        """Cut nodes that the control plane has declared dead."""
        self.refusals: Final[list[str]] = []
        """Refused frames: none in a correct run."""
        self._large_values = SimulatedLargeValues()
        self._on_host = on_host
        self.environment: Final = environment or environment_of(world)

    async def start(self) -> None:
        """Do nothing: the world is ready."""

    async def start_process(
        self,
        number: int,
        order: ProcessOrder | None = None,
        *,
        is_standby: bool = False,
        node: str = "",
    ) -> HostProcess:
        """Start one more process; it takes virtual time."""
        started = asyncio.get_running_loop().create_future()
        after_s = START_MIN_S + START_SPREAD_S * self.world.random.random()
        self.world.at(self.world.now_s + after_s, _set, started)
        await started
        if self.failing_starts:
            self.failing_starts -= 1
            self.world.trace.note(self.world.now_s, f"process-{number} does not start")
            raise ClusterError(f"process {number} did not start.", advice="The fault plan says so.")
        process = self._new_process(number)
        process.node = node
        self.processes.append(process)
        return process

    def _new_process(self, number: int) -> SimulatedProcess:
        return SimulatedProcess(self, number)

    @property
    def is_root_replaced(self) -> bool:
        """False: the root is in the driver."""
        return False

    def node_of(self, number: int) -> int:
        """The node for a process that starts: each in turn, without those that are cut."""
        if self.node_count == 1:
            return 0
        nodes = [1 + (number + k) % (self.node_count - 1) for k in range(self.node_count - 1)]
        return next((n for n in nodes if not self.network.is_node_cut(n)), nodes[0])

    def every(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call in the root's process, as a thread does: also while its event loop computes."""
        world, loop, goes_on = self.world, self.driver.loop, [True]

        def tick() -> None:
            if not goes_on or loop.is_dead:
                return
            if loop.is_paused:
                world.at(loop.paused_until_s, tick)
                return
            callback()
            world.at(world.now_s + seconds / loop.rate, tick)

        world.at(world.now_s + seconds / loop.rate, tick)
        return goes_on.clear

    # --- faults of nodes ----------------------------------------------------------------------

    def cut_node(self, node: int, *, out: bool = True, into: bool = True) -> None:
        """Cut a node from all others; the control plane declares it dead after a while."""
        self.network.cut_node(node, out=out, into=into)
        after_s = NODE_DEAD_MIN_S + NODE_DEAD_SPREAD_S * self.world.random.random()
        self.world.at(self.world.now_s + after_s, self._declare_dead, node)

    def _declare_dead(self, node: int) -> None:
        if not self.network.is_node_cut(node) or node in self._dead_nodes:
            return
        self._dead_nodes[node] = None
        for process in self._on_node(node):
            self.network.declare_dead(process)
        self._end_dead_node(node)

    def _end_dead_node(self, node: int) -> None:
        """A node that is connected again, and finds that it is dead, ends its processes."""
        if self.network.is_node_cut(node):
            self.world.at(self.world.now_s + RETRY_S, self._end_dead_node, node)
            return
        self._dead_nodes.pop(node)
        for process in self._on_node(node):
            process.die("ends with its node, which was declared dead")

    def _on_node(self, node: int) -> list[SimulatedProcess]:
        return [
            process
            for process in self.processes
            if process.loop.node == node and not process.loop.is_dead
        ]

    def make_host(
        self, slot: int, epoch: int, name: str, on_failed: Callable[[Exit], None]
    ) -> Host:
        """Make a host in the running process."""
        host, _ = make_host(
            slot=slot,
            epoch=epoch,
            name=name,
            settings=self.settings,
            large_values=self._large_values,
            on_failed=on_failed,
            environment=self.environment,
        )
        if self._on_host is not None:
            self._on_host(host)
        return host

    def attach(self, control: Host) -> None:
        """Remember the control host."""
        self.control = control
        if self._on_host is not None:
            self._on_host(control)

    def note_refusal(self, host: Host, error: FrameError) -> None:
        """Note that a host has refused a frame."""
        self.refusals.append(f"{host.name} refuses a frame: {error}")

    def process_of(self, slot: int) -> SimulatedProcess | None:
        """The living process that is the host of a slot."""
        found = None
        for process in self.processes:
            host = process.host
            if host is not None and host.slot == slot and not process.loop.is_dead:
                found = process  # A later process has a later epoch.
        return found

    def renews_until_s(self) -> float:
        """Infinity: there is no control store."""
        return math.inf

    async def nodes(self) -> Sequence[Node]:
        """None: a world without nodes of its own is one machine."""
        return ()

    def default_hosts(self) -> int:
        """Two hosts: the fewest with a link."""
        return HOSTS_DEFAULT

    def large_values(self) -> LargeValueStore:
        """The store of large values of all hosts."""
        return self._large_values

    async def stop(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.die("ends with its system")


def environment_of(
    world: World, *, make_supervisor: Callable[..., Supervisor] = Supervisor
) -> Environment:
    """The environment of systems in a world."""
    ids, kept = itertools.count(1), list[Any]()
    return Environment(
        random=world.random.random,
        wall_time=lambda: WALL_TIME_S + world.now_s,
        new_id=lambda: f"execution-{next(ids)}",
        epoch=lambda: 1,
        is_real=False,
        make_pickler=lambda bind: SimulatedPickler(kept, bind),
        make_supervisor=make_supervisor,
    )


def _set(future: Any) -> None:
    if not future.done():
        future.set_result(None)
