"""The root of a detached system: it outlives its drivers, and continues after its own death.

A `DetachedRoot` is one incarnation. It reads the records of its predecessor, adopts the living
hosts without stopping their work, and replaces the hosts that died meanwhile.
"""

import asyncio
import contextlib
import dataclasses
import logging
from typing import Any, Final, TypeVar

import msgpack

from callboard.actors.alerts.messages import ALERT_MANAGER
from callboard.messages.control.approvals import APPROVALS
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import ActorNotFound, CallboardError, ClusterError
from callboard.messages.core.ref import Ref
from callboard.messages.ports import FrameCarrier

from ..admin.approvals import ApprovalRequests
from ..admin.errors import NotServed
from ..admin.extension import EXECUTION_SERVICE, AdminExtension, client_of
from ..admin.page_link import OpenPage, open_page
from ..admin.port import Caller
from ..admin.service import AdminService
from ..admin.unix_socket import AdminSocket
from ..control_plane.control import Control
from ..control_plane.records import Records, Remembered
from ..hosting.boot_time import boot_time_s
from ..hosting.environment import Environment
from ..hosting.settings import Settings
from ..transport.pulls import Pulls
from .attached_drivers import AttachedDrivers
from .ports import DetachedEngine, JoinReply, JoinRequest, Pulled, RootEnvironment, join_request_of
from .root_authority import RootAuthority, claim_epoch

__all__ = ["DetachedRoot"]

LOGGER: Final = logging.getLogger("callboard.root")
ReplyT = TypeVar("ReplyT")
QUERY_TIMEOUT_S: Final = 10.0
READ_RETRY_S: Final = 0.5
AGAIN_S: Final = 1.0
"""The pause before a new process tries an adoption that failed again."""
SILENCES: Final = 2.0
"""A driver may be silent for this many times as long as a host: it may be starting a process."""


class DetachedRoot:
    """One incarnation of a root, on the running event loop; all have the same `system`."""

    def __init__(
        self,
        settings: Settings,
        system: str,
        environment: Environment,
        root_environment: RootEnvironment,
    ) -> None:
        self._settings = settings
        self._system = system
        self._environment = environment
        self._root_environment = root_environment
        self._pulls: Final = Pulls()
        self.control: Control | None = None
        """The control plane; None until it exists."""
        self.attached_drivers: AttachedDrivers | None = None
        """The attached drivers; None until the root is ready."""
        self._authority: RootAuthority | None = None
        self._engine: DetachedEngine | None = None
        self._service: Final = AdminService(
            queries=self._ask,
            commands=self._ask_execution_service,
            journal=self._ask_execution_service,
            alerts=self._ask_alert_manager,
            page=self._open_page,
            approvals=ApprovalRequests(
                self._approvals, self._ask_execution_service, self._ask_execution_service
            ).answer,
        )
        self._admin: AdminSocket | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._inherited: tuple[str, ...] = ()
        """The names of the processes of earlier incarnations."""
        self._is_to_stop: Final = asyncio.Event()
        self._ready: Final = asyncio.ensure_future(self._begin())
        # Callers of `ready` get a failure; perhaps there are none.
        self._ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())

    async def _begin(self) -> None:
        remembered = await self._remembered()
        self._inherited = tuple(remembered.processes)
        try:
            await self._come_up(remembered)
        except Exception as error:
            if remembered.system != self._system or not remembered.was_started:
                raise  # The driver that starts the system gets the error, and ends it.
            # The hosts work, and no other process will ever watch them.
            level = logging.WARNING if isinstance(error, CallboardError) else logging.ERROR
            what = "the hosts of %s cannot be adopted; a new root tries again"
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
            # Remains of an earlier system of this name, which nothing could end.
            await root_environment.end_processes(remembered.processes)
            await root_environment.forget()
            remembered = Remembered()
        authority = self._authority = await self._claim(remembered)
        await authority.held()
        if remembered.was_started:
            # The earlier root may have written until now.
            remembered = await self._remembered()
            self._inherited = tuple(remembered.processes)
        epoch = authority.epoch
        records = Records(root_environment.ledger)
        engine = self._engine = root_environment.engine(epoch, records)
        environment = dataclasses.replace(self._environment, epoch=lambda: epoch)
        control = self.control = Control(
            settings,
            engine,
            environment,
            self._failed,
            name="root",
            records=records,
            authority=authority,
        )
        records.claims_gone([claimed for claimed in remembered.claims if claimed < epoch])
        await records.epoch(self._system, epoch)
        await engine.start()
        expected: dict[int, JoinRequest | None] = {}
        if remembered.was_started:
            known = await control.resume(engine.find, engine.until_ended, remembered)
            expected.update(dict.fromkeys(known))
            expected.update(
                (slot, join_request_of(row)) for slot, row in remembered.attached_drivers.items()
            )
        else:
            await root_environment.end_processes(remembered.processes)
            await control.start()
        await records.started()
        control.host.extension(AdminExtension).service = self._service
        if environment.is_real:
            self._admin = AdminSocket(self._service)
            control.host.meters.instruments.add(self._admin.reading)
            await self._admin.start()
        silence_s = SILENCES * settings.heartbeat_s * settings.heartbeats_missed_max
        self.attached_drivers = AttachedDrivers(
            control.host,
            control.root,
            root_environment,
            silence_s,
            expected,
            self._pulls.end,
        )
        control.host.run_task(self.attached_drivers.watch(settings.heartbeat_s))

    async def _claim(self, remembered: Remembered) -> RootAuthority:
        """Claim an epoch; the authority begins when no earlier root can act any more."""
        root_environment = self._root_environment
        value = msgpack.packb((self._environment.new_id(), root_environment.identity()))
        newest = max((remembered.epoch, *remembered.claims))
        claim = await claim_epoch(root_environment.ledger, newest, remembered.claims, value)
        now = boot_time_s if self._environment.is_real else asyncio.get_running_loop().time
        claimed_s = now()
        # An earlier release has left no claims.
        is_alone = bool(claim.earlier) or claim.epoch == 1
        for earlier in claim.earlier:
            _, identity = msgpack.unpackb(earlier)
            is_alone = is_alone and await root_environment.has_ended(identity)
        return RootAuthority(
            root_environment.ledger, claim, now, claimed_s, self._over, is_alone=is_alone
        )

    def _over(self, reason: str) -> None:
        """End this process: Ray starts another one, or has done so."""
        LOGGER.error("this root of %s ends itself: %s", self._settings.name, reason)
        self._root_environment.crash()

    async def _remembered(self) -> Remembered:
        """Read the records of earlier incarnations, however long that takes."""
        while True:
            try:
                return Remembered.from_entries(await self._root_environment.ledger.read())
            except ClusterError as error:
                LOGGER.warning("the records are read again: %s", error)
                await asyncio.sleep(READ_RETRY_S)

    def _failed(self, error: CallboardError) -> None:
        """End the system: its root has given up, and drivers find that it has ended."""
        LOGGER.error("detached system %s gives up: %s", self._settings.name, error)
        self._stopping = asyncio.ensure_future(self._give_up())

    async def _give_up(self) -> None:
        assert self._authority is not None, "the control plane comes after it"
        await self._authority.held()
        try:
            await self.stop(self._settings.stop_timeout_s)
        finally:
            await self._root_environment.end()

    # --- for drivers and the CLI ------------------------------------------------------------

    async def ready(self) -> None:
        """Return when the hosts are up. Raises the reason when they do not come up."""
        await asyncio.shield(self._ready)

    async def stop(self, timeout_s: float) -> None:
        """Stop all actors in order, end all processes but this one, and erase the records."""
        self._is_to_stop.set()
        try:
            await self._ready
        except Exception as error:  # noqa: BLE001 - callers of `ready` get it
            LOGGER.info("hosts that could not be adopted are ended: %s", error)
            await self._root_environment.end_processes(self._inherited)
        if self._admin is not None:
            await self._admin.stop()
        if self.attached_drivers is not None:
            self.attached_drivers.close()
        if self.control is not None:
            await self.control.stop(timeout_s)
        if self._engine is not None:
            await self._engine.stop()
        if self._authority is not None:
            self._authority.close()
        await self._root_environment.forget()

    async def admin(self, line: bytes, caller: Caller) -> bytes:
        """Answer a request of the admin API, once the root is ready; see `AdminService`."""
        await self.ready()
        return await self._service.answer(line, caller)

    async def _ask(self, request: Request[ReplyT]) -> ReplyT:
        assert self.control is not None
        return await self.control.ask_root(request, QUERY_TIMEOUT_S)

    async def _ask_alert_manager(self, request: Request[ReplyT]) -> ReplyT:
        assert self.control is not None
        return await (await self.control.host.lookup(ALERT_MANAGER)).ask(request)

    async def _open_page(self, request: Request[Any]) -> Any:
        """Ask the hubs; a driver starts them."""
        assert self.control is not None
        assert isinstance(request, OpenPage), "the admin API has no other request of the page"
        try:
            return await open_page(self.control.host.lookup, request, QUERY_TIMEOUT_S)
        except ActorNotFound as error:
            raise NotServed(error.message, advice=error.advice) from None

    async def _approvals(self) -> Ref[Any]:
        assert self.control is not None
        return await self.control.host.lookup(APPROVALS)

    async def _ask_execution_service(self, request: Request[ReplyT]) -> ReplyT:
        """Pass a request on that this service has checked."""
        try:
            return await client_of(self._execution_service, None).ask(request)
        except ActorNotFound:
            raise NotServed(
                "this system has run no execution since it started.",
                advice="Attach a driver that submits one, or offers a job.",
            ) from None

    async def _execution_service(self) -> Ref[Any]:
        assert self.control is not None
        return await self.control.host.lookup(EXECUTION_SERVICE)

    # --- attached drivers -------------------------------------------------------------------

    async def join(self, join_request: JoinRequest, known_epoch: int) -> JoinReply | None:
        """Accept a driver, for the first time or again; None when it was dropped meanwhile.

        `known_epoch` is the control epoch of its last join, or 0.
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
        """Note a heartbeat of a driver. May be called from another thread."""
        if self.attached_drivers is not None:
            self.attached_drivers.heard(slot)

    async def leave(self, slot: int) -> None:
        """Remove a driver that leaves."""
        if self.attached_drivers is not None:
            await self.attached_drivers.drop(slot)

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled | None:
        """Wait for frames for a driver and return them; None for an unknown driver."""
        attached_drivers, control = self.attached_drivers, self.control
        if attached_drivers is None or control is None or not attached_drivers.is_known(slot):
            return None
        control.host.receive(bookkeeping)
        taken: Any = await self._pulls.take(slot)
        return taken if attached_drivers.is_known(slot) else None
