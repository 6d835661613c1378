"""Simulated processes of hosts, and the carriers of the links between them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import CONTROL_SLOT
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.core.errors import FrameError, HostLost, InternalError
from callboard.messages.ports import FrameCarrier, HostProcess, TransportBroken

from ..hosting.settings import Settings
from .loop import SimulatedLoop
from .network import NOTICE_S, Endpoint, Network
from .world import World

__all__ = ["ProcessEngine", "SimulatedCarrier", "SimulatedProcess"]

CONNECTING_S: Final = 0.0005
DRAINING_S: Final = 0.005
"""The time until a full stream has room again."""
CLOCK_OFFSET_S: Final = 1_000.0
CLOCK_RATE_SPREAD: Final = 0.01
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
        self.host: Host | None = None
        self._engine = engine
        self._ended: asyncio.Future[Exit] | None = None

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
        """Answer while it is alive; see `HostProcess`."""
        await self._call(int)

    async def kill(self) -> None:
        """Kill it by means of its node, which works across network cuts."""
        world = self._engine.world
        world.at(world.now_s + world.random.random() * NOTICE_S, self.die, "is killed")

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
