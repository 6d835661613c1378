"""The simulated network alone: its guarantees for frames and control calls."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from callboard.messages.core.errors import HostLost
from callboard.messages.ports import TransportBroken
from callboard.runtime.testing.loop import SimulatedLoop
from callboard.runtime.testing.network import NOTICE_S, Network, NetworkFaults
from callboard.runtime.testing.world import World


class Process:
    def __init__(self, world: World) -> None:
        self.name = "p"
        self.loop = SimulatedLoop(world, "p")

    def death(self, how: str) -> HostLost:
        return HostLost(f"{self.name} {how}.")


@pytest.fixture
def world() -> Iterator[World]:
    made = World(seed=3)
    yield made
    made.close()


def posted(world: World, faults: NetworkFaults, count: int = 300) -> list[int]:
    network, process = Network(world, faults), Process(world)
    seen: list[int] = []
    for number in range(count):
        network.post(world.driver, process.loop, seen.append, number)
    world.advance(10.0)
    return seen


def test_a_healthy_network_keeps_everything_in_order(world: World) -> None:
    assert posted(world, NetworkFaults()) == list(range(300))


def test_some_are_lost(world: World) -> None:
    assert 0 < len(posted(world, NetworkFaults(loss=0.3))) < 300


def test_some_come_twice(world: World) -> None:
    seen = posted(world, NetworkFaults(double=0.3))
    assert len(seen) > len(set(seen)) == 300


def test_some_are_overtaken(world: World) -> None:
    seen = posted(world, NetworkFaults(reorder=0.3))
    assert seen != sorted(seen)
    assert sorted(seen) == list(range(300))


def test_a_cut_in_one_direction_lets_the_other_through(world: World) -> None:
    network, process = Network(world), Process(world)
    network.cut(world.driver, process.loop, both=False)
    assert not network.post(world.driver, process.loop, print)
    assert network.post(process.loop, world.driver, list)
    network.heal_all()
    assert network.post(world.driver, process.loop, list)


def test_a_call_to_a_process_that_dies_fails_soon(world: World) -> None:
    network, process = Network(world), Process(world)

    async def main() -> float:
        world.at(1.0, process.loop.die)
        world.at(1.0, network.fail_calls_to, process)
        with pytest.raises(HostLost):
            await network.call(process, asyncio.sleep, 100.0)  # type: ignore[arg-type]
        return world.now_s

    assert world.run(main()) == pytest.approx(1.0 + NOTICE_S)


def test_a_call_over_a_cut_waits_until_it_heals(world: World) -> None:
    network, process = Network(world), Process(world)

    async def main() -> Any:
        network.cut(world.driver, process.loop)
        world.at(2.0, network.heal_all)
        return await network.call(process, lambda: world.now_s)  # type: ignore[arg-type]

    assert 2.0 <= world.run(main()) < 2.5


def test_a_frame_by_call_that_is_lost_is_in_doubt(world: World) -> None:
    network, process = Network(world), Process(world)
    network.cut(world.driver, process.loop)

    async def answer(frame: bytes, references: Any) -> bytes:
        return frame

    with pytest.raises(TransportBroken):
        world.run(network.exchange(process, answer, b"frame", ()))  # type: ignore[arg-type]
    network.heal_all()
    assert world.run(network.exchange(process, answer, b"frame", ())) == b"frame"  # type: ignore[arg-type]
