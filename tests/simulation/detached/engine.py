"""The simulated engine of a detached system: its processes survive the root that started them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import CONTROL_SLOT, is_driver_slot
from callboard.messages.control.hosts import ProcessOrder
from callboard.messages.core.errors import ClusterError, HostLost
from callboard.messages.ports import FrameCarrier, HostProcess
from callboard.runtime.control_plane.records import Records
from callboard.runtime.detached.attached_driver_process import AttachedDriverProcess
from callboard.runtime.detached.ports import Pulled
from callboard.runtime.testing.engine import START_MIN_S, START_SPREAD_S, SimulatedEngine
from callboard.runtime.testing.loop import SimulatedLoop
from callboard.runtime.testing.network import Endpoint
from callboard.runtime.testing.process import SimulatedCarrier, SimulatedProcess
from callboard.runtime.transport.pulls import Pulls

__all__ = ["DetachedSimulatedEngine", "DetachedSimulatedProcess", "DriverProcess"]

POLL_S: Final = 0.01
"""The interval at which a lookup checks whether the process runs."""


class Adopted(NamedTuple):
    """The answer of a host to the root that adopts it."""

    slot: int
    epoch: int
    cells: tuple[int, ...]
    attached_drivers: tuple[int, ...]


class DriverProcess:
    """The process of one driver: it takes no calls, but streams reach it."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop: Final = loop
        self.host: Host | None = None
        self.suspended_until_s = 0.0
        """Until then, not even its threads run."""
        self._when_dead: list[Callable[[], object]] = []

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.loop.name

    def death(self, why: str) -> Exception:
        """See `Endpoint`."""
        return HostLost(f"{self.name} {why}.")

    def when_dead(self, on_death: Callable[[], object]) -> None:
        """Call `on_death` when it dies, or now if it is dead."""
        if self.loop.is_dead:
            on_death()
        else:
            self._when_dead.append(on_death)

    def die(self) -> None:
        """Die: take no step any more."""
        self.loop.die()
        callbacks, self._when_dead = self._when_dead, []
        for callback in callbacks:
            callback()


class DetachedSimulatedProcess(SimulatedProcess):
    """The process of a host, which the next root takes over."""

    address: Any = None
    """None: the seed decides whether two processes share a node; see `SimulatedCarrier`."""

    def __init__(self, engine: "DetachedSimulatedEngine", number: int, name: str) -> None:
        super().__init__(engine, number)
        self.name = name
        self.pulls: Final = Pulls()
        self._detached = engine

    # --- calls of the root and of drivers -----------------------------------------------------

    async def adopt(self, control_epoch: int) -> Adopted | None:
        """See `DetachedProcess`."""
        adopted: Adopted | None = await self._call(self._adopt, control_epoch)
        return adopted

    async def carrier(self) -> FrameCarrier:
        """See `DetachedProcess`."""
        return SimulatedCarrier(self._detached, self)

    async def disconnect(self, slot: int) -> None:
        """A driver has left; see `HostActor`."""
        await self._call(self._disconnect, slot)

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled:
        """See `Neighbour`."""

        async def pulled(frame: bytes, _references: Any) -> Pulled:
            self.loop.is_touched = True
            if self.host is None:
                return ()
            self.host.receive(frame)
            return await self.pulls.take(slot)

        answer: Pulled = await self._detached.network.exchange(self, pulled, bookkeeping, ())
        return answer

    async def kill(self) -> None:
        """See `HostProcess`."""
        await super().kill()
        if self._detached.records is not None:
            self._detached.records.process_gone(self.name)

    # --- its own side -------------------------------------------------------------------------

    def _adopt(self, control_epoch: int) -> Adopted | None:
        host = self.host
        if host is None:
            return None
        carrier = SimulatedCarrier(self._detached, self._detached.driver)
        host.link(CONTROL_SLOT).connect(control_epoch, carrier)
        return Adopted(
            host.slot,
            host.epoch,
            tuple(host.spawner.guardian.cells),
            tuple(s for s, link in host.links.items() if is_driver_slot(s) and link.is_connected),
        )

    def _connect(
        self,
        peers: Mapping[int, tuple[int, Any]],
        is_open: bool,
    ) -> None:
        attached_drivers = {
            s: peer for s, peer in peers.items() if isinstance(peer[1], AttachedDriverProcess)
        }
        super()._connect(
            {s: peer for s, peer in peers.items() if s not in attached_drivers}, is_open
        )
        assert self.host is not None
        for slot, (epoch, _) in attached_drivers.items():
            if self.host.has_forgotten(slot):
                continue
            driver = self._detached.drivers[slot]
            carrier = SimulatedCarrier(self._detached, driver, self.pulls.carrier(slot))
            self.host.link(slot).connect(epoch, carrier, is_open=is_open)

    def _disconnect(self, slot: int) -> None:
        if self.host is None:
            raise HostLost(f"{self.name} is not a host yet.")
        self.host.forget(slot, HostLost("the driver has left.", advice=""))
        self.pulls.end(slot)


class DetachedSimulatedEngine(SimulatedEngine):
    """The engine of all incarnations of a root: only one of them is alive at a time."""

    def __init__(self, *args: Any, root: Endpoint, **options: Any) -> None:
        super().__init__(*args, **options)
        self.driver = root
        self.records: Records | None = None
        """The records of this incarnation."""
        self.epoch = 0
        self.lookups_fail = False
        """Whether lookups in the cluster fail for this incarnation."""
        self.named: Final[dict[str, DetachedSimulatedProcess]] = {}
        """All processes so far, by name."""
        self.drivers: Final[dict[int, DriverProcess]] = {}
        """All drivers so far, by slot."""
        self._starting: Final[set[str]] = set()
        """Names of processes that do not run yet."""
        self._own: list[DetachedSimulatedProcess] = []
        """The processes that this incarnation has started or found."""

    def renew(self, epoch: int, records: Records) -> None:
        """Hand the engine to the next incarnation of the root."""
        self.epoch = epoch
        self._own = []
        self.control = None
        self.records = records

    async def start_process(
        self,
        number: int,
        order: ProcessOrder | None = None,
        *,
        is_standby: bool = False,
        node: str = "",
    ) -> HostProcess:
        """Start one more process, even when the root dies meanwhile."""
        world = self.world
        own = self._own
        name = f"{self.settings.name}.{self.epoch}-process-{number}"
        assert self.records is not None, "renew sets the records"
        await self.records.process(name)
        loop = asyncio.get_running_loop()
        started: asyncio.Future[DetachedSimulatedProcess] = loop.create_future()
        fails, self.failing_starts = bool(self.failing_starts), max(0, self.failing_starts - 1)

        self._starting.add(name)

        def come() -> None:
            if name not in self._starting:
                world.trace.note(world.now_s, f"{name} was ended before it ran")
                error = ClusterError(f"{name} did not start.", advice="Another call ended it.")
                world.on(self.driver.loop, world.now_s, _fail, started, error)
                return
            self._starting.remove(name)
            if fails:
                world.trace.note(world.now_s, f"{name} does not start")
                error = ClusterError(
                    f"{name} did not start.", advice="The seed makes this start fail."
                )
                world.on(self.driver.loop, world.now_s, _fail, started, error)
                return
            process = DetachedSimulatedProcess(self, len(self.processes) + 1, name)
            self.processes.append(process)
            self.named[name] = process
            own.append(process)
            world.on(self.driver.loop, world.now_s, _settle, started, process)

        after_s = START_MIN_S + START_SPREAD_S * world.random.random()
        world.at(world.now_s + after_s, come)
        try:
            return await started
        except asyncio.CancelledError:
            world.at(world.now_s + START_MIN_S + START_SPREAD_S, self.end_process, name)
            raise

    async def find(self, name: str) -> DetachedSimulatedProcess | None:
        """The living process of that name, if any; lookups fail when the seed says so."""
        if self.lookups_fail:
            raise ClusterError(
                "the head does not answer.", advice="The seed makes this lookup fail."
            )
        while name in self._starting:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(POLL_S)
        process = self.named_process(name)
        if process is not None:
            self._own.append(process)
        return process

    @property
    def is_root_replaced(self) -> bool:
        """True: all processes have leases."""
        return True

    async def until_ended(self, mark: Sequence[Any]) -> None:
        """See `DetachedEngine`."""
        await self.named[mark[0]].until_ended()

    def named_process(self, name: str) -> DetachedSimulatedProcess | None:
        """The living process of that name, if any."""
        process = self.named.get(name)
        return None if process is None or process.loop.is_dead else process

    def end_process(self, name: str) -> None:
        """End a process that runs or starts."""
        self._starting.discard(name)
        process = self.named.get(name)
        if process is not None:
            process.die("is ended by name")

    async def stop(self) -> None:
        """End the processes that this incarnation knows."""
        for process in self._own:
            process.die("ends with its system")

    def living(self) -> list[str]:
        """The names of the living processes."""
        return [process.name for process in self.named.values() if not process.loop.is_dead]


def _settle(future: "asyncio.Future[Any]", value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
