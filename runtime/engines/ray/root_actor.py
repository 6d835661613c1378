"""The root of a detached system as a Ray actor: the only one that Ray restarts."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgpack
import ray
import ray.cloudpickle

from callboard.messages.core.errors import ClusterError
from callboard.messages.ports import FrameCarrier

from ...admin.port import Caller
from ...admin.principals import local_principal
from ...control_plane.records import Records
from ...detached.detached_root import DetachedRoot
from ...detached.ports import JoinReply, JoinRequest
from ...hosting.memory import tune_gc
from ...hosting.settings import Settings
from ...transport.process_watch import Identity, has_ended, identity_of
from ...transport.pulls import PullCarrier
from ...transport.sockets import SocketAddress
from ...transport.stream_carrier import StreamCarrier, UnixWay
from ...transport.tcp import TcpAddress
from .actor_loop import take_over
from .carrier import pack_answer
from .driver_watch import watch_process
from .engine import RayEngine, end_by_name
from .environment import RAY
from .host_actor import take_call
from .ledger import RayLedger
from .release import this_release
from .release_check import check_system, node_title

__all__ = ["RootActor"]

cloudpickle: Final[Any] = ray.cloudpickle
"""Untyped in Ray."""

LOGGER: Final = logging.getLogger("callboard.root")
REFUSED_S: Final = 10.0
"""How long a root of another release says so, before Ray starts the next one."""


class RayRootEnvironment:
    """The environment of a root in a Ray worker; see `RootEnvironment`."""

    def __init__(self, settings: Settings, system: str) -> None:
        self._settings = settings
        self._system = system
        self._engine: RayEngine | None = None
        self.ledger: Final = RayLedger(settings.name)

    def engine(self, epoch: int, records: Records) -> RayEngine:
        """See `RootEnvironment`."""
        self._engine = RayEngine(
            self._settings,
            system=f"{self._system}.{epoch}",
            control_handle=ray.get_runtime_context().current_actor,
            records=records,
        )
        return self._engine

    def identity(self) -> bytes:
        """See `RootEnvironment`: the process for the kernel, and the node for Ray."""
        node = ray.get_runtime_context().get_node_id()
        packed: bytes = msgpack.packb((node, identity_of(os.getpid())))
        return packed

    async def has_ended(self, identity: bytes) -> bool:
        """See `RootEnvironment`: the kernel or a living node says so.

        A raylet reports the end of a worker only after it has waited for the process. A node that
        Ray calls dead may be cut off, and its processes may live.
        """
        node, process = msgpack.unpackb(identity)
        if has_ended(Identity(*process)):
            return True
        if Identity(*process).namespace == identity_of(os.getpid()).namespace:
            return False  # The kernel says that it lives.
        nodes = await asyncio.to_thread(ray.nodes)
        return any(row["NodeID"] == node and row["Alive"] for row in nodes)

    async def end_processes(self, names: Iterable[str]) -> None:
        """See `RootEnvironment`."""
        await end_by_name(names)

    async def forget(self) -> None:
        """See `RootEnvironment`."""
        await self.ledger.erase()

    async def carrier_to(
        self, join_request: JoinRequest, pulls: PullCarrier
    ) -> tuple[FrameCarrier, SocketAddress | None]:
        """A socket to a driver of this node; other drivers pull their frames."""
        assert self._engine is not None, "the engine comes first"
        mine, address = await self._engine.socket_address(), join_request.address
        if address is None or mine is None or address.node != mine.node:
            return pulls, mine
        return StreamCarrier(UnixWay(address), pulls), mine

    def frame_address(self) -> TcpAddress | None:
        """Where this process listens for hosts of other nodes."""
        return None if self._engine is None else self._engine.frame_address()

    def watch_process(
        self, join_request: JoinRequest, gone: Callable[[], None]
    ) -> Callable[[], None]:
        """See `RootEnvironment`."""
        return watch_process(join_request, gone, self._settings.heartbeat_s)

    async def end(self) -> None:
        """See `RootEnvironment`."""
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)

    def crash(self) -> None:
        """See `RootEnvironment`."""
        os.kill(os.getpid(), signal.SIGKILL)


class RootActor:
    """The Ray actor. `detached_systems.py` wraps it by `ray.remote` with its options."""

    async def __init__(  # type: ignore[misc] # Ray awaits it, on the loop of the other methods
        self, settings: Settings, system: str, release: tuple[str, ...]
    ) -> None:
        """`release` is that of the driver that started the system, and so of its hosts.

        A root of another release, which Ray has restarted on another node or after an installation,
        says so to whoever asks it, and ends soon: Ray tries again, perhaps elsewhere.
        """
        logging.basicConfig(
            level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
        self._settings = settings
        self._made: DetachedRoot | None = None
        self._refused: ClusterError | None = None
        root_environment = self._environment = RayRootEnvironment(settings, system)
        try:
            node = node_title(ray.get_runtime_context().get_node_id())
            check_system(release, f"the root of {settings.name!r}", node)
        except ClusterError as error:
            LOGGER.error("%s", error)  # noqa: TRY400 - the traceback says no more
            self._refused = error
            asyncio.get_running_loop().call_later(REFUSED_S, root_environment.crash)
        else:
            self._made = DetachedRoot(settings, system, RAY, root_environment)
        asyncio.get_running_loop().call_soon(tune_gc)
        take_over()

    def __repr__(self) -> str:
        # The Ray dashboard shows this with the class.
        return f"{self._settings.name}-root"

    @property
    def _root(self) -> DetachedRoot:
        """The root. Raises `ClusterError` when this process has another release."""
        if self._refused is not None:
            raise self._refused
        assert self._made is not None
        return self._made

    # --- for drivers and the CLI ------------------------------------------------------------

    async def ready(self) -> None:
        """See `DetachedRoot.ready`."""
        await self._root.ready()

    async def describe(self) -> tuple[tuple[str, ...], bytes]:
        """The releases of this process, and the settings of the system, packed.

        A driver of another release reads the first and cannot always read the second.
        """
        return tuple(this_release()), cloudpickle.dumps(self._settings)

    async def stop(self, timeout_s: float) -> None:
        """See `DetachedRoot.stop`."""
        await self._root.stop(timeout_s)

    async def admin(self, line: bytes) -> bytes:
        """See `DetachedRoot.admin`."""
        return await self._root.admin(line, Caller("ray", principal=local_principal("ray")))

    @ray.method(concurrency_group="control")
    async def ping(self) -> int:
        """The process id; answers while the root is busy."""
        return os.getpid()

    # --- attached drivers -------------------------------------------------------------------

    async def join(self, join_request: JoinRequest, known_epoch: int) -> JoinReply | None:
        """See `DetachedRoot.join`."""
        return await self._root.join(join_request, known_epoch)

    @ray.method(concurrency_group="control")
    async def heard(self, slot: int) -> None:
        """See `DetachedRoot.heard`."""
        self._root.heard(slot)

    async def leave(self, slot: int) -> None:
        """See `DetachedRoot.leave`."""
        await self._root.leave(slot)

    # --- frames -----------------------------------------------------------------------------

    async def deliver(self, frame: bytes, references: Sequence[Any] = ()) -> Any:
        """Receive a frame for the control host; returns the frame that is ready for its sender."""
        control = self._root.control
        return await take_call(None if control is None else control.host, frame, references)

    async def frame_address(self) -> TcpAddress | None:
        """Where this root listens for hosts of other nodes."""
        return self._environment.frame_address()

    async def pull(self, slot: int, bookkeeping: bytes) -> Any:
        """See `DetachedRoot.pull`."""
        pulled = await self._root.pull(slot, bookkeeping)
        return None if pulled is None else [pack_answer(*one) for one in pulled]
