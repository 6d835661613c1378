"""A driver as a guest of a detached system: its own host, and its ways to all others.

It stands where `Control` stands for a system that lives in its driver. The root may die and
come back meanwhile: the guest waits for it and is admitted again, while its messages to and
from hosts go on.
"""

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import ray.exceptions

from callboard.actors.actor import behaviour_of, handler
from callboard.actors.cell import Cell, Recipe
from callboard.actors.host.warden import Warden
from callboard.messages.contract import Request
from callboard.messages.control import CONTROL_CELL, CONTROL_SLOT
from callboard.messages.errors import CallboardError, HostLost
from callboard.messages.guests import FIRST_GUEST_SLOT, Peer, PeersChanged
from callboard.messages.ref import Address
from callboard.messages.spawning import Spawn, StopActor
from callboard.messages.views import LookAtHost

from ..control import DESK
from ..engines.ray.carrier import RayCarrier, unpack_answer
from ..engines.ray.engine import RayEngine
from ..engines.ray.handle import RayProcess
from ..environment import Environment
from ..settings import Settings
from ..transport.sockets import SocketAddress, SocketCarrier
from ..wiring import make_host
from .guests import Admission

__all__ = ["Guest"]

LOGGER: Final = logging.getLogger("callboard.driver")
ReplyT = TypeVar("ReplyT")
EPOCH: Final = 1
"""A guest that was dropped does not come back: another driver has another slot."""
RETRY_S: Final = 0.1
LEAVE_TIMEOUT_S: Final = 2.0
SLOT_DIGITS: Final = 8
"""Hexadecimal digits of an id that make a slot: 4 billion."""


class GuestWarden(Warden):
    """Cell 0 of a driver's host."""

    def __init__(self, guest: "Guest") -> None:
        # Not Warden's own: it would report each end of the driver's actors to the root.
        self._host = guest.host
        self._guest = guest

    @handler
    async def peers(self, change: PeersChanged) -> None:
        """Other processes are at these slots now."""
        await self._guest.meet(change.peers, is_open=change.is_open)


class _GuestRecipe(Recipe):
    """Makes the warden of a guest; never leaves its process."""

    def __init__(self, guest: "Guest") -> None:
        super().__init__(GuestWarden, (guest,), None, "warden")


class Guest:
    """One driver's part in a detached system, on the running event loop.

    `on_failed` is called once when the system is gone, or has dropped this driver.
    """

    def __init__(
        self,
        settings: Settings,
        engine: RayEngine,
        environment: Environment,
        on_failed: Callable[[CallboardError], None],
        root: Any,
    ) -> None:
        self._settings = settings
        self.engine: Final = engine
        self._on_failed = on_failed
        self._root = root
        self._new_id = environment.new_id
        self._control_epoch = 0
        self._is_over = False
        self._left = threading.Event()
        self._name = f"driver-{os.getpid()}@{socket.gethostname()}"
        self.host, self._watchdog = make_host(
            slot=FIRST_GUEST_SLOT + int(environment.new_id()[:SLOT_DIGITS], 16),
            epoch=EPOCH,
            name=self._name,
            settings=settings,
            blobs=engine.blobs(),
            environment=environment,
        )
        engine.attach(self.host)
        self._processes: Final[dict[int, RayProcess]] = {}
        """The processes of the hosts, by their slots."""
        recipe = _GuestRecipe(self)
        warden = Cell(CONTROL_CELL, recipe, behaviour_of(GuestWarden), self.host.dispatcher)
        self.host.births.install(warden)

    # --- coming and going -----------------------------------------------------------------

    async def start(self) -> None:
        """Be admitted; raises `HostLost` when the system ends meanwhile."""
        await self._be_admitted()
        await self._directory_taken()
        self.host.run_task(self._stay())
        beating = threading.Thread(target=self._beat, name="callboard-guest", daemon=True)
        beating.start()

    async def stop(self, timeout_s: float) -> None:
        """Leave: what this driver has under way ends, and the system goes on."""
        self._left.set()
        over, self._is_over = self._is_over, True
        if not over:
            with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
                async with asyncio.timeout(min(timeout_s, LEAVE_TIMEOUT_S)):
                    await self._root.leave.remote(self.host.slot)
        self._watchdog.stop()
        await self.host.close()
        await self.engine.stop()

    def _over(self, error: CallboardError) -> None:
        if not self._is_over:
            self._is_over = True
            self._left.set()
            for link in list(self.host.links.values()):
                link.close(error)
            self._on_failed(error)

    def _beat(self) -> None:
        """Give signs of life, from a thread: a driver that computes is not a dead one."""
        while not self._left.wait(self._settings.heartbeat_s):
            try:
                self._root.heard.remote(self.host.slot)
            except Exception:  # noqa: BLE001 - Ray has been shut down: the driver ends
                return

    # --- the root ---------------------------------------------------------------------------

    async def ask_desk(self, request: Request[ReplyT], timeout_s: float) -> ReplyT:
        """Ask the root's desk; asked again if the root dies over it.

        Nothing is started twice by that. Only a stop is not repeated: it raises `HostLost`.
        """
        deadline_s = self.host.now() + timeout_s
        starts = isinstance(request, Spawn)
        if starts:
            request = request.model_copy(update={"token": self._new_id()})
        reply = await self._ask_until(request, deadline_s)
        if starts:
            await self._directory_taken()
        return reply

    async def _ask_until(self, request: Request[ReplyT], deadline_s: float) -> ReplyT:
        while True:
            left_s = max(0.0, deadline_s - self.host.now())
            try:
                return await self.host.ask(DESK, request, left_s)
            except HostLost:
                if self._is_over or isinstance(request, StopActor):
                    raise

    async def _directory_taken(self) -> None:
        """Wait until the directory that has arrived here counts: it is in the warden's mailbox."""
        await self.host.ask(Address(self.host.slot, CONTROL_CELL), LookAtHost(actors_max=0))

    async def _be_admitted(self) -> None:
        """Come in, or in again, however long the root takes to come back."""
        address = await self.engine.socket_address()
        admission: Admission | None = None
        is_answered = False
        while not is_answered:
            try:
                admission = await self._root.admit.remote(
                    self.host.slot, EPOCH, self._name, address, self._control_epoch
                )
                is_answered = True
            except ray.exceptions.ActorDiedError:
                raise HostLost(
                    f"the system {self._settings.name!r} has ended.",
                    advice="Somebody has stopped it, or it gave up: the logs of its root tell.",
                ) from None
            except ray.exceptions.RayError as error:
                LOGGER.info("the root of %s is away: %s", self._settings.name, error)
                await asyncio.sleep(RETRY_S)
        if admission is None:
            raise HostLost(
                f"the system {self._settings.name!r} has dropped this driver: it was silent "
                "for too long.",
                advice="Attach again. Was the process stopped, or the machine asleep?",
            )
        self._control_epoch = admission.control_epoch
        by_call = RayCarrier(self._root, "the root")
        link = self.host.link(CONTROL_SLOT)
        link.connect(admission.control_epoch, _way(admission.control_address, address, by_call))
        await self.meet(admission.peers, is_open=True)
        self.host.tell(Address(self.host.slot, CONTROL_CELL), admission.directory)

    async def _stay(self) -> None:
        """Keep one pull outstanding: it brings the root's frames, and tells when it dies."""
        link = self.host.link(CONTROL_SLOT)
        while not self._is_over:
            try:
                answers = await self._root.pull.remote(self.host.slot, link.bookkeeping())
            except ray.exceptions.RayError:
                answers = None
            if answers is not None:
                for answer in answers:
                    self.host.receive(*unpack_answer(answer))
                continue
            if self._left.is_set():
                return
            away = HostLost("the root died; its next incarnation takes over.", advice="")
            link.lost(link.epoch, away)
            try:
                await self._be_admitted()
            except HostLost as error:
                self._over(error)

    # --- hosts ------------------------------------------------------------------------------

    def processes(self) -> Sequence[Any]:
        """The processes of the hosts that this driver reaches, in the order of their slots."""
        return [
            process
            for slot, process in sorted(self._processes.items())
            if self.host.link(slot).is_connected
        ]

    async def meet(self, peers: Mapping[int, Peer], *, is_open: bool) -> None:
        """Find out where the processes at these slots are, and talk to them from now on."""
        for slot, (epoch, name, where) in peers.items():
            link = self.host.link(slot)
            process = self._processes.get(slot)
            if process is None or process.name != name:
                process = await self.engine.find(name)
                if process is None:
                    continue  # It has died meanwhile: its successor will be told of.
                process.address = None if where is None else SocketAddress(*where)
                self._processes[slot] = process
            is_new = epoch > link.epoch
            link.connect(epoch, await process.carrier(), is_open=is_open)
            if is_new:
                self.host.run_task(self._bring(process, slot, epoch))

    async def _bring(self, process: RayProcess, slot: int, epoch: int) -> None:
        """Keep one pull outstanding at a host; it also tells when the host dies."""
        link = self.host.link(slot)
        while link.epoch == epoch and link.carrier is not None:
            try:
                answers = await process.handle.pull.remote(self.host.slot, link.bookkeeping())
            except ray.exceptions.ActorDiedError:
                link.lost(epoch, HostLost(f"{process.name} is lost.", slot=slot))
                return
            except ray.exceptions.RayError as error:
                LOGGER.info("pulling from %s: %s", process.name, error)
                answers = ()
            if not answers:
                await asyncio.sleep(RETRY_S)  # The host has not been told of this driver yet.
            for answer in answers:
                self.host.receive(*unpack_answer(answer))


def _way(
    address: SocketAddress | None, mine: SocketAddress | None, by_call: RayCarrier
) -> RayCarrier | SocketCarrier:
    if address is None or mine is None or address.node != mine.node:
        return by_call
    return SocketCarrier(address, by_call)
