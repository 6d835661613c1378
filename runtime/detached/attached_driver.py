"""A driver that is attached to a detached system: its own host, and its links to all others.

It takes the place of the `Control` of a system that lives in its driver. When the root dies, the
attached driver waits for the next root and joins again; its messages to and from hosts continue
meanwhile.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from callboard.actors.kernel.actor import handler
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.host.control_actor import ControlActor
from callboard.messages.control.control_plane import (
    CONTROL_CELL,
    CONTROL_SLOT,
    FIRST_DRIVER_SLOT,
    Peer,
    PeersChanged,
)
from callboard.messages.control.spawning import Spawn, StopActor
from callboard.messages.control.views import QueryHost
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import CallboardError, HostLost
from callboard.messages.core.ref import Address
from callboard.messages.ports import Ledger, TransportBroken

from ..control_plane.control import ROOT_ENDPOINT
from ..hosting.environment import Environment
from ..hosting.settings import Settings
from ..hosting.wiring import make_host
from ..transport.sockets import SocketAddress
from .ports import DriverEngine, JoinRequest, Neighbour, Pulled, RootAway, RootClient

__all__ = ["AttachedDriver", "slot_of"]

LOGGER: Final = logging.getLogger("callboard.driver")
ReplyT = TypeVar("ReplyT")
EPOCH: Final = 1
"""Always the first epoch: a dropped driver does not come back, and a new driver has a new slot."""
RETRY_S: Final = 0.1
LEAVE_TIMEOUT_S: Final = 2.0
SLOT_DIGITS: Final = 8
"""Hexadecimal digits of an id that make a slot: 4 billion slots."""


def slot_of(identity: str) -> int:
    """The slot of a driver, from its unique id."""
    return FIRST_DRIVER_SLOT + int(identity[:SLOT_DIGITS], 16)


class DriverControlActor(ControlActor):
    """Cell 0 of a driver's host."""

    def __init__(self, attached_driver: "AttachedDriver") -> None:
        super().__init__(attached_driver.host)
        self._attached_driver = attached_driver

    @handler
    async def peers(self, change: PeersChanged) -> None:
        """Connect to the processes that are at these slots now."""
        await self._attached_driver.connect(change.peers, is_open=change.is_open)


class AttachedDriver:
    """One driver's connection to a detached system, on the running event loop.

    `on_failed` is called once when the system has ended, or has dropped this driver. For
    `make_ledger` see the protocol `AttachedDriver`.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        engine: DriverEngine,
        environment: Environment,
        on_failed: Callable[[CallboardError], None],
        root: RootClient,
        make_ledger: Callable[[], Ledger] | None = None,
    ) -> None:
        self.make_ledger: Final = make_ledger
        self._name = name
        self._settings = settings
        self.engine: Final = engine
        self._on_failed = on_failed
        self._root = root
        self._new_id = environment.new_id
        self._control_epoch = 0
        self._is_over = False
        self._has_left = False
        self._stop_beating: Callable[[], None] = _no_heartbeat
        self.host, self._watchdog = make_host(
            slot=slot_of(environment.new_id()),
            epoch=EPOCH,
            name=name,
            settings=settings,
            large_values=engine.large_values(),
            environment=environment,
        )
        engine.attach(self.host)
        self._processes: Final[dict[int, Neighbour]] = {}
        """The processes of the hosts, by their slots."""
        self.host.run_control(Recipe(DriverControlActor, (self,), None, "control-actor"))

    # --- join and leave -------------------------------------------------------------------

    async def start(self) -> None:
        """Join the system. Raises `HostLost` when it ends meanwhile."""
        # Before the join: a driver may compute for long as soon as it has joined.
        self._stop_beating = self._root.beat(self.host.slot, self._settings.heartbeat_s)
        try:
            await self._join()
            await self._directory_taken()
        except BaseException:
            self._leave()
            raise
        self.host.run_task(self._stay())

    async def stop(self, timeout_s: float) -> None:
        """Leave: the asks of this driver end, and the system continues."""
        self._leave()
        over, self._is_over = self._is_over, True
        if not over:
            with contextlib.suppress(RootAway, HostLost, TimeoutError):
                async with asyncio.timeout(min(timeout_s, LEAVE_TIMEOUT_S)):
                    await self._root.leave(self.host.slot)
        self._watchdog.stop()
        await self.host.close()
        await self.engine.stop()

    @property
    def settings(self) -> Settings:
        """The settings of the system."""
        return self._settings

    @property
    def is_over(self) -> bool:
        """Whether this driver has left, was dropped, or the system has ended."""
        return self._is_over

    def _over(self, error: CallboardError) -> None:
        if not self._is_over:
            self._is_over = True
            self._leave()
            for link in list(self.host.links.values()):
                link.close(error)
            self._on_failed(error)

    def _leave(self) -> None:
        self._has_left = True
        self._stop_beating()

    # --- the root ---------------------------------------------------------------------------

    async def ask_root(self, request: Request[ReplyT], timeout_s: float) -> ReplyT:
        """Ask the root's endpoint, again when the root dies meanwhile.

        A repeated start starts nothing twice. A stop is not repeated and raises `HostLost`.
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
                return await self.host.ask(ROOT_ENDPOINT, request, left_s)
            except HostLost:
                if self._is_over or isinstance(request, StopActor):
                    raise

    async def _directory_taken(self) -> None:
        """Wait until the control actor has handled the directory that has arrived."""
        await self.host.ask(Address(self.host.slot, CONTROL_CELL), QueryHost(actors_max=0))

    async def _join(self) -> None:
        """Join, or join again, however long the root takes to come back."""
        engine, slot = self.engine, self.host.slot
        address = await engine.socket_address()
        job, identity = engine.job(), engine.identity()
        join_request = JoinRequest(slot, EPOCH, self._name, address, job, identity)
        join_reply, is_answered = None, False
        while not is_answered:
            try:
                join_reply = await self._root.join(join_request, self._control_epoch)
                is_answered = True
            except RootAway as error:
                LOGGER.info("the root of %s does not answer: %s", self._settings.name, error)
                await asyncio.sleep(RETRY_S)
        if join_reply is None:
            raise HostLost(
                f"the system {self._settings.name!r} has dropped this driver: it was silent "
                "for too long.",
                advice="Attach again. Was the process stopped, or the machine asleep?",
            )
        self._control_epoch = join_reply.control_epoch
        link = self.host.link(CONTROL_SLOT)
        link.connect(join_reply.control_epoch, self._root.carrier(join_reply, address))
        await self.connect(join_reply.peers, is_open=True)
        self.host.tell(Address(slot, CONTROL_CELL), join_reply.directory)

    async def _stay(self) -> None:
        """Keep one pull outstanding: it returns the root's frames, and ends when the root dies."""
        link = self.host.link(CONTROL_SLOT)
        while not self._is_over:
            pulled: Pulled | None = None
            with contextlib.suppress(RootAway, HostLost):
                pulled = await self._root.pull(self.host.slot, link.bookkeeping())
            if pulled is not None:
                for frame, references in pulled:
                    self.host.receive(frame, references)
                continue
            if self._has_left:
                return
            # Perhaps only the connection is lost, not the root: keep the frames for it.
            link.hold_requests()
            try:
                await self._join()
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

    async def connect(self, peers: Mapping[int, Peer], *, is_open: bool) -> None:
        """Find the processes at these slots, and link to them."""
        for slot, (epoch, name, where) in peers.items():
            link = self.host.link(slot)
            process = self._processes.get(slot)
            if process is None or process.name != name:
                process = await self.engine.find(name)
                if process is None:
                    continue  # It has died meanwhile: the root announces its successor.
                process.address = None if where is None else SocketAddress(*where)
                self._processes[slot] = process
            is_new = epoch > link.epoch
            link.connect(epoch, await process.carrier(), is_open=is_open)
            if is_new:
                self.host.run_task(self._pull(process, slot, epoch))

    async def _pull(self, process: Neighbour, slot: int, epoch: int) -> None:
        """Keep one pull outstanding at a host; it also fails when the host dies."""
        link = self.host.link(slot)
        while link.epoch == epoch and link.carrier is not None:
            pulled: Pulled = ()
            try:
                pulled = await process.pull(self.host.slot, link.bookkeeping())
            except HostLost:
                link.mark_lost(epoch, HostLost(f"{process.name} is lost.", slot=slot))
                return
            except TransportBroken as error:
                LOGGER.info("pulling from %s: %s", process.name, error)
            if not pulled:
                await asyncio.sleep(RETRY_S)  # The host does not know this driver yet.
            for frame, references in pulled:
                self.host.receive(frame, references)


def _no_heartbeat() -> None:
    """Nothing to end: the heartbeats have not begun."""
