"""The handle of a root or driver on one process that is, or can become, a host."""

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import ray
import ray.exceptions

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.hosts import HeartbeatAnswer
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.core.errors import HostLost
from callboard.messages.ports import FrameCarrier, HostProcess, TransportBroken

from ...detached.attached_driver_process import AttachedDriverProcess
from ...detached.ports import Pulled
from ...hosting.memory import GcPause
from ...transport.process_watch import Identity, end_after, is_near, until_ended
from ...transport.sockets import SocketAddress
from ...transport.tcp import TcpAddress
from .carrier import RayCarrier, describe, host_lost, unpack_answer
from .host_actor import Adopted, Held
from .proofs import has_died, mark_of, until_surely_ended

__all__ = ["ProcessOwner", "RayProcess"]

LOGGER: Final = logging.getLogger("callboard.ray")
PULL_RETRY_S: Final = 0.1
KILLED_WITHIN_S: Final = 0.25
"""A process that Ray has not ended after so long, because it is stopped, is ended by its id."""


class ProcessOwner(Protocol):
    """The part of the engine that a handle needs."""

    @property
    def control(self) -> Host | None:
        """The host of this process."""

    @property
    def control_handle(self) -> Any:
        """The Ray actor of this process; None in a driver."""

    @property
    def collector(self) -> GcPause:
        """Pauses the collector of this process."""

    async def socket_address(self) -> SocketAddress | None:
        """The socket for frames from processes of this node."""

    def frame_address(self) -> TcpAddress | None:
        """Where this process listens for other nodes."""

    async def carrier_to(
        self, handle: Any, address: SocketAddress | None, by_call: FrameCarrier
    ) -> FrameCarrier:
        """The fastest carrier to a Ray actor."""

    def forget(self, process: "RayProcess") -> None:
        """Forget a process before its kill."""

    def has_ended(self, process: "RayProcess") -> None:
        """Remove the record of a process after its kill."""


class RayProcess:
    """The handle of a root or driver on one Ray actor."""

    def __init__(self, handle: Any, name: str, engine: ProcessOwner, node: str = "") -> None:
        self.name = name
        self.handle = handle
        self._engine = engine
        self.pid = 0
        self.identity: Identity | None = None
        """The identity of its process, once it runs."""
        self.address: SocketAddress | None = None
        self._knows_driver = False
        """Whether the process knows where this driver listens."""
        self._node = node
        self.worker = ""
        """Ray's id of its worker process, once it runs."""
        self.is_leased = True
        self.has_ended = False

    @property
    def node(self) -> str:
        """Ray's id of its node; empty while it is not known."""
        return self._node if self.address is None else self.address.node

    @property
    def mark(self) -> tuple[Any, ...]:
        """See `HostProcess`."""
        return mark_of(self.identity, self.worker)

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
        """Adopt a host that works already; None when it is not a host. Raises `HostLost`."""
        mine = await self._engine.socket_address()
        handle = self._engine.control_handle
        adopted: Adopted | None = await self._call(
            self.handle.adopt.remote(control_epoch, mine, handle)
        )
        if adopted is not None:
            self.address = adopted.address
            self.identity = adopted.identity
            self.worker = adopted.worker
        return adopted

    async def hold(self, root: Identity | None, *, is_only: bool) -> None:
        """Let it hold a lease if it needs one; see `HostActor.hold`. Raises `HostLost`."""
        held: Held = await self._call(self.handle.hold.remote(root, is_only))
        self.worker, self.is_leased = held

    async def carrier(self) -> FrameCarrier:
        """The carrier of frames from this process's host to that one."""
        by_call = RayCarrier(self.handle, self.name)
        mine = await self._engine.socket_address()
        if mine is not None and self.address is not None and self.address.node != mine.node:
            self._tell_where_this_listens()
        return await self._engine.carrier_to(self.handle, self.address, by_call)

    def _tell_where_this_listens(self) -> None:
        control = self._engine.control
        assert control is not None
        if self._engine.control_handle is not None or self._knows_driver:
            return  # A Ray actor is asked.
        address = self._engine.frame_address()
        if address is not None:
            self._knows_driver = True
            control.run_task(self._tell(control.slot, address))

    async def _tell(self, slot: int, address: TcpAddress) -> None:
        with contextlib.suppress(ray.exceptions.RayError):  # It pulls its frames then.
            await self.handle.driver_listens.remote(slot, address)

    def bring_frames(self, slot: int, epoch: int) -> None:
        """Keep one pull outstanding, unless this process is a Ray actor and takes calls."""
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
                return  # The root learns it from `watch`.
            except TransportBroken as error:
                LOGGER.warning("pulling from %s: %s", self.name, error)
                await asyncio.sleep(PULL_RETRY_S)
                continue
            for frame, references in pulled:
                control.receive(frame, references)

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled:
        """The frames that wait there for a driver. Raises `HostLost`, `TransportBroken`."""
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
        """Let the host forget a driver that has left. Raises `HostLost`."""
        await self._call(self.handle.disconnect.remote(slot))

    async def warm(self, codes: Sequence[bytes]) -> None:
        """See `HostProcess`."""
        with contextlib.suppress(HostLost, ray.exceptions.RayError):
            await self._call(self.handle.warm.remote(list(codes)))

    async def watch(self) -> Exit:
        """Wait for its end; the first report of the host, the kernel or Ray gives the reason."""
        control = self._engine.control
        assert control is not None
        reported = control.start_task(self._exit_by_call())
        if self.identity is None:
            return await reported
        gone = control.start_task(until_ended(self.identity))
        try:
            await asyncio.wait((reported, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if reported.done():
            return reported.result()
        self.has_ended = True
        reported.add_done_callback(self._log_ray_report)
        where = f"its process {self.identity.process_id} has ended"
        return Exit.of_error(ExitReason.HOST_LOST, host_lost(self.name, where))

    async def _exit_by_call(self) -> Exit:
        """Keep a call outstanding: it returns when the host fails, and fails when it is dead."""
        while True:
            try:
                return Exit.from_data(await self.handle.watch.remote())
            except ray.exceptions.ActorUnavailableError:
                # The network failed, not the actor: heartbeats decide when that is too long.
                await asyncio.sleep(PULL_RETRY_S)
            except ray.exceptions.RayError as error:
                self.has_ended = await has_died(self.worker)
                return Exit.of_error(ExitReason.HOST_LOST, host_lost(self.name, describe(error)))

    def _log_ray_report(self, reported: "asyncio.Task[Exit]") -> None:
        """Log Ray's report: it comes after the kernel's, but may name the cause, as low memory."""
        if not reported.cancelled() and reported.exception() is None:
            LOGGER.info("Ray reports the end of %s: %s", self.name, reported.result().detail)

    async def ping(self) -> None:
        """Return when it answers, and note its process id. Raises `HostLost`."""
        self.pid = await self._call(self.handle.ping.remote())

    def beat(
        self, stamp_s: float | None, answered: Callable[[HeartbeatAnswer | None], None]
    ) -> None:
        """See `HostProcess`."""

        def take(call: "concurrent.futures.Future[HeartbeatAnswer]") -> None:
            answered(None if call.exception() is not None else call.result())

        try:
            call = self.handle.beat.remote(stamp_s).future()
        except Exception:  # noqa: BLE001 - whatever Ray raises, this heartbeat has no answer
            answered(None)
        else:
            call.add_done_callback(take)

    async def kill(self) -> None:
        """End the process at once; the kernel ends it here if Ray does not."""
        self._engine.forget(self)
        with contextlib.suppress(ray.exceptions.RayError):
            await asyncio.to_thread(ray.kill, self.handle, no_restart=True)
        self._engine.has_ended(self)
        control = self._engine.control
        if control is not None and self.identity is not None and is_near(self.identity):
            control.run_task(end_after(self.identity, KILLED_WITHIN_S))

    async def until_ended(self) -> None:
        """See `HostProcess`."""
        await until_surely_ended(self.identity, self.worker)
        self.has_ended = True

    async def _call(self, reference: Any) -> Any:
        try:
            return await reference
        except ray.exceptions.ActorDiedError as error:
            raise host_lost(self.name, describe(error)) from None
        except ray.exceptions.ActorUnavailableError as error:
            raise HostLost(f"{self.name} cannot be reached: {error}") from None
