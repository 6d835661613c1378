"""Hosts that miss a change, hosts that never talk, and drivers: all have the root's directory."""

from typing import Any

import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.ref import Address, Ref
from callboard.runtime.api.inside import root_of
from callboard.runtime.testing.simulate import Simulation, simulate


class Heard(Contract, name="tests.changes.heard"):
    where: str


class Say(Request[Heard], name="tests.changes.say"):
    pass


class Pass(Request[Heard], name="tests.changes.pass"):
    to: Ref[Any]


class Speaker(Actor):
    @handler
    async def say(self, _request: Say, ctx: Context) -> Heard:
        return Heard(where=ctx.host_name)

    @handler
    async def pass_on(self, request: Pass) -> Heard:
        return await request.to.ask(Say())


def test_a_host_that_has_missed_a_change_asks_for_the_whole() -> None:
    async def scenario(sim: Simulation) -> None:
        await sim.system.spawn(Speaker, name="one")
        await sim.advance(1.0)
        behind = sim._simulated.host(2)
        behind.directory.version -= 1
        behind.directory._names.clear()
        await sim.system.spawn(Speaker, name="two")
        await sim.advance(1.0)
        newest = root_of(sim.system).registrar.directory_version
        assert behind.directory.version == newest
        assert all(behind.directory.find(name) for name in ("one", "two"))

    simulate(scenario, seed=1, hosts=3)


def test_a_change_that_is_late_changes_nothing() -> None:
    async def scenario(sim: Simulation) -> None:
        root = root_of(sim.system)
        await sim.system.spawn(Speaker, name="one")
        await sim.advance(1.0)
        host = sim._simulated.host(2)
        before = host.directory.version
        late = host.directory.changes_to(
            before, {"one": None}, {}, {}, {}, (), places={}, places_gone=(), newest_slot=9
        ).model_copy(update={"base": before - 1})
        sim._simulated.host(0).tell(Address(2, CONTROL_CELL), late)
        await sim.advance(1.0)
        assert host.directory.version == root.registrar.directory_version
        assert host.directory.find("one") is not None

    simulate(scenario, seed=1, hosts=3)


def test_hosts_that_never_talk_have_no_link_and_others_have_one() -> None:
    async def scenario(sim: Simulation) -> None:
        first, second = [await sim.system.spawn(Speaker, host=slot) for slot in (1, 2)]
        await sim.advance(1.0)
        hosts = [sim._simulated.host(slot) for slot in (1, 2, 3)]
        assert [sorted(host.links) for host in hosts] == [[0], [0], [0]]
        assert (await first.ask(Pass(to=second))).where == "host-2"
        assert [sorted(host.links) for host in hosts] == [[0, 2], [0, 1], [0]]

    simulate(scenario, seed=1, hosts=3)


@pytest.mark.parametrize("seed", range(5))
def test_a_first_message_reaches_the_incarnation_that_came_meanwhile(seed: int) -> None:
    async def scenario(sim: Simulation) -> str:
        first, second = [await sim.system.spawn(Speaker, host=slot) for slot in (1, 2)]
        sim.crash(2)
        await sim.advance(5.0)
        return (await first.ask(Pass(to=second), timeout_s=30.0)).where

    assert simulate(scenario, seed=seed, hosts=3) == "host-2"
