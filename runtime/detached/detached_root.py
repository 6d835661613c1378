"""The root of a detached system: it outlives drivers, dies, and goes on where it was.

One of these is one incarnation. It reads what its predecessor has written down, takes the
living hosts over without stopping their work, and replaces those that died meanwhile.
"""

import asyncio
import contextlib
import dataclasses
import logging
from typing import Any, Final, TypeVar

from callboard.messages.core.contract import Request
from callboard.messages.core.errors import CallboardError, ClusterError
from callboard.messages.ports import FrameCarrier

from ..admin.port import Caller
from ..admin.service import AdminService
from ..admin.unix_socket import AdminSocket
from ..control_plane.control import Control
from ..control_plane.records import Records, Remembered
from ..hosting.environment import Environment
from ..hosting.settings import Settings
from ..transport.pulls import Pulls
from .attached_drivers import AttachedDrivers
from .ports import DetachedEngine, JoinReply, JoinRequest, Pulled, RootEnvironment, join_request_of

__all__ = ["DetachedRoot"]

LOGGER: Final = logging.getLogger("callboard.root")
ReplyT = TypeVar("ReplyT")
QUERY_TIMEOUT_S: Final = 10.0
READ_RETRY_S: Final = 0.5
AGAIN_S: Final = 1.0
"""Before what cannot be taken over is tried again, by a new process."""
SILENCES: Final = 2.0
"""A driver may be silent for so many times as long as a host: it may be starting a process."""


class DetachedRoot:
    """One incarnation of a root, on the running event loop. `system` is the same for all."""

    def __init__(
        self, settings: Settings, system: str, environment: Environment, root_environment: RootEnvironment
    ) -> None:
        self._settings = settings
        self._system = system
        self._environment = environment
        self._root_environment = root_environment
        self._pulls: Final = Pulls()
        self.control: Control | None = None
        """Its control plane, as soon as there is one."""
        self.attached_drivers: AttachedDrivers | None = None
        """Its drivers, once it is ready."""
        self._engine: DetachedEngine | None = None
        self._service: Final = AdminService(queries=self._ask)
        self._admin: AdminSocket | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._inherited: tuple[str, ...] = ()
        """The names of the processes that were there before it."""
        self._is_to_stop: Final = asyncio.Event()
        self._ready: Final = asyncio.ensure_future(self._begin())
        # A failure is told to whoever asks; nobody may be there to ask.
        self._ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())

    async def _begin(self) -> None:
        remembered = await self._remembered()
        self._inherited = tuple(remembered.processes)
        try:
            await self._come_up(remembered)
        except Exception as error:
            if remembered.system != self._system or not remembered.was_started:
                raise  # Whoever starts the system is told, and ends it.
            # Its hosts work, and nobody else will ever watch them.
            level = logging.WARNING if isinstance(error, CallboardError) else logging.ERROR
            what = "%s cannot be taken over; it is tried again"
            LOGGER.log(level, what, self._settings.name, exc_info=error)
            if await self._has_to_stop(within_s=AGAIN_S):
                raise
            self._root_environment.crash()

    async def _has_to_stop(self, *, within_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._is_to_stop.wait()
        return self._is_to_stop.is_set()

    async def _come_up(self, remembered: Remembered) -> None:
        root_environment, settings = self._root_environment, self._settings
        if remembered.system != self._system:
            # What a system of this name has left that nobody could end.
            await root_environment.end_processes(remembered.processes)
            await root_environment.forget()
            remembered = Remembered()
        epoch = remembered.epoch + 1
        records = Records(root_environment.ledger)
        engine = self._engine = root_environment.engine(epoch, records)
        environment = dataclasses.replace(self._environment, epoch=lambda: epoch)
        control = self.control = Control(
            settings, engine, environment, self._failed, name="root", records=records
        )
        await records.epoch(self._system, epoch)
        await engine.start()
        expected: dict[int, JoinRequest | None] = {}
        if remembered.was_started:
            expected.update(dict.fromkeys(await control.resume(engine.find, remembered)))
            expected.update(
                (slot, join_request_of(row)) for slot, row in remembered.attached_drivers.items()
            )
        else:
            await root_environment.end_processes(remembered.processes)
            await control.start()
        await records.started()
        if environment.is_real:
            self._admin = AdminSocket(self._service)
            await self._admin.start()
        silence_s = SILENCES * settings.heartbeat_s * settings.heartbeats_missed_max
        self.attached_drivers = AttachedDrivers(
            control.host, control.root, root_environment, silence_s, expected, self._pulls.end
        )
        control.host.run_task(self.attached_drivers.watch(settings.heartbeat_s))

    async def _remembered(self) -> Remembered:
        """What its predecessors have written down, however long that takes."""
        while True:
            try:
                return Remembered.from_entries(await self._root_environment.ledger.read())
            except ClusterError as error:
                LOGGER.warning("%s It is tried again.", error)
                await asyncio.sleep(READ_RETRY_S)

    def _failed(self, error: CallboardError) -> None:
        """The root gave up: the system is over, and drivers find that it is gone."""
        LOGGER.error("detached system %s gives up: %s", self._settings.name, error)
        self._stopping = asyncio.ensure_future(self._give_up())

    async def _give_up(self) -> None:
        try:
            await self.stop(self._settings.stop_timeout_s)
        finally:
            await self._root_environment.end()

    # --- for who looks for it ---------------------------------------------------------------

    async def ready(self) -> None:
        """Returns when the hosts are up; raises what kept them from that."""
        await asyncio.shield(self._ready)

    async def stop(self, timeout_s: float) -> None:
        """Stop all actors in order, end all processes but this one, and forget everything."""
        self._is_to_stop.set()
        try:
            await self._ready
        except Exception as error:  # noqa: BLE001 - it is told to those who wait for it
            LOGGER.info("what could not be taken over is ended: %s", error)
            await self._root_environment.end_processes(self._inherited)
        if self._admin is not None:
            await self._admin.stop()
        if self.attached_drivers is not None:
            self.attached_drivers.close()
        if self.control is not None:
            await self.control.stop(timeout_s)
        if self._engine is not None:
            await self._engine.stop()
        await self._root_environment.forget()

    async def admin(self, line: bytes, caller: Caller) -> bytes:
        """The answer to a request of the admin API, once it is ready; see `AdminService`."""
        await self.ready()
        return await self._service.answer(line, caller)

    async def _ask(self, request: Request[ReplyT]) -> ReplyT:
        assert self.control is not None
        return await self.control.ask_root(request, QUERY_TIMEOUT_S)

    # --- attached drivers
    # -------------------------------------------------------------------------------

    async def join(self, join_request: JoinRequest, known_epoch: int) -> JoinReply | None:
        """Let a driver in, or in again; None when it was dropped meanwhile.

        `known_epoch` is the control epoch that had let it in before, or 0.
        """
        await self.ready()
        assert self.attached_drivers is not None
        carrier: FrameCarrier
        carrier, mine = await self._root_environment.carrier_to(
            join_request, self._pulls.carrier(join_request.slot)
        )
        join_reply = await self.attached_drivers.join(join_request, carrier, known_epoch)
        if join_reply is None:
            self._pulls.end(join_request.slot)
            return None
        return join_reply._replace(control_address=mine)

    def heard(self, slot: int) -> None:
        """An attached driver lives. May be called from another thread."""
        if self.attached_drivers is not None:
            self.attached_drivers.heard(slot)

    async def leave(self, slot: int) -> None:
        """An attached driver leaves."""
        if self.attached_drivers is not None:
            await self.attached_drivers.drop(slot)

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled | None:
        """The frames for an attached driver, once there are some; None for an unknown driver."""
        attached_drivers, control = self.attached_drivers, self.control
        if attached_drivers is None or control is None or not attached_drivers.is_known(slot):
            return None
        control.host.receive(bookkeeping)
        taken: Any = await self._pulls.take(slot)
        return taken if attached_drivers.is_known(slot) else None
