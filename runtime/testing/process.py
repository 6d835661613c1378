"""Simulated processes of hosts, and the carriers of the links between them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import CONTROL_SLOT
from callboard.messages.control.hosts import HeartbeatAnswer
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.core.errors import FrameError, HostLost, InternalError
from callboard.messages.ports import FrameCarrier, HostProcess, TransportBroken

from ..hosting.lease import CLOCK_RATE_MAX, Lease
from ..hosting.settings import Settings
from .loop import SimulatedLoop
from .network import NOTICE_S, RETRY_S, UNREACHABLE_S, Endpoint, Network
from .world import World

__all__ = ["ProcessEngine", "SimulatedCarrier", "SimulatedProcess"]

CONNECTING_S: Final = 0.0005
DRAINING_S: Final = 0.005
"""The time until a full stream has room again."""
CLOCK_OFFSET_S: Final = 1_000.0
CLOCK_RATE_SPREAD: Final = CLOCK_RATE_MAX
"""The most that the clock of a process runs faster or slower than the world's."""


class ProcessEngine(Protocol):
    """What processes and carriers need of the engine that makes them."""

    @property
    def world(self) -> World:
        """Their world."""

    @property
    def settings(self) -> Settings:
        """The settings of the system."""

    @property
    def network(self) -> Network:
        """The network that carries their frames and calls."""

    @property
    def control(self) -> Host | None:
        """The control host, once there is one."""

    @property
    def driver(self) -> Endpoint:
        """The process of the control host."""

    @property
    def is_root_replaced(self) -> bool:
        """Whether another root follows a dead one: all processes have leases."""

    def node_of(self, number: int) -> int:
        """The node for a process that starts."""

    def make_host(
        self, slot: int, epoch: int, name: str, on_failed: Callable[[Exit], None]
    ) -> Host:
        """Make a host in the running process."""

    def note_refusal(self, host: Host, error: FrameError) -> None:
        """Note that a host has refused a frame."""


class SimulatedProcess:
    """One process: an event loop, and a host once it has become one."""

    pid = 0
    """None of its own: the world has all processes in one."""
    node = ""

    def __init__(self, engine: ProcessEngine, number: int) -> None:
        world = engine.world
        self.name = f"{engine.settings.name}-process-{number}"
        draw = world.random.random
        self.loop: Final = SimulatedLoop(
            world,
            f"process-{number}",
            rate=1.0 + (2.0 * draw() - 1.0) * CLOCK_RATE_SPREAD,
            offset_s=CLOCK_OFFSET_S * draw(),
        )
        self.loop.node = engine.node_of(number)
        self.host: Host | None = None
        self._engine = engine
        self._ended: asyncio.Future[Exit] | None = None
        self._machine_wakes_s = 0.0
        """Until then the machine is suspended: not even the kernel ends a process."""
        self.is_leased = engine.is_root_replaced or self.loop.node != engine.driver.loop.node
        self._lease = Lease(engine.settings.host_lease_s, self.loop.time())
        if self.is_leased:
            self._arm(self._lease.ends_s)

    @property
    def mark(self) -> tuple[str]:
        """See `HostProcess`."""
        return (self.name,)

    # --- the root's side, in its process --------------------------------------------------------

    async def become(self, slot: int, epoch: int, name: str) -> FrameCarrier:
        """Take over a slot; see `HostProcess`."""
        control = self._engine.control
        assert control is not None
        await self._call(self._become, slot, epoch, name, control.epoch)
        return SimulatedCarrier(self._engine, self)

    def bring_frames(self, slot: int, epoch: int) -> None:
        """Do nothing: a simulated host delivers its frames itself."""

    async def connect(
        self, peers: Mapping[int, tuple[int, HostProcess]], *, is_open: bool = True
    ) -> None:
        """Connect to other hosts; see `HostProcess`."""
        await self._call(self._connect, peers, is_open)

    async def warm(self, codes: Sequence[bytes]) -> None:
        """Do nothing: all code is loaded."""

    async def watch(self) -> Exit:
        """Wait for its exit; see `HostProcess`."""
        try:
            reason: Exit = await self._call(self._wait_for_end)
        except HostLost as error:
            return Exit.of_error(ExitReason.HOST_LOST, error)
        return reason

    async def ping(self) -> None:
        """Answer while it is alive."""
        await self._call(int)

    def beat(
        self, stamp_s: float | None, answered: Callable[[HeartbeatAnswer | None], None]
    ) -> None:
        """See `HostProcess`; neither side's event loop needs to run, but both processes must."""
        network, source, world = self._engine.network, self._engine.driver.loop, self._engine.world
        until_s = world.now_s + UNREACHABLE_S

        def arrive() -> None:
            if stamp_s is not None:
                self._lease.renew(stamp_s, self.loop.time())
            answer = HeartbeatAnswer(self.pid, self.loop.time(), None)
            network.send_reliably(
                self.loop, source, lambda: answered(answer), world.now_s + UNREACHABLE_S, _nothing
            )

        network.send_reliably(source, self.loop, arrive, until_s, lambda: answered(None))

    @property
    def has_ended(self) -> bool:
        """Whether it is dead, and its node can say so."""
        return self.loop.is_dead and not self._engine.network.is_node_cut(self.loop.node)

    async def until_ended(self) -> None:
        """See `HostProcess`."""
        while not self.has_ended:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(NOTICE_S)

    async def kill(self) -> None:
        """Kill it by means of its node, which works across cuts between hosts.

        The control plane takes it for dead at once, also when its node cannot be reached.
        """
        world = self._engine.world
        world.at(world.now_s + world.random.random() * NOTICE_S, self._kill)

    def _kill(self) -> None:
        network, world = self._engine.network, self._engine.world
        if not network.is_node_cut(self.loop.node):
            self.die("is killed")
        elif not self.loop.is_dead:
            network.declare_dead(self)
            world.at(world.now_s + RETRY_S, self._kill)

    def _call(self, function: Any, *args: Any) -> Any:
        return self._engine.network.call(self, function, *args)

    # --- its own side, in its process ---------------------------------------------------------

    def _become(self, slot: int, epoch: int, name: str, control_epoch: int) -> None:
        self.host = self._engine.make_host(slot, epoch, name, self._note_failure)
        way = SimulatedCarrier(self._engine, self._engine.driver)
        self.host.link(CONTROL_SLOT).connect(control_epoch, way)
        world = self._engine.world
        world.trace.note(world.now_s, f"{self.loop.name} becomes {name}, epoch {epoch}")

    def _connect(
        self,
        peers: Mapping[int, tuple[int, "SimulatedProcess"]],
        is_open: bool,  # noqa: FBT001 - as an argument of a call
    ) -> None:
        if self.host is None:
            raise InternalError(f"{self.name} has not become a host yet.")
        for slot, (epoch, process) in peers.items():
            make_carrier = partial(SimulatedCarrier, self._engine, process)
            self.host.introduce(slot, epoch, make_carrier, is_open=is_open)

    async def _wait_for_end(self) -> Exit:
        if self._ended is None:
            self._ended = self.loop.create_future()
        return await asyncio.shield(self._ended)

    def _note_failure(self, reason: Exit) -> None:
        if self._ended is None:
            self._ended = self.loop.create_future()
        if not self._ended.done():
            self._ended.set_result(reason)

    # --- its lease ----------------------------------------------------------------------------

    def _arm(self, at_s: float) -> None:
        self._engine.world.at(self.loop.world_time(at_s), self._check_lease)

    def _check_lease(self) -> None:
        """Its guard, a thread, ends it in time; a stopped process is ended by the kernel."""
        world, now_s = self._engine.world, self.loop.time()
        if self.loop.is_dead:
            return
        if world.now_s < self._machine_wakes_s:
            world.at(self._machine_wakes_s, self._check_lease)
        elif not self._lease.has_ended(now_s):
            self._arm(self._lease.ends_s)
        elif self.loop.is_paused and now_s < self._lease.latest_s:
            self._arm(self._lease.latest_s)
        else:
            self.die("ends: its lease has ended")

    def sleep(self, seconds: float) -> None:
        """Suspend its machine: its clock goes on, and nothing else."""
        world = self._engine.world
        world.trace.note(world.now_s, f"the machine of {self.loop.name} sleeps {seconds:.3f} s")
        self._machine_wakes_s = max(self._machine_wakes_s, world.now_s + seconds)
        if self.is_leased:  # The kernel looks before the process goes on.
            world.at(self._machine_wakes_s, self._check_lease)
        world.pause(self.loop, seconds)

    # --- faults -----------------------------------------------------------------------------

    def die(self, why: str) -> None:
        """Die: take no step from now on."""
        if self.loop.is_dead:
            return
        world = self._engine.world
        what = f" ({self.host.name}, epoch {self.host.epoch})" if self.host is not None else ""
        world.trace.note(world.now_s, f"{self.loop.name}{what} {why}")
        self.loop.die()
        self._engine.network.fail_calls_to(self)

    def death(self, why: str) -> Exception:
        """See `Endpoint`. No process with its name comes back."""
        return HostLost(f"{self.name} {why}.", advice="Its actors come back elsewhere.")


class SimulatedCarrier:
    """Carries the frames of one link, over a stream or by calls, as the seed decides.

    The sender's process makes it. For a peer that takes no calls, it uses a `fallback` carrier.
    """

    def __init__(
        self, engine: ProcessEngine, peer: Endpoint, fallback: FrameCarrier | None = None
    ) -> None:
        self._engine = engine
        self._peer = peer
        self._fallback = fallback
        network = engine.network
        self._source: SimulatedLoop = asyncio.get_running_loop()  # type: ignore[assignment]
        self._target = peer.loop
        self._has_stream = engine.world.random.random() < network.faults.streams
        self._is_connected = False
        self._is_closed = False

    @property
    def is_stream(self) -> bool:
        """Whether it has a stream that has not broken."""
        return self._has_stream

    def write(self, frame: bytes) -> bool:
        """Write a frame to the stream, if there is one with room and its peer is alive."""
        full = self._engine.network.faults.full
        if full and self._is_connected and self._engine.world.random.random() < full:
            return False
        return self._send(frame)

    def _send(self, frame: bytes) -> bool:
        if not self._is_connected or self._is_closed:
            return False
        if self._target.is_dead:
            # A socket closes at once when its other end does.
            self._is_connected = self._has_stream = False
            return False
        self._engine.network.post(self._source, self._target, self._take, frame)
        return True

    def close(self) -> None:
        """Close it: the link no longer uses it."""
        self._is_closed = True

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Deliver a frame; see `FrameCarrier`."""
        if self._has_stream and not references:
            await asyncio.sleep(DRAINING_S if self._is_connected else CONNECTING_S)
            self._is_connected = self._has_stream
            if self._send(frame):
                return b"", ()
        if self._fallback is not None:
            return await self._fallback.deliver(frame, references)
        return await self._exchange(frame, references)

    async def _exchange(
        self, frame: bytes, references: Sequence[Any]
    ) -> tuple[bytes, Sequence[Any]]:
        network = self._engine.network
        answer = await network.exchange(self._peer, self._answer, frame, references)
        if answer is None:
            raise TransportBroken("the peer does not know this incarnation yet")
        data, answer_references = answer
        return data, answer_references

    # --- in the receiver's process --------------------------------------------------------------

    def _take(self, frame: bytes) -> None:
        self._target.is_touched = True
        host = self._peer.host
        if host is None:
            return
        try:
            host.take(frame)
        except FrameError as error:
            self._engine.note_refusal(host, error)

    async def _answer(self, frame: bytes, references: Sequence[Any]) -> Any:
        self._peer.loop.is_touched = True
        host = self._peer.host
        if host is None:
            return None
        try:
            return await host.answer(frame, references)
        except FrameError as error:
            self._engine.note_refusal(host, error)
            return None


def _nothing() -> None:
    """Do nothing: no caller waits for it."""
