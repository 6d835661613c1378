"""A whole detached system in a world: a root, hosts, drivers, and the faults to inject."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any, Final, final

from callboard.actors.kernel.host.host import Host
from callboard.messages.core.errors import HostLost, UsageError
from callboard.messages.ports import TransportBroken
from callboard.runtime.api.system import System
from callboard.runtime.control_plane.records import Remembered
from callboard.runtime.control_plane.root import Root
from callboard.runtime.executions.journals import JournalOpener, no_journal
from callboard.runtime.hosting.environment import Environment
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.testing.loop import SimulatedLoop
from callboard.runtime.testing.network import Network, NetworkFaults
from callboard.runtime.testing.process import CLOCK_OFFSET_S, CLOCK_RATE_SPREAD
from callboard.runtime.testing.system import SimulatedSystem
from callboard.runtime.testing.world import World

from .driver import driver_system
from .engine import DetachedSimulatedEngine, DetachedSimulatedProcess, DriverProcess
from .root import WRITE_MAX_S, SimulatedRoot

__all__ = ["FIRST_DRIVER", "ROOT", "DetachedSystem", "Driver"]

RETRY_S: Final = 0.1
ROOT: Final = 0
FIRST_DRIVER: Final = 101
"""Faults name the root 0, hosts by slot, and drivers from this number on."""
Main = Callable[["Driver"], Coroutine[Any, Any, None]]


@final
class Driver:
    """One driver: its process, and its part in the system."""

    def __init__(self, number: int, process: DriverProcess, system: System) -> None:
        self.number: Final = number
        self.process: Final = process
        self.system: Final = system
        self.task: asyncio.Task[None] | None = None
        self.has_left = False
        self.was_suspended = False

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.process.name

    @property
    def slot(self) -> int:
        """The slot of its host."""
        assert self.process.host is not None, "it has not attached yet"
        return self.process.host.slot

    @property
    def is_attached(self) -> bool:
        """Whether it is alive and attached."""
        return (
            not self.process.loop.is_dead
            and not self.has_left
            and self.system.failure is None
            and self.process.host is not None
        )


class DetachedSystem(SimulatedSystem):
    """A detached system, as seen from outside."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        environment: Environment,
        on_host: Callable[[Host], None],
        faults: NetworkFaults,
    ) -> None:
        network = Network(world, faults)
        self._settings = settings
        self._environment = environment
        self._on_host = on_host
        self._ids = itertools.count(1)
        self.root_process: Final = SimulatedRoot(settings, environment, network)
        self.cluster: Final = DetachedSimulatedEngine(
            world,
            settings,
            network,
            root=self.root_process,
            environment=environment,
            on_host=on_host,
        )
        self.root_process.engine = self.cluster
        self.drivers: Final[list[Driver]] = []
        self.touched: Final[set[int]] = set()
        """The slots and drivers that a fault has hit; other processes have no reason to end."""
        unused: Any = None  # Each driver has its own `System`.
        super().__init__(unused, self.cluster)

    # --- the system ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the root, and wait until its hosts are up."""
        self.root_process.start()
        while not await self._root_call("ready"):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(RETRY_S)

    async def down(self, timeout_s: float) -> None:
        """Stop the system as `callboard down` does: actors in order, then all processes."""
        while not await self._root_call("stop", timeout_s):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(RETRY_S)
        root_process = self.root_process
        root_process.end_for_good()
        await asyncio.sleep(2.0 * WRITE_MAX_S)  # Its last writes are done by then.
        left = Remembered.from_entries(root_process.ledger.entries)
        for name in left.processes:
            self.cluster.end_process(name)
        root_process.ledger.entries.clear()

    async def _root_call(self, name: str, *args: Any) -> bool:
        """Call the root; False when it is away."""
        root_process = self.root_process

        async def perform() -> None:
            if root_process.incarnation is None:
                raise TransportBroken("the root is starting")
            await getattr(root_process.incarnation, name)(*args)

        try:
            await self.network.call(root_process, perform)
        except TransportBroken:
            return False
        return True

    @property
    def root(self) -> Root:
        """The root supervisor of the newest incarnation."""
        control = (
            None if self.root_process.incarnation is None else self.root_process.incarnation.control
        )
        assert control is not None, "the root is away"
        return control.root

    def is_up(self) -> bool:
        """Whether the root and all its hosts are up."""
        incarnation = self.root_process.incarnation
        if incarnation is None or incarnation.attached_drivers is None:
            return False
        return all(slot.is_up for slot in self.root.table.slots.values())

    def living(self) -> Iterator[Host]:
        """The hosts of all slots, the control host, and those of attached drivers."""
        yield from super().living()
        for driver in self.drivers:
            if driver.is_attached and driver.process.host is not None:
                yield driver.process.host

    # --- drivers ------------------------------------------------------------------------------

    def begin(
        self,
        main: Main,
        environment: Environment | None = None,
        open_journal: JournalOpener = no_journal,
    ) -> Driver:
        """Start a driver that attaches, runs `main`, and leaves."""
        world = self.world
        draw = world.random.random
        number = FIRST_DRIVER + len(self.drivers)
        loop = SimulatedLoop(
            world,
            f"driver-{number}",
            rate=1.0 + (2.0 * draw() - 1.0) * CLOCK_RATE_SPREAD,
            offset_s=CLOCK_OFFSET_S * draw(),
        )
        process = DriverProcess(loop)
        settings = replace(self._settings, engine="ray", detached=True, address="auto")
        if environment is None:
            environment = replace(self._environment, new_id=lambda: f"{next(self._ids):08x}")
        system = driver_system(
            settings, environment, open_journal, self.root_process, process, self._on_host
        )
        driver = Driver(number, process, system)
        self.drivers.append(driver)

        def come() -> None:
            driver.task = loop.create_task(self._run_driver(driver, main))

        world.on(loop, world.now_s, come)
        return driver

    async def _run_driver(self, driver: Driver, main: Main) -> None:
        system = driver.system
        try:
            await system.open()
            await main(driver)
        except asyncio.CancelledError:
            if system.failure is None:
                raise
        except HostLost:
            if not (self.root_process.is_over or driver.was_suspended):
                raise
        finally:
            driver.has_left = True
            await system.close(self._settings.stop_timeout_s)

    def process(self, slot: int) -> DetachedSimulatedProcess:
        """The living process of a slot (from 1); raises `UsageError`."""
        return self.cluster.named[super().process(slot).name]

    # --- faults -------------------------------------------------------------------------------

    def driver(self, number: int) -> Driver:
        """An attached driver; raises `UsageError`."""
        for driver in self.drivers:
            if driver.number == number and driver.is_attached:
                return driver
        raise UsageError(f"driver {number} is not attached.", advice="It may have left.")

    def loop(self, slot: int) -> SimulatedLoop:
        """The event loop of the root (0), of a slot's process, or of a driver (from 101)."""
        if slot == ROOT:
            return self.root_process.loop
        if slot >= FIRST_DRIVER:
            return self.driver(slot).process.loop
        return self.process(slot).loop

    def crash(self, slot: int) -> None:
        """Kill the root, a slot's process, or a driver at once, without notice."""
        if slot == ROOT:
            self.root_process.crash()
        elif slot >= FIRST_DRIVER:
            process = self.driver(slot).process
            self.world.trace.note(self.world.now_s, f"{process.name} is killed")
            process.die()
        else:
            super().crash(slot)

    def suspend(self, number: int, seconds: float) -> None:
        """Suspend a driver with all its threads for some seconds."""
        driver = self.driver(number)
        driver.was_suspended = True
        driver.process.suspended_until_s = self.world.now_s + seconds
        self.hang(number, seconds)
