"""Single cases of leases in the simulator: roots that die, nodes that are cut meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from callboard.runtime.control_plane.authority import WAIT_S
from callboard.runtime.hosting.lease import CLOCK_RATE_MAX, LATEST_SHARE, takeover_s
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.testing.engine import environment_of
from callboard.runtime.testing.network import NO_NETWORK_FAULTS
from callboard.runtime.testing.system import SimulatedSystem, open_system
from callboard.runtime.testing.world import World

from .detached.system import ROOT, DetachedSystem

LEASE_S = 9.0
"""Longer than a root may be away."""
TIMES: dict[str, Any] = {"heartbeat_s": 0.5, "heartbeats_missed_max": 3, "lease_s": LEASE_S}
LATEST_S = LEASE_S * (1.0 + LATEST_SHARE) / (1.0 - CLOCK_RATE_MAX)
"""The longest life of a host without a root, on the world's clock."""
TAKEOVER_S = takeover_s(LEASE_S) / (1.0 - CLOCK_RATE_MAX)
ROOT_BACK_S = 4.0 + WAIT_S


def detached(seed: int, main: Callable[[DetachedSystem], Awaitable[None]]) -> None:
    """Run `main` with a detached system whose hosts are on three nodes of their own."""
    world = World(seed=seed)
    settings = Settings(engine="inline", name="sim", hosts=2, standbys=1, **TIMES)

    async def run() -> None:
        system = DetachedSystem(
            world, settings, environment_of(world), lambda host: None, NO_NETWORK_FAULTS
        )
        system.cluster.node_count = 4
        await system.start()
        await main(system)

    try:
        world.run(run())
    finally:
        world.close()


async def back(system: DetachedSystem) -> None:
    """Wait until the root is back."""
    async with asyncio.timeout(60.0):
        while True:
            incarnation = system.root_process.incarnation
            if incarnation is not None and incarnation.attached_drivers is not None:
                return
            await asyncio.sleep(0.05)


async def up(system: DetachedSystem, slot: int, epoch: int, within_s: float) -> float:
    """Wait until a slot has a host of that epoch; returns the world's time."""
    async with asyncio.timeout(within_s):
        while True:
            found = system.root.table.slots[slot]
            if found.is_up and found.epoch == epoch:
                return system.world.now_s
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(3))
def test_a_root_that_comes_back_waits_for_the_lease_of_a_host_that_it_cannot_reach(
    seed: int,
) -> None:
    async def main(system: DetachedSystem) -> None:
        world, old = system.world, system.process(1)
        await asyncio.sleep(3.0)
        system.cluster.cut_node(old.loop.node)
        system.crash(ROOT)
        cut_s = world.now_s
        await back(system)
        slot = system.root.table.slots[1]
        assert (slot.epoch, slot.is_up) == (1, False)
        text = system.root.hosting.waits_for(slot)
        assert text.startswith("given up; its slot is taken over in at most ")
        while not old.loop.is_dead:
            assert slot.epoch == 1
            await asyncio.sleep(0.01)
        assert world.now_s - cut_s < LATEST_S
        again_s = await up(system, 1, 2, 60.0)
        assert again_s - cut_s < 2.0 * ROOT_BACK_S + TAKEOVER_S

    detached(seed, main)


@pytest.mark.parametrize("seed", range(3))
def test_the_proof_moves_the_slot_when_the_cut_ends_before_the_lease(seed: int) -> None:
    async def main(system: DetachedSystem) -> None:
        world, old = system.world, system.process(1)
        await asyncio.sleep(3.0)
        system.cluster.cut_node(old.loop.node)
        slot = system.root.table.slots[1]
        while slot.is_up:
            assert not system.root.hosting.waits_for(slot)
            await asyncio.sleep(0.05)
        assert not old.loop.is_dead
        system.network.heal_node(old.loop.node)
        healed_s = world.now_s
        assert await up(system, 1, 2, 30.0) - healed_s < 1.5
        assert old.loop.is_dead

    detached(seed, main)


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_that_ends_before_the_host_is_given_up_costs_nothing(seed: int) -> None:
    async def main(system: DetachedSystem) -> None:
        process = system.process(1)
        slot = system.root.table.slots[1]
        await asyncio.sleep(3.0)
        system.cluster.cut_node(process.loop.node)
        async with asyncio.timeout(3.0 * TIMES["heartbeat_s"] * (1.0 + CLOCK_RATE_MAX)):
            while not slot.is_silent:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        system.network.heal_node(process.loop.node)
        await asyncio.sleep(2.0 * LEASE_S)
        assert (slot.epoch, slot.is_up, slot.is_silent) == (1, True, False)

    detached(seed, main)


def test_hosts_and_standbys_whose_root_ended_for_good_end_with_their_leases() -> None:
    async def main(system: DetachedSystem) -> None:
        await asyncio.sleep(2.0 * LEASE_S)
        processes = [one for one in system.cluster.processes if not one.loop.is_dead]
        assert len(processes) == 3
        system.root_process.end_for_good()
        await asyncio.sleep(LATEST_S)
        assert all(process.loop.is_dead for process in processes)

    detached(1, main)


def test_hosts_of_a_dead_driver_on_other_nodes_end_with_their_leases() -> None:
    world = World(seed=3)
    found: list[SimulatedSystem] = []

    async def main() -> None:
        async with open_system(world, hosts=2, standbys=1, nodes=3, **TIMES) as system:
            found.append(system)
            await asyncio.sleep(3_600.0)

    try:
        _ = world.driver.create_task(main())
        world.advance(2.0 * LEASE_S)
        processes = found[0].engine.processes
        assert len(processes) == 3
        assert not any(process.loop.is_dead for process in processes)
        world.driver.die()
        world.advance(LATEST_S)
        assert all(process.loop.is_dead for process in processes)
    finally:
        world.close()
