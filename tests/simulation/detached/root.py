"""The root of a simulated detached system: a process that restarts after its death."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.core.errors import ClusterError, HostLost
from callboard.messages.ports import FrameCarrier, TransportBroken
from callboard.runtime.control_plane.records import Records
from callboard.runtime.detached.detached_root import DetachedRoot
from callboard.runtime.detached.ports import JoinRequest
from callboard.runtime.hosting.environment import Environment
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.testing.loop import SimulatedLoop
from callboard.runtime.testing.network import NOTICE_S, Network
from callboard.runtime.testing.process import CLOCK_OFFSET_S, CLOCK_RATE_SPREAD, SimulatedCarrier
from callboard.runtime.testing.world import World
from callboard.runtime.transport.pulls import PullCarrier

from .engine import DetachedSimulatedEngine

__all__ = ["WRITE_MAX_S", "SimulatedLedger", "SimulatedRoot"]

UNSEEN_SHARE: Final = 0.2
"""The share of ends of a root that the next one cannot be sure of."""
RESTART_MIN_S: Final = 0.3
RESTART_SPREAD_S: Final = 2.2
"""The time that Ray takes to restart its process."""
LOOKUPS_FAIL_SHARE: Final = 0.1
"""The share of restarted roots that cannot take over their hosts."""
WRITE_MAX_S: Final = 0.002
"""The most time until an entry is safe, and again until the writer knows."""
ON_THIS_NODE: Final = 0.5
"""The share of drivers on the root's node."""
JOB_NOTICE_S: Final = 1.0
"""The most time until the cluster notices the death of a driver on another node."""


class SimulatedLedger:
    """Entries that survive all processes; see `Ledger`. A dying writer may have written."""

    def __init__(self, world: World) -> None:
        self.entries: Final[dict[str, bytes]] = {}
        self.failing = 0.0
        """The share of failing calls."""
        self._world = world

    async def write(self, entries: Mapping[str, bytes | None]) -> None:
        """Write one entry after the other; each is safe before its writer knows."""
        for key, value in entries.items():
            await self._reached()
            await self._changed(key, value)

    async def _changed(self, key: str, value: bytes | None, *, must_be_new: bool = False) -> bool:
        world = self._world
        draw = world.random.random
        loop: Any = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def apply() -> None:
            is_refused = must_be_new and key in self.entries
            if value is None:
                self.entries.pop(key, None)
            elif not is_refused:
                self.entries[key] = value
            world.on(loop, world.now_s + WRITE_MAX_S * draw(), _set, done, not is_refused)

        world.at(world.now_s + WRITE_MAX_S * draw(), apply)
        return await done

    async def add(self, key: str, value: bytes) -> bool:
        """Save an entry that does not exist, in one step; see `RootLedger`."""
        await self._reached()
        return await self._changed(key, value, must_be_new=True)

    async def read_some(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The entries of these keys."""
        await self._reached()
        return {key: self.entries[key] for key in keys if key in self.entries}

    async def read(self) -> dict[str, bytes]:
        """All entries."""
        await self._reached()
        return dict(self.entries)

    async def erase(self) -> None:
        """Remove all entries."""
        await self._reached()
        self.entries.clear()

    async def _reached(self) -> None:
        await asyncio.sleep(WRITE_MAX_S * self._world.random.random())
        if self.failing and self._world.random.random() < self.failing:
            raise ClusterError("the head does not answer.", advice="The seed makes this call fail.")


class SimulatedRoot:
    """The root as its callers see it, across its incarnations."""

    name = "root"

    def __init__(self, settings: Settings, environment: Environment, network: Network) -> None:
        self.world: Final = network.world
        self.network: Final = network
        self.ledger: Final = SimulatedLedger(network.world)
        self.engine: DetachedSimulatedEngine
        self.incarnation: DetachedRoot | None = None
        self.is_over = False
        """Whether it does not come back."""
        self.deaths = 0
        self.loop = self._new_loop()
        self._settings = settings
        self._environment = environment

    def _new_loop(self) -> SimulatedLoop:
        draw = self.world.random.random
        rate = 1.0 + (2.0 * draw() - 1.0) * CLOCK_RATE_SPREAD
        name = f"root-{self.deaths + 1}"
        return SimulatedLoop(self.world, name, rate=rate, offset_s=CLOCK_OFFSET_S * draw())

    @property
    def host(self) -> Host | None:
        """Its control host, once there is one."""
        control = None if self.incarnation is None else self.incarnation.control
        return None if control is None else control.host

    def death(self, why: str) -> Exception:
        """See `Endpoint`: it comes back, unless the system has ended."""
        if self.is_over:
            return HostLost(f"the system has ended: its root {why}.")
        return TransportBroken(f"the root {why}")

    # --- lifecycle ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start an incarnation."""
        self.world.on(self.loop, self.world.now_s, self._begin)

    def _begin(self) -> None:
        self.incarnation = DetachedRoot(
            self._settings, "sim", self._environment, SimulatedRootEnvironment(self)
        )

    def crash(self) -> None:
        """Die at once; Ray restarts it."""
        if self.loop.is_dead or self.is_over:
            return
        self.world.trace.note(self.world.now_s, f"{self.loop.name} crashes")
        self._die()
        after_s = RESTART_MIN_S + RESTART_SPREAD_S * self.world.random.random()
        self.world.at(self.world.now_s + after_s, self._come_back)

    def _die(self) -> None:
        self.deaths += 1
        self.incarnation = None
        self.loop.die()
        self.network.fail_calls_to(self)

    def _come_back(self) -> None:
        if not self.is_over:
            self.loop = self._new_loop()
            self.engine.lookups_fail = self.world.random.random() < LOOKUPS_FAIL_SHARE
            self.world.trace.note(self.world.now_s, f"{self.loop.name} comes back")
            self.start()

    def end_for_good(self) -> None:
        """Die, and never come back."""
        self.is_over = True
        if not self.loop.is_dead:
            self._die()


class SimulatedRootEnvironment:
    """The environment of one incarnation of the root; see `RootEnvironment`."""

    def __init__(self, root: SimulatedRoot) -> None:
        self._root = root

    @property
    def ledger(self) -> SimulatedLedger:
        """See `RootEnvironment`."""
        return self._root.ledger

    def engine(self, epoch: int, records: Records) -> DetachedSimulatedEngine:
        """See `RootEnvironment`."""
        self._root.engine.renew(epoch, records)
        return self._root.engine

    def identity(self) -> bytes:
        """See `RootEnvironment`."""
        return self._root.loop.name.encode()

    async def has_ended(self, identity: bytes) -> bool:
        """See `RootEnvironment`: a process here comes back only after its death."""
        return self._root.world.random.random() >= UNSEEN_SHARE

    async def end_processes(self, names: Iterable[str]) -> None:
        """See `RootEnvironment`."""
        for name in names:
            self._root.engine.end_process(name)

    async def forget(self) -> None:
        """See `RootEnvironment`."""
        await self.ledger.erase()

    async def carrier_to(
        self, join_request: JoinRequest, pulls: PullCarrier
    ) -> tuple[FrameCarrier, None]:
        """See `RootEnvironment`."""
        engine = self._root.engine
        return SimulatedCarrier(engine, engine.drivers[join_request.slot], pulls), None

    def watch_process(
        self, join_request: JoinRequest, gone: Callable[[], None]
    ) -> Callable[[], None]:
        """See `RootEnvironment`."""
        root = self._root
        world, loop = root.world, root.loop
        draw = world.random.random
        is_watched = [True]
        within_s = (NOTICE_S if draw() < ON_THIS_NODE else JOB_NOTICE_S) * draw()

        def notify() -> None:
            if is_watched:
                gone()

        root.engine.drivers[join_request.slot].when_dead(
            lambda: world.on(loop, world.now_s + within_s, notify)
        )
        return is_watched.clear

    async def end(self) -> None:
        """See `RootEnvironment`."""
        self._root.end_for_good()

    def crash(self) -> None:
        """See `RootEnvironment`."""
        self._root.crash()


def _set(future: "asyncio.Future[bool]", result: bool) -> None:
    if not future.done():
        future.set_result(result)
