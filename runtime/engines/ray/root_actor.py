"""The root of a detached system as a Ray actor: the only one that Ray restarts."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import ray

from callboard.messages.ports import FrameCarrier

from ...admin.port import Caller
from ...control_plane.records import Records
from ...detached.detached_root import DetachedRoot
from ...detached.ports import JoinReply, JoinRequest
from ...hosting.memory import tune_gc
from ...hosting.settings import Settings
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
from .names import release

__all__ = ["RootActor"]


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
        self, settings: Settings, system: str
    ) -> None:
        logging.basicConfig(
            level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
        self._settings = settings
        root_environment = RayRootEnvironment(settings, system)
        self._environment = root_environment
        self._root = DetachedRoot(settings, system, RAY, root_environment)
        asyncio.get_running_loop().call_soon(tune_gc)
        take_over()

    def __repr__(self) -> str:
        # The Ray dashboard shows this with the class.
        return f"{self._settings.name}-root"

    # --- for drivers and the CLI ------------------------------------------------------------

    async def ready(self) -> None:
        """See `DetachedRoot.ready`."""
        await self._root.ready()

    async def describe(self) -> tuple[str, Settings]:
        """The release of Callboard, and the settings of the system."""
        return release(), self._settings

    async def stop(self, timeout_s: float) -> None:
        """See `DetachedRoot.stop`."""
        await self._root.stop(timeout_s)

    async def admin(self, line: bytes) -> bytes:
        """See `DetachedRoot.admin`."""
        return await self._root.admin(line, Caller("ray"))

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
