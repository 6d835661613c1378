"""Defects that the simulator has found in detached systems, each as a test of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from callboard.actors.kernel.actor import Agent, handler
from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.spec import Intensity, Restart, SupervisorSpec
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.testing.engine import environment_of
from callboard.runtime.testing.network import NO_NETWORK_FAULTS, NetworkFaults
from callboard.runtime.testing.world import World

from .detached import root
from .detached.system import FIRST_DRIVER, ROOT, DetachedSystem, Driver

Main = Callable[[DetachedSystem, Driver], Awaitable[Any]]
SEEDS = range(12)
"""Which step a fault meets is the seed's."""
DOWN_S = 5.0


class Counted(Contract, name="found.counted"):
    n: int


class Count(Request[Counted], name="found.count"):
    pass


class Counter(Agent):
    def __init__(self) -> None:
        self.n = 0

    @handler
    async def count(self, request: Count) -> Counted:
        self.n += 1
        return Counted(n=self.n)


def simulate(
    seed: int, main: Main, faults: NetworkFaults = NO_NETWORK_FAULTS, **options: Any
) -> Any:
    """Run `main` with one driver of a detached system, and take the system down."""
    world = World(seed=seed)
    options = {"hosts": 2, "heartbeat_s": 0.5, "heartbeats_missed_max": 3, **options}
    settings = Settings(engine="inline", name="sim", **{"standbys": 1, **options})

    async def stays(_driver: Driver) -> None:
        await asyncio.sleep(3_600.0)

    async def run() -> Any:
        system = DetachedSystem(world, settings, environment_of(world), lambda host: None, faults)
        await system.start()
        driver = system.begin(stays)
        await until(lambda: driver.is_attached)
        result = await main(system, driver)
        await system.down(DOWN_S)
        assert system.cluster.living() == []
        assert system.lasting.ledger.entries == {}
        return result

    try:
        return world.run(run())
    finally:
        world.close()


async def do(driver: Driver, call: Callable[[Any], Awaitable[Any]]) -> Any:
    """Have a driver do something in its own process, and wait for it."""
    loop = driver.process.loop
    world: Any = loop.world
    outside: Any = asyncio.get_running_loop()
    over = outside.create_future()

    async def perform() -> None:
        try:
            over.set_result(await call(driver.system))
        except CallboardError as error:
            over.set_exception(error)

    world.on(loop, world.now_s, lambda: loop.create_task(perform()))
    return await over


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30.0):
        while not holds():  # noqa: ASYNC110 - a world's time costs nothing
            await asyncio.sleep(0.1)


async def stopped(system: DetachedSystem) -> None:
    """Have the root stop everything, as `down` does, which then ends what is left."""
    while not await system._root_call("stop", DOWN_S):  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.1)


def is_back(system: DetachedSystem, *, deaths: int = 1) -> bool:
    lasting = system.lasting.lasting
    is_ready = lasting is not None and lasting.attached_drivers is not None
    return is_ready and system.lasting.deaths == deaths and system.is_up()


def test_a_way_to_the_root_that_blinks_takes_nothing_with_it() -> None:
    """The link to a root that had never died was lost for good: nothing could be started."""

    async def main(system: DetachedSystem, driver: Driver) -> Any:
        system.cut(ROOT, FIRST_DRIVER)
        # What the root has for the driver is lost, and the call with it that was to bring it.
        system.root.registrar.directory_changed()
        await asyncio.sleep(1.0)
        system.heal()
        ref = await do(driver, lambda api: api.spawn(Counter))
        return (await do(driver, lambda api: api.ask(Count(), ref))).n

    assert simulate(1, main, faults=NetworkFaults(streams=0.0)) == 1


def test_a_host_that_died_with_the_root_comes_back_though_its_first_start_fails() -> None:
    """It was given up, with its actors, like a new child that does not start."""

    async def main(system: DetachedSystem, driver: Driver) -> Any:
        ref = await do(driver, lambda api: api.spawn(Counter, host=1))
        system.crash(ROOT)
        system.crash(1)
        system.cluster.failing_starts = 2
        await until(lambda: is_back(system))
        return (await do(driver, lambda api: api.ask(Count(), ref))).n

    assert simulate(2, main, standbys=0) == 1


def test_a_temporary_host_that_died_with_the_root_does_not_come_back() -> None:
    async def main(system: DetachedSystem, _driver: Driver) -> list[str]:
        system.crash(ROOT)
        system.crash(2)
        await until(lambda: system.lasting.deaths == 1 and is_back(system))
        return [slot.name for slot in system.root.table.slots.values()]

    hosts = (HostSpec("stays"), HostSpec("goes", restart=Restart.TEMPORARY))
    assert simulate(3, main, hosts=hosts) == ["stays"]


def test_the_death_of_a_host_counts_as_a_restart_though_there_was_no_root() -> None:
    async def main(system: DetachedSystem, _driver: Driver) -> Any:
        system.crash(ROOT)
        system.crash(1)
        await until(lambda: is_back(system))
        slot = system.root.table.slots[1]
        return int(system.root.supervisor_of(slot).child(1).restarts)

    spec = SupervisorSpec(intensity=Intensity(restarts=3, period_s=60.0))
    assert simulate(4, main, host_supervision=spec) == 1


def test_a_driver_that_computes_while_the_root_comes_back_is_kept() -> None:
    """Its signs of life were not heard: it was no attached driver of the new root yet."""

    async def main(system: DetachedSystem, driver: Driver) -> CallboardError | None:
        system.crash(ROOT)
        system.hang(FIRST_DRIVER, 20.0)
        await asyncio.sleep(21.0)
        await until(lambda: is_back(system))
        return driver.system.failure

    assert simulate(5, main) is None


def test_a_driver_comes_again_though_all_hosts_died_with_the_root() -> None:
    """Only hosts knew of it, and those that did were gone."""

    async def main(system: DetachedSystem, driver: Driver) -> CallboardError | None:
        system.crash(ROOT)
        system.crash(1)
        system.crash(2)
        await until(lambda: is_back(system))
        await until(lambda: driver.slot in system.root.table.attached_drivers)
        return driver.system.failure

    assert simulate(6, main) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pool_whose_start_the_root_did_not_survive_can_be_started_again(seed: int) -> None:
    """What was half started was still being stopped, and its name was taken."""

    async def main(system: DetachedSystem, driver: Driver) -> Any:
        world = system.world
        starting = asyncio.ensure_future(do(driver, lambda api: api.pool(Counter, size=4)))
        world.at(world.now_s + 0.01 * world.random.random(), system.crash, ROOT)
        await starting
        return (await do(driver, lambda api: api.ask(Count()))).n

    assert simulate(seed, main) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pool_keeps_the_size_that_it_had_when_the_root_died(seed: int) -> None:
    """The root is killed around a change of size, and then each host: all come back as asked."""

    async def main(system: DetachedSystem, driver: Driver) -> Any:
        world = system.world
        pool = await do(driver, lambda api: api.pool(Counter, size=4))
        resizing = asyncio.ensure_future(do(driver, lambda _: pool.resize(7)))
        world.at(world.now_s + 0.01 * world.random.random(), system.crash, ROOT)
        await resizing
        await until(lambda: system.lasting.deaths >= 1 and system.is_up())
        for host in (1, 2):
            system.crash(host)
            await asyncio.sleep(1.0)
            await until(system.is_up)
        await asyncio.sleep(1.0)
        view = await do(driver, lambda api: api.view(actors_max=0))
        answers = [await do(driver, lambda _: pool.ask(Count())) for _ in range(7)]
        await do(driver, lambda _: pool.stop())
        return sum(host.actors for host in view.hosts[1:]), len(answers)

    assert simulate(seed, main) == (7 + 2, 7)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_host_that_comes_up_while_a_driver_dies_forgets_it_too(seed: int) -> None:
    """Only hosts that were up learned that it is gone."""

    async def main(system: DetachedSystem, driver: Driver) -> list[int]:
        world = system.world
        system.crash(1)
        world.at(world.now_s + 0.03 * world.random.random(), system.crash, FIRST_DRIVER)
        await asyncio.sleep(5.0)
        await until(system.is_up)
        return [slot for slot in system.process(1).pulls.slots if slot == driver.slot]

    assert simulate(seed, main) == []


def test_a_driver_that_dies_while_there_is_no_root_is_forgotten_once_it_is_back() -> None:
    """It had to be silent for ten seconds first; its end is known from what was written."""

    async def main(system: DetachedSystem, driver: Driver) -> list[int]:
        system.crash(ROOT)
        system.crash(FIRST_DRIVER)
        await until(lambda: is_back(system))
        await asyncio.sleep(2.0)
        return list(system.lasting.lasting.attached_drivers.expected)  # type: ignore[union-attr]

    assert simulate(7, main, heartbeat_s=10.0) == []


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The share of returning roots whose lookups fail."""

    def fail(share: float) -> None:
        monkeypatch.setattr(root, "LOOKUPS_FAIL_SHARE", share)

    return fail


@pytest.mark.parametrize("seed", SEEDS)
def test_a_root_that_cannot_take_over_comes_back_until_it_can(
    seed: int, lookups: Callable[[float], None]
) -> None:
    """It stayed up and was never ready, and nobody watched the hosts."""

    async def main(system: DetachedSystem, driver: Driver) -> Any:
        ref = await do(driver, lambda api: api.spawn(Counter))
        await do(driver, lambda api: api.ask(Count(), ref))
        lookups(1.0)
        system.crash(ROOT)
        await until(lambda: system.lasting.deaths == 3)
        lookups(0.0)
        await until(system.is_up)
        return (await do(driver, lambda api: api.ask(Count(), ref))).n

    assert simulate(seed, main) == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_root_that_cannot_take_over_ends_all_when_it_is_to_stop(
    seed: int, lookups: Callable[[float], None]
) -> None:
    async def main(system: DetachedSystem, _driver: Driver) -> None:
        lookups(1.0)
        system.crash(ROOT)
        await until(lambda: system.lasting.deaths == 2)
        await stopped(system)
        assert system.cluster.living() == []
        assert system.lasting.ledger.entries == {}

    simulate(seed, main)
