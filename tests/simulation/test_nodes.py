"""Nodes come, drain and leave under load, in simulated time."""

import asyncio
import contextlib

import pytest

from callboard.messages.control.hosts import AutoHosts
from callboard.messages.control.nodes import Node
from callboard.messages.core.errors import ClusterError, HostLost
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.system import System
from callboard.runtime.executions.journals import no_journal
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.testing.world import World

from .nodes import NodesEngine, Ping, Plain, nodes_come_and_go

SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 25))]
LIMITS = [AutoHosts(), AutoHosts(at_least=2, at_most=4), AutoHosts(idle_s=10.0), None]


@pytest.mark.parametrize("limits", LIMITS, ids=["all", "bounded", "idle", "fixed"])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_ask_fails_when_nodes_drain_before_they_leave(
    seed: int, limits: AutoHosts | None
) -> None:
    outcome = nodes_come_and_go(seed, sudden=False, limits=limits)
    assert outcome.problems == [], outcome.events
    assert outcome.failed == [], outcome.events
    assert sum(outcome.acknowledged.values()) > 300


@pytest.mark.parametrize("limits", LIMITS, ids=["all", "bounded", "idle", "fixed"])
@pytest.mark.parametrize("seed", SEEDS)
def test_hosts_end_where_the_cpus_are_even_when_nodes_are_lost(
    seed: int, limits: AutoHosts | None
) -> None:
    outcome = nodes_come_and_go(seed, sudden=True, limits=limits)
    assert outcome.problems == [], outcome.events
    assert sum(outcome.acknowledged.values()) > 300


@pytest.mark.parametrize("limits", [LIMITS[0], LIMITS[2]], ids=["all", "idle"])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sudden", [False, True], ids=["planned", "sudden"])
def test_shares_of_keys_follow_the_hosts(
    seed: int, limits: AutoHosts | None, *, sudden: bool
) -> None:
    outcome = nodes_come_and_go(seed, sudden=sudden, limits=limits, shares=8)
    assert outcome.problems == [], outcome.events
    assert sudden or outcome.failed == [], outcome.events
    assert sum(outcome.acknowledged.values()) > 300


def test_hosts_do_move() -> None:
    moves = sum(nodes_come_and_go(seed, sudden=False, limits=None).moves for seed in range(4))
    assert moves > 3


def test_a_seed_gives_the_same_run_again() -> None:
    one, other = (nodes_come_and_go(3, sudden=True, limits=AutoHosts()) for _ in range(2))
    assert (one.events, one.failed, one.acknowledged) == (
        other.events,
        other.failed,
        other.acknowledged,
    )


@pytest.mark.parametrize("standbys", [0, 2])
def test_a_replacement_is_not_tried_on_the_node_that_was_just_lost(standbys: int) -> None:
    world = World(5)
    settings = Settings(engine="inline", hosts=2, standbys=standbys)
    engine = NodesEngine(world, settings, [Node("a", cpus=8), Node("b", cpus=1)])
    system = System(settings, engine, engine.environment, open_journal=no_journal)

    async def main() -> None:
        await system.open()
        refs = [await system.spawn(Plain, host=host) for host in (1, 2)]
        slots = root_of(system).table.slots
        assert {slot.process.node for slot in slots.values()} == {"a"}
        engine.silent.add("a")  # Ray takes it for alive for a while.
        for process in engine.processes:
            if process.node == "a":
                world.pause(process.loop, 1_000.0)
        async with asyncio.timeout(60.0):
            for ref in refs:
                with contextlib.suppress(HostLost):  # It was in flight, and may have run.
                    await ref.ask(Ping(), timeout_s=60.0)
                assert (await ref.ask(Ping(), timeout_s=60.0)).count == 1
        assert {slot.process.node for slot in slots.values()} == {"b"}
        await system.close(1.0)

    world.run(main())
    world.close()


def test_standbys_leave_a_draining_node() -> None:
    world = World(5)
    settings = Settings(engine="inline", hosts=1, standbys=2)
    engine = NodesEngine(world, settings, [Node("a"), Node("b")])
    system = System(settings, engine, engine.environment, open_journal=no_journal)

    async def main() -> None:
        await system.open()
        spares = root_of(system).standbys.spares
        await asyncio.sleep(1.0)
        assert {spare.node for spare in spares} == {"a", "b"}
        engine.until_s["a"] = world.now_s + 60.0
        await asyncio.sleep(5.0)
        assert [spare.node for spare in spares] == ["b", "b"]
        assert [slot.process.node for slot in root_of(system).table.slots.values()] == ["b"]
        await system.close(1.0)

    world.run(main())
    world.close()


@pytest.mark.parametrize("limits", [None, AutoHosts()], ids=["fixed", "all"])
@pytest.mark.parametrize("after_s", [1.9, 2.1, 2.4, 2.6, 2.7, 2.8, 3.0])
def test_a_system_stops_while_its_hosts_move(limits: AutoHosts | None, after_s: float) -> None:
    world = World(7)
    settings = Settings(engine="inline", hosts=limits, standbys=1)
    engine = NodesEngine(world, settings, [Node("a", cpus=2), Node("b", cpus=2)])
    system = System(settings, engine, engine.environment, open_journal=no_journal)

    async def main() -> None:
        await system.open()
        for _ in range(8):
            await system.spawn(Plain)
        engine.until_s["a"] = world.now_s + 60.0
        await asyncio.sleep(after_s)
        async with asyncio.timeout(10.0):
            await system.close(30.0)

    world.run(main())
    assert all(process.loop.is_dead for process in engine.processes)
    world.close()


def test_a_host_that_dies_while_it_moves_comes_back_all_the_same() -> None:
    world = World(9)
    settings = Settings(engine="inline", hosts=2, standbys=0)
    engine = NodesEngine(world, settings, [Node("a"), Node("b")])
    system = System(settings, engine, engine.environment, open_journal=no_journal)

    async def main() -> None:
        await system.open()
        refs = [await system.spawn(Plain, host=host) for host in (1, 2)]
        slots = root_of(system).table.slots
        engine.until_s["a"] = world.now_s + 60.0
        while slots[1].problem != "moves to another node":  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0.0005)
        slots[1].process.die("crashes")
        for ref in refs:
            with contextlib.suppress(HostLost):  # It was sent to the process that dies.
                await ref.ask(Ping(), timeout_s=30.0)
            assert (await ref.ask(Ping(), timeout_s=30.0)).count == 1
        assert {slot.process.node for slot in slots.values()} == {"b"}
        assert root_of(system).lost_hosts == 1
        await system.close(30.0)

    world.run(main())
    world.close()


@pytest.mark.parametrize("comes", [True, False])
def test_the_start_waits_for_the_first_node_with_a_cpu(comes: bool) -> None:
    world = World(11)
    settings = Settings(engine="inline", hosts=2, start_timeout_s=20.0)
    engine = NodesEngine(world, settings, [Node("head", cpus=0)])
    system = System(settings, engine, engine.environment, open_journal=no_journal)
    if comes:
        world.at(10.0, engine.known.__setitem__, "a", Node("a", cpus=1))

    async def main() -> None:
        if comes:
            await system.open()
            assert {slot.process.node for slot in root_of(system).table.slots.values()} == {"a"}
        else:
            with pytest.raises(ClusterError, match=r"no node of the cluster takes hosts"):
                await system.open()
            assert world.now_s < 25.0
        await system.close(1.0)

    world.run(main())
    world.close()


def test_a_system_starts_although_a_node_leaves_meanwhile() -> None:
    world = World(5)
    settings = Settings(engine="inline", hosts=4, standbys=1)
    engine = NodesEngine(world, settings, [Node("a", cpus=2), Node("b", cpus=2)])
    system = System(settings, engine, engine.environment, open_journal=no_journal)

    async def main() -> None:
        world.at(world.now_s + 0.01, engine.leave, "a")  # Two processes start there.
        await system.open()
        slots = root_of(system).table.slots.values()
        assert [slot.process.node for slot in slots] == ["b"] * 4
        await system.close(1.0)

    world.run(main())
    world.close()
