"""A driver of a simulated detached system: a process of its own that is a guest there."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from callboard.actors.kernel.host.host import Host
from callboard.messages.core.errors import CallboardError, HostLost
from callboard.messages.ports import BlobStore, FrameCarrier, TransportBroken
from callboard.runtime.api.system import System
from callboard.runtime.detached.attached_driver import Guest
from callboard.runtime.detached.detached_root import LastingRoot
from callboard.runtime.detached.ports import Admission, Neighbour, Pulled, RootAway, Visitor
from callboard.runtime.executions.journals import JournalOpener
from callboard.runtime.hosting.environment import Environment
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.testing.process import SimulatedCarrier

from .engine import DriverProcess, LastingSimulatedEngine
from .root import SimulatedRoot

__all__ = ["driver_system"]

ResultT = TypeVar("ResultT")
GIVE_UP_S: Final = 60.0


class SimulatedLine:
    """See `RootLine`."""

    def __init__(self, root: SimulatedRoot, driver: DriverProcess) -> None:
        self._root = root
        self._driver = driver

    async def _call(self, function: Callable[[LastingRoot], Awaitable[ResultT]]) -> ResultT:
        async def perform() -> ResultT:
            if self._root.lasting is None:
                raise TransportBroken("it has only just come back")
            return await function(self._root.lasting)

        try:
            result: ResultT = await self._root.network.call(self._root, perform)
        except HostLost:
            if self._root.is_over:
                raise
            raise RootAway("it raised") from None
        except (TransportBroken, CallboardError) as error:
            raise RootAway(str(error)) from error
        return result

    async def admit(self, visitor: Visitor, known_epoch: int) -> Admission | None:
        """See `RootLine`."""
        self._root.engine.drivers[visitor.slot] = self._driver
        return await self._call(lambda root: root.admit(visitor, known_epoch))

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled | None:
        """See `RootLine`."""

        async def pulled(frame: bytes, _references: Any) -> Pulled | None:
            self._root.loop.is_touched = True
            lasting = self._root.lasting
            return None if lasting is None else await lasting.pull(slot, frame)

        try:
            answer: Pulled | None = await self._root.network.exchange(
                self._root, pulled, bookkeeping, ()
            )
        except TransportBroken as error:
            raise RootAway(str(error)) from error
        return answer

    async def leave(self, slot: int) -> None:
        """See `RootLine`."""
        await self._call(lambda root: root.leave(slot))

    def beat(self, slot: int, every_s: float) -> Callable[[], None]:
        """See `RootLine`: from outside the event loop, as a thread does."""
        root, driver = self._root, self._driver
        world = root.world
        beats = [True]

        def heard() -> None:
            if root.lasting is not None:
                root.lasting.heard(slot)

        def beat() -> None:
            if beats and not driver.loop.is_dead:
                at_s = max(world.now_s, driver.suspended_until_s)
                if at_s > world.now_s:
                    world.at(at_s, beat)
                    return
                until_s = world.now_s + GIVE_UP_S
                root.network.send_surely(driver.loop, root.loop, heard, until_s, _nothing)
                world.at(world.now_s + every_s, beat)

        beat()
        return beats.clear

    def carrier(self, _admission: Admission, _mine: Any) -> FrameCarrier:
        """See `RootLine`."""
        return SimulatedCarrier(self._root.engine, self._root)


class SimulatedGuestEngine:
    """See `GuestEngine`."""

    def __init__(
        self,
        engine: LastingSimulatedEngine,
        driver: DriverProcess,
        on_host: Callable[[Host], None],
    ) -> None:
        self._engine = engine
        self._driver = driver
        self._on_host = on_host

    def attach(self, control: Host) -> None:
        """See `GuestEngine`."""
        self._driver.host = control
        self._on_host(control)

    def blobs(self) -> BlobStore:
        """See `GuestEngine`."""
        return self._engine.blobs()

    async def socket_address(self) -> None:
        """See `GuestEngine`: whether there is a stream is the seed's business."""

    def job(self) -> str:
        """See `GuestEngine`."""
        return self._driver.name

    def identity(self) -> None:
        """See `GuestEngine`: how its end is seen is the world's business."""

    async def find(self, name: str) -> Neighbour | None:
        """See `GuestEngine`."""
        return self._engine.named_process(name)

    async def stop(self) -> None:
        """See `GuestEngine`."""


def driver_system(
    settings: Settings,
    environment: Environment,
    open_journal: JournalOpener,
    root: SimulatedRoot,
    driver: DriverProcess,
    on_host: Callable[[Host], None],
) -> System:
    """The driver's API in a driver's process, to be opened there: `attach`, as it were."""

    async def enter(
        theirs: Settings,
        environment: Environment,
        on_failed: Callable[[CallboardError], None],
        *,
        starts: bool,
    ) -> Guest:
        assert not starts, "the root starts the system here"
        engine = SimulatedGuestEngine(root.engine, driver, on_host)
        line = SimulatedLine(root, driver)
        guest = Guest(driver.name, theirs, engine, environment, on_failed, line)
        await guest.start()
        return guest  # Its executions are its own here.

    return System(
        settings, environment=environment, joins=True, open_journal=open_journal, enter=enter
    )


def _nothing() -> None:
    """Do nothing: no caller waits for it."""
