"""An attached driver of a simulated detached system, in its own process."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from callboard.actors.kernel.host.host import Host
from callboard.messages.core.errors import CallboardError, HostLost
from callboard.messages.ports import FrameCarrier, LargeValueStore, TransportBroken
from callboard.runtime.api.system import System
from callboard.runtime.detached.attached_driver import AttachedDriver
from callboard.runtime.detached.detached_root import DetachedRoot
from callboard.runtime.detached.ports import JoinReply, JoinRequest, Neighbour, Pulled, RootAway
from callboard.runtime.executions.journals import JournalOpener
from callboard.runtime.hosting.environment import Environment
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.testing.process import SimulatedCarrier

from .engine import DetachedSimulatedEngine, DriverProcess
from .root import SimulatedRoot

__all__ = ["driver_system"]

ResultT = TypeVar("ResultT")
GIVE_UP_S: Final = 60.0


class SimulatedRootClient:
    """See `RootClient`."""

    def __init__(self, root: SimulatedRoot, driver: DriverProcess) -> None:
        self._root = root
        self._driver = driver

    async def _call(self, function: Callable[[DetachedRoot], Awaitable[ResultT]]) -> ResultT:
        async def perform() -> ResultT:
            if self._root.incarnation is None:
                raise TransportBroken("the root is starting")
            return await function(self._root.incarnation)

        try:
            result: ResultT = await self._root.network.call(self._root, perform)
        except HostLost:
            if self._root.is_over:
                raise
            raise RootAway("the root raised HostLost") from None
        except (TransportBroken, CallboardError) as error:
            raise RootAway(str(error)) from error
        return result

    async def join(self, join_request: JoinRequest, known_epoch: int) -> JoinReply | None:
        """See `RootClient`."""
        self._root.engine.drivers[join_request.slot] = self._driver
        return await self._call(lambda root: root.join(join_request, known_epoch))

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled | None:
        """See `RootClient`."""

        async def pulled(frame: bytes, _references: Any) -> Pulled | None:
            self._root.loop.is_touched = True
            incarnation = self._root.incarnation
            return None if incarnation is None else await incarnation.pull(slot, frame)

        try:
            answer: Pulled | None = await self._root.network.exchange(
                self._root, pulled, bookkeeping, ()
            )
        except TransportBroken as error:
            raise RootAway(str(error)) from error
        return answer

    async def leave(self, slot: int) -> None:
        """See `RootClient`."""
        await self._call(lambda root: root.leave(slot))

    def beat(self, slot: int, every_s: float) -> Callable[[], None]:
        """See `RootClient`: it runs outside the event loop, as a thread does."""
        root, driver = self._root, self._driver
        world = root.world
        beats = [True]

        def heard() -> None:
            if root.incarnation is not None:
                root.incarnation.heard(slot)

        def beat() -> None:
            if beats and not driver.loop.is_dead:
                at_s = max(world.now_s, driver.suspended_until_s)
                if at_s > world.now_s:
                    world.at(at_s, beat)
                    return
                until_s = world.now_s + GIVE_UP_S
                root.network.send_reliably(driver.loop, root.loop, heard, until_s, _nothing)
                world.at(world.now_s + every_s, beat)

        beat()
        return beats.clear

    def carrier(self, _reply: JoinReply, _mine: Any) -> FrameCarrier:
        """See `RootClient`."""
        return SimulatedCarrier(self._root.engine, self._root)


class SimulatedDriverEngine:
    """See `DriverEngine`."""

    def __init__(
        self,
        engine: DetachedSimulatedEngine,
        driver: DriverProcess,
        on_host: Callable[[Host], None],
    ) -> None:
        self._engine = engine
        self._driver = driver
        self._on_host = on_host

    def attach(self, control: Host) -> None:
        """See `DriverEngine`."""
        self._driver.host = control
        self._on_host(control)

    def large_values(self) -> LargeValueStore:
        """See `DriverEngine`."""
        return self._engine.large_values()

    async def socket_address(self) -> None:
        """See `DriverEngine`: the seed decides about streams."""

    def job(self) -> str:
        """See `DriverEngine`."""
        return self._driver.name

    def identity(self) -> None:
        """See `DriverEngine`: the world notices the end of the driver."""

    async def find(self, name: str) -> Neighbour | None:
        """See `DriverEngine`."""
        return self._engine.named_process(name)

    async def stop(self) -> None:
        """See `DriverEngine`."""


def driver_system(
    settings: Settings,
    environment: Environment,
    open_journal: JournalOpener,
    root: SimulatedRoot,
    driver: DriverProcess,
    on_host: Callable[[Host], None],
) -> System:
    """Make the API of a driver, to be opened in the driver's process, as `attach` does."""

    async def enter(
        theirs: Settings,
        environment: Environment,
        on_failed: Callable[[CallboardError], None],
        *,
        starts: bool,
    ) -> AttachedDriver:
        assert not starts, "the root starts the system here"
        engine = SimulatedDriverEngine(root.engine, driver, on_host)
        client = SimulatedRootClient(root, driver)
        attached_driver = AttachedDriver(
            driver.name, theirs, engine, environment, on_failed, client
        )
        await attached_driver.start()
        return attached_driver  # The driver runs its own executions here.

    return System(
        settings, environment=environment, joins=True, open_journal=open_journal, enter=enter
    )


def _nothing() -> None:
    """Do nothing: no caller waits for it."""
