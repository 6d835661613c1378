"""What runs inside a Ray worker: one host, and the calls that reach it.

Frames come in by `deliver`. The control host is no Ray actor and cannot be called: it
keeps one `pull` outstanding, and its frames leave with that. `watch` never returns while
the host lives: it is how death is noticed. `ping` runs on a thread and loop of its own,
so it answers while a handler blocks the host's loop.
"""

import asyncio
import logging
import os
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import ray

from callboard.actors.host.host import Host
from callboard.actors.host.watchdog import Watchdog
from callboard.messages.control import CONTROL_SLOT
from callboard.messages.errors import FrameError, InternalError
from callboard.messages.lifecycle import Exit
from callboard.messages.ports import FrameCarrier

from ...memory import calm_collector
from ...settings import Settings
from ...transport.sockets import SocketAddress, SocketCarrier, SocketServer
from ...wiring import make_host
from .blobs import RayBlobs
from .carrier import NOT_CONNECTED, RayCarrier, pack_answer

__all__ = ["HostActor", "PullCarrier"]

LOGGER: Final = logging.getLogger("callboard.ray")

Answer = Any


class PullCarrier:
    """Lets frames wait for the control host's next pull."""

    def __init__(self) -> None:
        self._frames: deque[tuple[bytes, Sequence[Any], asyncio.Future[None]]] = deque()
        self._waiting: asyncio.Future[None] | None = None

    def write(self, frame: bytes) -> bool:
        """A pull takes frames along; there may be none outstanding."""
        return False

    def close(self) -> None:
        """Nothing to close."""

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Returns once the frame is on its way with a pull; loss is the link's business."""
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._frames.append((frame, references, gone))
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        await gone
        return b"", ()

    async def take(self) -> list[tuple[bytes, Sequence[Any]]]:
        """All frames that wait; waits for one."""
        while not self._frames:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        taken = []
        while self._frames:
            frame, references, gone = self._frames.popleft()
            taken.append((frame, references))
            if not gone.done():
                gone.set_result(None)
        return taken


class HostActor:
    """The Ray actor. Wrapped by `ray.remote` in the engine, with its options."""

    def __init__(self, settings: Settings, name: str) -> None:
        logging.basicConfig(
            level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
        self._settings = settings
        self._name = name
        self._host: Host | None = None
        self._watchdog: Watchdog | None = None
        self._pulls = PullCarrier()
        self._server: SocketServer | None = None
        self._address: SocketAddress | None = None
        self._ended: asyncio.Future[Exit] | None = None

    def __repr__(self) -> str:
        # What the Ray dashboard shows beside the class.
        return self._name

    async def ready(self) -> int:
        """The process id, once the process has started; called before anything else."""
        self._ended = asyncio.get_running_loop().create_future()
        calm_collector()
        return os.getpid()

    async def become(
        self,
        slot: int,
        epoch: int,
        name: str,
        control_epoch: int,
        control_address: SocketAddress | None,
    ) -> SocketAddress | None:
        """Take over a slot; gives the socket on which this process takes frames."""
        self._host, self._watchdog = make_host(
            slot=slot,
            epoch=epoch,
            name=name,
            settings=self._settings,
            blobs=RayBlobs(),
            on_failed=self._failed,
        )
        node = ray.get_runtime_context().get_node_id()
        self._server = SocketServer(self._host.take, self._settings.limits)
        self._address = await self._server.start(node)
        self._host.link(CONTROL_SLOT).connect(
            control_epoch, self._way_to(control_address, self._pulls)
        )
        return self._address

    def _way_to(self, address: SocketAddress | None, by_call: FrameCarrier) -> FrameCarrier:
        """The quickest way to a peer: a socket on this node, Ray calls to another."""
        mine = self._address
        if address is None or mine is None or address.node != mine.node:
            return by_call
        return SocketCarrier(address, by_call)

    def _failed(self, reason: Exit) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    async def connect(
        self,
        peers: Mapping[int, tuple[int, Any, SocketAddress | None]],
        is_open: bool,  # noqa: FBT001 - as an argument of a Ray call
    ) -> None:
        """Who is at other slots: slot to (epoch, actor handle, socket); see `HostProcess`."""
        host = self._living()
        for slot, (epoch, handle, address) in peers.items():
            carrier = self._way_to(address, RayCarrier(handle))
            host.link(slot).connect(epoch, carrier, is_open=is_open)

    async def deliver(self, frame: bytes, references: Sequence[Any] = ()) -> Answer:
        """Take a frame; gives the frame that is ready for its sender."""
        if self._host is None:
            return NOT_CONNECTED
        try:
            answer = await self._host.answer(frame, references)
        except FrameError as error:
            LOGGER.warning("host %s refuses a frame: %s", self._name, error)
            return NOT_CONNECTED
        return NOT_CONNECTED if answer is None else pack_answer(*answer)

    async def pull(self, bookkeeping: bytes) -> Answer:
        """The frames for the control host, as soon as there are some."""
        self._living().receive(bookkeeping)
        return [pack_answer(*taken) for taken in await self._pulls.take()]

    async def watch(self) -> dict[str, Any]:
        """How the host failed, if it fails while its process lives."""
        assert self._ended is not None, "ready() comes first"
        return (await self._ended).to_data()

    @ray.method(concurrency_group="control")
    async def ping(self) -> int:
        """The process id; answers even while a handler blocks the host's event loop."""
        return os.getpid()

    def _living(self) -> Host:
        if self._host is None:
            raise InternalError(f"{self._name} has not become a host yet.")
        return self._host
