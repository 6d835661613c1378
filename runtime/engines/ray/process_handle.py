"""The root's, or a driver's, handle on one process that is, or can become, a host."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import ray
import ray.exceptions

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.core.errors import HostLost
from callboard.messages.ports import FrameCarrier, HostProcess, TransportBroken

from ...detached.attached_driver_process import AttachedDriverProcess
from ...detached.ports import Pulled
from ...hosting.memory import GcPause
from ...transport.process_watch import Identity, until_ended
from ...transport.sockets import SocketAddress, SocketCarrier
from .carrier import RayCarrier, describe, host_lost, unpack_answer
from .host_actor import Adopted

__all__ = ["ProcessOwner", "RayProcess"]

LOGGER: Final = logging.getLogger("callboard.ray")
PULL_RETRY_S: Final = 0.1


class ProcessOwner(Protocol):
    """What a handle needs of the engine that has made it."""

    @property
    def control(self) -> Host | None:
        """The host of this process."""

    @property
    def control_handle(self) -> Any:
        """The Ray actor that this process is; None in a driver."""

    @property
    def collector(self) -> GcPause:
        """The collector of this process."""

    async def socket_address(self) -> SocketAddress | None:
        """Where this process takes frames from processes of its own node."""

    def forget(self, process: "RayProcess") -> None:
        """A process is to be ended."""

    def has_ended(self, process: "RayProcess") -> None:
        """A process has been ended."""


class RayProcess:
    """The root's, or a driver's, handle on one Ray actor."""

    def __init__(self, handle: Any, name: str, engine: ProcessOwner) -> None:
        self.name = name
        self.handle = handle
        self._engine = engine
        self.pid = 0
        self.identity: Identity | None = None
        """What process it is, once it runs."""
        self.address: SocketAddress | None = None

    async def become(self, slot: int, epoch: int, name: str) -> FrameCarrier:
        """See `HostProcess`."""
        control = self._engine.control
        assert control is not None
        self._engine.collector.begin()
        mine = await self._engine.socket_address()
        self.address = await self._call(
            self.handle.become.remote(
                slot, epoch, name, control.epoch, mine, self._engine.control_handle
            )
        )
        return await self.carrier()

    async def adopt(self, control_epoch: int) -> Adopted | None:
        """Take over a host that works already; None when it is none. Raises `HostLost`."""
        mine = await self._engine.socket_address()
        handle = self._engine.control_handle
        adopted: Adopted | None = await self._call(
            self.handle.adopt.remote(control_epoch, mine, handle)
        )
        if adopted is not None:
            self.address = adopted.address
            self.identity = adopted.identity
        return adopted

    async def carrier(self) -> FrameCarrier:
        """The way for frames of this process' own host to that one."""
        mine = await self._engine.socket_address()
        by_call = RayCarrier(self.handle, self.name)
        if self.address is None or mine is None or self.address.node != mine.node:
            return by_call
        return SocketCarrier(self.address, by_call)

    def bring_frames(self, slot: int, epoch: int) -> None:
        """Keep one pull outstanding, unless this process is a Ray actor and can be called."""
        control = self._engine.control
        if self._engine.control_handle is not None:
            return
        assert control is not None
        control.run_task(self._pull(control, slot, epoch))

    async def _pull(self, control: Host, slot: int, epoch: int) -> None:
        link = control.link(slot)
        while link.epoch == epoch and link.carrier is not None:
            try:
                pulled = await self.pull(control.slot, link.bookkeeping())
            except HostLost:
                return  # `watch` tells the root.
            except TransportBroken as error:
                LOGGER.warning("pulling from %s: %s", self.name, error)
                await asyncio.sleep(PULL_RETRY_S)
                continue
            for frame, references in pulled:
                control.receive(frame, references)

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled:
        """What waits there for this driver. Raises `HostLost`, `TransportBroken`."""
        try:
            answers = await self.handle.pull.remote(slot, bookkeeping)
        except ray.exceptions.ActorDiedError as error:
            raise host_lost(self.name, describe(error)) from None
        except ray.exceptions.RayError as error:
            raise TransportBroken(f"{type(error).__name__}: {error}") from error
        return [unpack_answer(answer) for answer in answers]

    async def connect(
        self, peers: Mapping[int, tuple[int, HostProcess]], *, is_open: bool = True
    ) -> None:
        """See `HostProcess`."""
        handles = {
            slot: (epoch, process.handle, process.address)
            for slot, (epoch, process) in peers.items()
            if isinstance(process, RayProcess | AttachedDriverProcess)
        }
        if handles:
            await self._call(self.handle.connect.remote(handles, is_open))

    async def disconnect(self, slot: int) -> None:
        """Tell the host that a driver has left. Raises `HostLost`."""
        await self._call(self.handle.disconnect.remote(slot))

    async def warm(self, codes: Sequence[bytes]) -> None:
        """See `HostProcess`."""
        with contextlib.suppress(HostLost, ray.exceptions.RayError):
            await self._call(self.handle.warm.remote(list(codes)))

    async def watch(self) -> Exit:
        """How it ended: as the host says, as the kernel does, or as Ray does, whoever is first."""
        control = self._engine.control
        assert control is not None
        told = control.start_task(self._told())
        if self.identity is None:
            return await told
        gone = control.start_task(until_ended(self.identity))
        try:
            await asyncio.wait((told, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if told.done():
            return told.result()
        told.add_done_callback(self._ray_has_told)
        where = f"its process {self.identity.process_id} has ended"
        return Exit.of_error(ExitReason.HOST_LOST, host_lost(self.name, where))

    async def _told(self) -> Exit:
        """An outstanding call returns when the host fails, and fails when its process is dead."""
        while True:
            try:
                return Exit.from_data(await self.handle.watch.remote())
            except ray.exceptions.ActorUnavailableError:
                # The network, not the actor: heartbeats decide when that is too long.
                await asyncio.sleep(PULL_RETRY_S)
            except ray.exceptions.RayError as error:
                return Exit.of_error(ExitReason.HOST_LOST, host_lost(self.name, describe(error)))

    def _ray_has_told(self, told: "asyncio.Task[Exit]") -> None:
        """Ray comes later than the kernel, but it may know why: that memory was short, say."""
        if not told.cancelled() and told.exception() is None:
            LOGGER.info("Ray says: %s", told.result().detail)

    async def ping(self) -> None:
        """See `HostProcess`."""
        self.pid = await self._call(self.handle.ping.remote())

    async def kill(self) -> None:
        """End the process at once."""
        self._engine.forget(self)
        with contextlib.suppress(ray.exceptions.RayError):
            await asyncio.to_thread(ray.kill, self.handle, no_restart=True)
        self._engine.has_ended(self)

    async def _call(self, reference: Any) -> Any:
        try:
            return await reference
        except ray.exceptions.ActorDiedError as error:
            raise host_lost(self.name, describe(error)) from None
        except ray.exceptions.ActorUnavailableError as error:
            raise HostLost(f"{self.name} cannot be reached: {error}") from None
