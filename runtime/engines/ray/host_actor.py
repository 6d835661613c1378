"""The Ray actor of one host, and the Ray calls that reach it.

Frames arrive by `deliver`. A driver is not a Ray actor and cannot be called: it keeps one `pull`
outstanding, which returns its frames. `watch` does not return while the host lives, so its end
reveals a death. `beat` runs on a thread and loop of its own, so it answers while a handler blocks
the host's loop, and says which one. A process whose loop has ended does not answer it: it has
ended, see `actor_loop`.

The host of a detached system outlives its root. It keeps working, and the next root takes it over
by `adopt`.
"""

import asyncio
import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import ray

from callboard.actors.kernel.actor import Actor, Handler, behaviour_of
from callboard.actors.kernel.host.control_actor import ControlActor
from callboard.actors.kernel.host.extension import extension_handlers
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.host.watchdog import Watchdog
from callboard.messages.control.control_plane import CONTROL_SLOT, is_driver_slot
from callboard.messages.control.hosts import HeartbeatAnswer
from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.contract import describe_contract
from callboard.messages.core.errors import FrameError, HostLost, InternalError
from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import FrameCarrier

from ...hosting.lease_guard import LeaseGuard
from ...hosting.memory import GcPause, tune_gc, tune_heap
from ...hosting.settings import Settings
from ...hosting.wiring import EXTENSIONS, CloudPickler, make_host
from ...transport.process_watch import Identity, identity_of, is_near
from ...transport.pulls import Pulls
from ...transport.sockets import SocketAddress
from ...transport.stream_carrier import Find
from ...transport.tcp import TcpAddress
from .actor_loop import take_over
from .carrier import NOT_CONNECTED, RayCarrier, pack_answer
from .environment import RAY
from .frame_sockets import FrameSockets, asked_of
from .large_values import RayLargeValues
from .release import this_release

__all__ = ["Adopted", "Held", "HostActor", "take_call"]

LOGGER: Final = logging.getLogger("callboard.ray")
PUBLIC: Final = (
    "callboard",
    "callboard.events",
    "callboard.jobs",
    "callboard.keyed",
    "callboard.messaging",
    "callboard.placement",
    "callboard.reducers",
    "callboard.states",
    "callboard.storage",
    "callboard.supervision",
    "callboard.telemetry",
    "callboard.updates",
)
"""The public modules, which load everything that actors use. The facade imports this room, so it
is loaded by name here."""

Answer = Any


class Held(NamedTuple):
    """How a process holds its lease."""

    worker: str
    """Ray's id of its worker process."""
    is_leased: bool
    """False when the kernel tells of its root's end instead."""


class Adopted(NamedTuple):
    """A host's answer to the root that adopts it."""

    slot: int
    epoch: int
    address: SocketAddress | None
    identity: Identity
    cells: tuple[int, ...]
    """The numbers of its top-level actors."""
    attached_drivers: tuple[int, ...]
    """The slots of the drivers that it knows."""
    worker: str
    """Ray's id of its worker process."""


async def take_call(host: Host | None, frame: bytes, references: Sequence[Any]) -> Answer:
    """Receive a frame from a Ray call; returns the frame that is ready for its sender."""
    if host is None:
        return NOT_CONNECTED
    try:
        answer = await host.answer(frame, references)
    except FrameError as error:
        LOGGER.warning("host %s rejects a frame: %s", host.name, error)
        return NOT_CONNECTED
    return NOT_CONNECTED if answer is None else pack_answer(*answer)


class HostActor:
    """The Ray actor. `process_start.py` wraps it by `ray.remote` with its options."""

    def __init__(self, settings: Settings, name: str) -> None:
        logging.basicConfig(
            level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
        self._settings = settings
        self._name = name
        self._host: Host | None = None
        self._watchdog: Watchdog | None = None
        self._pulls: Final = Pulls()
        self._frames: FrameSockets | None = None
        self._address: SocketAddress | None = None
        self._driver_addresses: Final[dict[int, TcpAddress]] = {}
        """Where drivers of other nodes listen, by their slots."""
        self._ended: asyncio.Future[Exit] | None = None
        self._collector: Final = GcPause()
        self._guard: Final = LeaseGuard(name, settings.host_lease_s)

    def __repr__(self) -> str:
        # The Ray dashboard shows this with the class.
        return self._name

    async def ready(self) -> tuple[Identity, tuple[str, ...]]:
        """The identity of this process, and its releases, once it has started; the first call.

        The releases are plain texts, which every release can read.
        """
        take_over()
        self._ended = asyncio.get_running_loop().create_future()
        tune_heap()
        tune_gc()
        return identity_of(os.getpid()), tuple(this_release())

    async def warm(self, codes: Sequence[bytes]) -> None:
        """Load the public names of Callboard and these classes, before the process is needed."""
        for public in map(importlib.import_module, PUBLIC):
            for name in public.__all__:
                getattr(public, name)
        _prepare(behaviour_of(ControlActor).handlers)
        for extension in EXTENSIONS:
            _prepare(extension_handlers(extension))
        for code in codes:
            try:
                loaded = CloudPickler(_no_ref).loads(code)
                for actor in loaded if isinstance(loaded, list | tuple) else (loaded,):
                    if isinstance(actor, type) and issubclass(actor, Actor):
                        _prepare(behaviour_of(actor).handlers)
            except Exception as error:  # noqa: BLE001 - loaded and reported again when needed
                LOGGER.debug("a standby cannot load a class: %r", error)

    async def become(
        self,
        slot: int,
        epoch: int,
        name: str,
        control_epoch: int,
        control_address: SocketAddress | None,
        control: Any = None,
    ) -> SocketAddress | None:
        """Take over a slot; returns the socket for frames to this process.

        `control` is the root's Ray actor; None when the root lives in a driver.
        """
        self._collector.begin()
        self._host, self._watchdog = make_host(
            slot=slot,
            epoch=epoch,
            name=name,
            settings=self._settings,
            large_values=RayLargeValues(),
            on_failed=self._failed,
            environment=RAY,
        )
        instruments = self._host.meters.instruments
        self._frames = FrameSockets(self._host.take, self._settings, instruments)
        self._address = await self._frames.address()
        way = self._carrier_to(CONTROL_SLOT, control, control_address)
        self._host.link(CONTROL_SLOT).connect(control_epoch, way)
        return self._address

    async def adopt(
        self, control_epoch: int, control_address: SocketAddress | None, control: Any
    ) -> Adopted | None:
        """Belong to another incarnation of the root; None when this is not a host yet."""
        host = self._host
        if host is None:
            return None
        way = self._carrier_to(CONTROL_SLOT, control, control_address)
        host.link(CONTROL_SLOT).connect(control_epoch, way)
        return Adopted(
            host.slot,
            host.epoch,
            self._address,
            identity_of(os.getpid()),
            tuple(host.spawner.guardian.cells),
            tuple(s for s, link in host.links.items() if is_driver_slot(s) and link.is_connected),
            _worker(),
        )

    def _carrier_to(self, slot: int, handle: Any, address: SocketAddress | None) -> FrameCarrier:
        """The carrier to a Ray actor; without a handle, to a driver, which cannot be called."""
        assert self._frames is not None, "become() comes first"
        if handle is not None:
            return self._frames.carrier_to(address, RayCarrier(handle), asked_of(handle))
        pulls = self._pulls.carrier(slot)
        return self._frames.carrier_to(address, pulls, self._driver_at(slot))

    def _driver_at(self, slot: int) -> Find:
        async def find() -> TcpAddress | None:
            return self._driver_addresses.get(slot)

        return find

    async def frame_address(self) -> TcpAddress | None:
        """Where this host listens for other nodes; it does so from the first call on."""
        return None if self._frames is None else self._frames.tcp_address()

    async def driver_listens(self, slot: int, address: TcpAddress) -> None:
        """Send the frames for a driver of another node there; it still pulls the others."""
        self._driver_addresses[slot] = address

    def _failed(self, reason: Exit) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    async def connect(
        self,
        peers: Mapping[int, tuple[int, Any, SocketAddress | None]],
        is_open: bool,  # noqa: FBT001 - as an argument of a Ray call
    ) -> None:
        """Link to the peers: slot to (epoch, actor handle, socket); see `HostProcess`.

        A driver has no handle.
        """
        host = self._living()
        for slot, (epoch, handle, address) in peers.items():
            if host.has_forgotten(slot):
                continue  # The driver has left since this was sent.
            make_carrier = partial(self._carrier_to, slot, handle, address)
            host.introduce(slot, epoch, make_carrier, is_open=is_open)

    async def disconnect(self, slot: int) -> None:
        """Forget a driver that has left for good, and stop its asks."""
        left = HostLost("the driver has left.", advice="", slot=slot)
        self._living().forget(slot, left)
        self._pulls.end(slot)
        self._driver_addresses.pop(slot, None)

    async def deliver(self, frame: bytes, references: Sequence[Any] = ()) -> Answer:
        """Receive a frame; returns the frame that is ready for its sender."""
        return await take_call(self._host, frame, references)

    async def pull(self, slot: int, bookkeeping: bytes) -> Answer:
        """Wait for frames for a driver and return them; none for an unknown driver."""
        self._living().receive(bookkeeping)
        return [pack_answer(*taken) for taken in await self._pulls.take(slot)]

    async def watch(self) -> dict[str, Any]:
        """Return the reason when the host fails while its process lives."""
        assert self._ended is not None, "ready() comes first"
        return (await self._ended).to_data()

    @ray.method(concurrency_group="control")
    async def hold(self, root: Identity | None, is_only: bool) -> Held:  # noqa: FBT001 - as above
        """Hold a lease, unless the root cannot be replaced and its end is noticed here.

        `root` is the process of such a root, `is_only` whether the cluster has one machine only.
        """
        is_leased = not is_only and (root is None or not is_near(root))
        if not is_leased:
            self._guard.watch_root(root)
        return Held(_worker(), is_leased)

    @ray.method(concurrency_group="control")
    async def beat(self, stamp_s: float | None) -> HeartbeatAnswer:
        """Answer a heartbeat, which renews the lease by the stamp of an earlier answer."""
        blocked = None if self._watchdog is None else self._watchdog.blocking()
        return HeartbeatAnswer(os.getpid(), self._guard.answer(stamp_s), blocked)

    @ray.method(concurrency_group="control")
    async def ping(self) -> int:
        """The process id."""
        return os.getpid()

    def _living(self) -> Host:
        if self._host is None:
            raise InternalError(f"{self._name} is not a host yet.")
        return self._host


def _worker() -> str:
    return str(ray.get_runtime_context().get_worker_id())


def _no_ref(address: Address) -> Ref[Any]:
    raise InternalError(f"a class holds a reference to {address}; there is no host to bind it to.")


def _prepare(handlers: Mapping[type, Handler]) -> None:
    """Build the schemas of these contracts ahead of time: 20 ms for a control actor's."""
    for row in handlers.values():
        describe_contract(row.contract)
        if row.reply is not None:
            describe_contract(row.reply)
