"""The inline engine: all hosts in the caller's process and event loop, real time.

For tests and notebooks: it starts in milliseconds. Hosts are real hosts with real links;
frames are encoded, numbered and checked as between processes.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.host.watchdog import Watchdog
from callboard.messages.control.control_plane import CONTROL_SLOT
from callboard.messages.control.hosts import HeartbeatAnswer, ProcessOrder
from callboard.messages.control.lifecycle import SHUT_DOWN, Exit, ExitReason
from callboard.messages.control.nodes import Node
from callboard.messages.core.errors import HostLost, PayloadLost
from callboard.messages.ports import FrameCarrier, HostProcess, LargeValueStore, TransportBroken

from ..hosting.settings import Settings
from ..hosting.wiring import make_host
from .shared_loop import guard

__all__ = ["InlineEngine"]

HOSTS_DEFAULT: Final = 2


class InlineLargeValues:
    """A `LargeValueStore` of one process: values stay where they are."""

    def put(self, body: bytes, buffers: Sequence[Any]) -> Any:
        """The value itself is its reference."""
        return (body, tuple(bytes(buffer) for buffer in buffers))

    async def get(self, reference: Any) -> tuple[bytes, Sequence[Any]]:
        """Return the value behind a reference."""
        if not isinstance(reference, tuple):
            raise PayloadLost(
                f"{reference!r} is no reference of the inline engine.", advice="Please report this."
            )
        body, buffers = reference
        return body, buffers


class InlineCarrier:
    """Carries frames to a host of the same process."""

    is_stream: Final = False

    def __init__(self, process: "InlineProcess") -> None:
        self._process = process

    def write(self, frame: bytes) -> bool:
        """Always False: the answer to a frame has to be awaited."""
        return False

    def close(self) -> None:
        """Does nothing: there is no connection."""

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Hand a frame over; see `FrameCarrier`."""
        host = self._process.host
        if host is None:
            raise HostLost(
                f"{self._process.name} has ended.", advice="Its actors come back on a standby."
            )
        answer = await host.answer(frame, references)
        if answer is None:
            raise TransportBroken("the peer does not know this incarnation yet")
        return answer


class InlineProcess:
    """Takes the place of a process; a kill drops its host without an orderly stop."""

    pid = 0
    """None of its own: it shares this process."""
    node = ""
    is_leased = False

    def __init__(self, engine: "InlineEngine", number: int, what: str = "inline") -> None:
        self.name = f"{engine.settings.name}-{what}-{number}"
        self.host: Host | None = None
        self._engine = engine
        self._watchdog: Watchdog | None = None
        self.mark = (self.name,)
        self._ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    async def become(self, slot: int, epoch: int, name: str) -> FrameCarrier:
        """Make the host; see `HostProcess`."""
        control = self._engine.control
        self.host, self._watchdog = make_host(
            slot=slot,
            epoch=epoch,
            name=name,
            settings=self._engine.settings,
            large_values=self._engine.large_values(),
            on_failed=self._end,
        )
        assert control is not None
        self.host.link(CONTROL_SLOT).connect(control.epoch, ControlCarrier(control))
        return InlineCarrier(self)

    def bring_frames(self, slot: int, epoch: int) -> None:
        """Does nothing: an inline host delivers its frames itself."""

    async def connect(
        self, peers: Mapping[int, tuple[int, HostProcess]], *, is_open: bool = True
    ) -> None:
        """Connect to other hosts of this process."""
        if self.host is None:
            raise HostLost(f"{self.name} has ended.")
        for slot, (epoch, process) in peers.items():
            assert isinstance(process, InlineProcess)
            self.host.introduce(slot, epoch, partial(InlineCarrier, process), is_open=is_open)

    async def warm(self, codes: Sequence[bytes]) -> None:
        """Does nothing: this process has loaded the code."""

    async def watch(self) -> Exit:
        """Wait for its end and return the reason."""
        return await asyncio.shield(self._ended)

    def beat(
        self, stamp_s: float | None, answered: Callable[[HeartbeatAnswer | None], None]
    ) -> None:
        """Does nothing: it lives as long as this process."""

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self._ended.done()

    async def until_ended(self) -> None:
        """Wait for its end."""
        await asyncio.shield(self._ended)

    async def kill(self) -> None:
        """End the host at once."""
        await self.end(Exit(ExitReason.KILLED))

    def _end(self, reason: Exit) -> None:
        if self.host is not None:
            self.host.run_task(self.end(reason))

    async def end(self, reason: Exit) -> None:
        """Drop the host; `watch` returns `reason`."""
        host, self.host = self.host, None
        if self._watchdog is not None:
            self._watchdog.stop()
        self._engine.forget(self)
        if not self._ended.done():
            self._ended.set_result(reason)
        if host is not None:
            await host.close()


class ControlCarrier:
    """Carries frames to the control host."""

    is_stream: Final = False

    def __init__(self, control: Host) -> None:
        self._control = control

    def write(self, frame: bytes) -> bool:
        """Always False: the answer to a frame has to be awaited."""
        return False

    def close(self) -> None:
        """Does nothing: there is no connection."""

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Hand a frame over; see `FrameCarrier`."""
        answer = await self._control.answer(frame, references)
        if answer is None:
            raise TransportBroken("the control host does not know this incarnation yet")
        return answer


class InlineEngine:
    """Runs all hosts in this process."""

    name = "inline"
    has_nodes = False
    is_elastic = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.control: Host | None = None
        self._large_values = InlineLargeValues()
        self._processes: dict[InlineProcess, None] = {}
        self._unguard: Callable[[], None] | None = None

    async def start(self) -> None:
        """Guard the event loop, which is the driver's; there is no cluster."""
        self._unguard = guard(asyncio.get_running_loop())

    async def start_process(
        self,
        number: int,
        order: ProcessOrder | None = None,
        *,
        is_standby: bool = False,
        node: str = "",
    ) -> HostProcess:
        """Make one more `InlineProcess`; all share the resources of this process."""
        process = InlineProcess(self, number, "standby" if is_standby else "inline")
        self._processes[process] = None
        return process

    def every(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Never calls: hosts of this process need no heartbeats."""
        return _nothing

    def forget(self, process: InlineProcess) -> None:
        """Forget a process that has ended."""
        self._processes.pop(process, None)

    def attach(self, control: Host) -> None:
        """Set the control host."""
        self.control = control

    def renews_until_s(self) -> float:
        """Infinity: there is no control store."""
        return math.inf

    async def nodes(self) -> Sequence[Node]:
        """None: all hosts share this process."""
        return ()

    def default_hosts(self) -> int:
        """Two: enough for links between hosts."""
        return HOSTS_DEFAULT

    def large_values(self) -> LargeValueStore:
        """The one blob store of all hosts."""
        return self._large_values

    async def stop(self) -> None:
        """End all hosts."""
        for process in list(self._processes):
            await process.end(SHUT_DOWN)
        unguard, self._unguard = self._unguard, None
        if unguard is not None:
            unguard()


def _nothing() -> None:
    """Nothing to end."""
