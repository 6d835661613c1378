"""Defects that the simulator has found in detached systems, each with a separate test."""

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
"""The seed decides which step a fault hits."""
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
    """Run `main` with one driver of a detached system, then take the system down."""
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
        assert system.root_process.ledger.entries == {}
        return result

    try:
        return world.run(run())
    finally:
        world.close()


async def do(driver: Driver, call: Callable[[Any], Awaitable[Any]]) -> Any:
    """Let a driver perform a call in its own process, and wait for it."""
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
    """Let the root stop everything, as `down` does before it ends the processes."""
    while not await system._root_call("stop", DOWN_S):  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.1)


def is_back(system: DetachedSystem, *, deaths: int = 1) -> bool:
    incarnation = system.root_process.incarnation
    is_ready = incarnation is not None and incarnation.attached_drivers is not None
    return is_ready and system.root_process.deaths == deaths and system.is_up()


def test_a_short_cut_of_the_link_to_the_root_loses_nothing() -> None:
    """The link to a living root was lost for good, so no start was possible."""

    async def main(system: DetachedSystem, driver: Driver) -> Any:
        system.cut(ROOT, FIRST_DRIVER)
        # The frames of the root for the driver are lost, and the call that carries them.
        system.root.registrar.directory_changed()
        await asyncio.sleep(1.0)
        system.heal()
        ref = await do(driver, lambda api: api.spawn(Counter))
        return (await do(driver, lambda api: api.ask(Count(), ref))).n

    assert simulate(1, main, faults=NetworkFaults(streams=0.0)) == 1


def test_a_host_that_died_with_the_root_comes_back_though_its_first_start_fails() -> None:
    """The root gave it up with its actors, like a new child that does not start."""

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
        await until(lambda: system.root_process.deaths == 1 and is_back(system))
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
    """The new root did not know the driver yet and ignored its heartbeats."""

    async def main(system: DetachedSystem, driver: Driver) -> CallboardError | None:
        system.crash(ROOT)
        system.hang(FIRST_DRIVER, 20.0)
        await asyncio.sleep(21.0)
        await until(lambda: is_back(system))
        return driver.system.failure

    assert simulate(4, main) is None


def test_a_driver_comes_again_though_all_hosts_died_with_the_root() -> None:
    """Only hosts knew the driver, and all of them had died."""

    async def main(system: DetachedSystem, driver: Driver) -> CallboardError | None:
        system.crash(ROOT)
        system.crash(1)
        system.crash(2)
        await until(lambda: is_back(system))
        await until(lambda: driver.slot in system.root.table.attached_drivers)
        return driver.system.failure

    assert simulate(8, main) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pool_whose_start_the_root_did_not_survive_can_be_started_again(seed: int) -> None:
    """The half-started pool was still stopping, so its name was taken."""

    async def main(system: DetachedSystem, driver: Driver) -> Any:
        world = system.world
        starting = asyncio.ensure_future(do(driver, lambda api: api.pool(Counter, size=4)))
        world.at(world.now_s + 0.01 * world.random.random(), system.crash, ROOT)
        await starting
        return (await do(driver, lambda api: api.ask(Count()))).n

    assert simulate(seed, main) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pool_keeps_the_size_that_it_had_when_the_root_died(seed: int) -> None:
    """The root dies around a resize, then each host dies: all come back with the new size."""

    async def main(system: DetachedSystem, driver: Driver) -> Any:
        world = system.world
        pool = await do(driver, lambda api: api.pool(Counter, size=4))
        resizing = asyncio.ensure_future(do(driver, lambda _: pool.resize(7)))
        world.at(world.now_s + 0.01 * world.random.random(), system.crash, ROOT)
        await resizing
        await until(lambda: system.root_process.deaths >= 1 and system.is_up())
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
    """Only running hosts learned that the driver was gone."""

    async def main(system: DetachedSystem, driver: Driver) -> list[int]:
        world = system.world
        system.crash(1)
        world.at(world.now_s + 0.03 * world.random.random(), system.crash, FIRST_DRIVER)
        await asyncio.sleep(5.0)
        await until(system.is_up)
        return [slot for slot in system.process(1).pulls.slots if slot == driver.slot]

    assert simulate(seed, main) == []


def test_the_next_root_forgets_a_driver_that_died_without_a_root() -> None:
    """The root waited ten seconds for heartbeats, though the records show the driver's end."""

    async def main(system: DetachedSystem, driver: Driver) -> list[int]:
        system.crash(ROOT)
        system.crash(FIRST_DRIVER)
        await until(lambda: is_back(system))
        await asyncio.sleep(2.0)
        return list(system.root_process.incarnation.attached_drivers.expected)  # type: ignore[union-attr]

    assert simulate(7, main, heartbeat_s=10.0) == []


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the share of restarted roots whose lookups fail."""

    def fail(share: float) -> None:
        monkeypatch.setattr(root, "LOOKUPS_FAIL_SHARE", share)

    return fail


@pytest.mark.parametrize("seed", SEEDS)
def test_a_root_that_cannot_take_over_restarts_until_it_can(
    seed: int, lookups: Callable[[float], None]
) -> None:
    """It stayed up, was never ready, and did not watch the hosts."""

    async def main(system: DetachedSystem, driver: Driver) -> Any:
        ref = await do(driver, lambda api: api.spawn(Counter))
        await do(driver, lambda api: api.ask(Count(), ref))
        lookups(1.0)
        system.crash(ROOT)
        await until(lambda: system.root_process.deaths == 3)
        lookups(0.0)
        await until(system.is_up)
        return (await do(driver, lambda api: api.ask(Count(), ref))).n

    assert simulate(seed, main) == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_root_that_cannot_take_over_ends_all_processes_on_stop(
    seed: int, lookups: Callable[[float], None]
) -> None:
    async def main(system: DetachedSystem, _driver: Driver) -> None:
        lookups(1.0)
        system.crash(ROOT)
        await until(lambda: system.root_process.deaths == 2)
        await stopped(system)
        assert system.cluster.living() == []
        assert system.root_process.ledger.entries == {}

    simulate(seed, main)
