"""Asks while hosts are restarted as a group, in simulated worlds: nobody is told of an end."""

import asyncio
from typing import Final

import pytest

from callboard.actors.actor import Actor, handler
from callboard.actors.context import Context
from callboard.messages.contract import Contract, Request
from callboard.messages.errors import HostLost
from callboard.messages.lifecycle import Exit
from callboard.messages.ref import Ref
from callboard.messages.spec import Strategy, SupervisorSpec
from callboard.runtime.simulation.system import open_system
from callboard.runtime.simulation.world import World

ASKS: Final = 60
ASK_TIMEOUT_S: Final = 60.0


class Done(Contract, name="group_seeds.done"):
    pass


class Do(Request[Done], name="group_seeds.do"):
    pass


class Lingering(Actor):
    """Takes its time to stop, so that many ask meanwhile."""

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        await asyncio.sleep(0.5)

    @handler
    async def do(self, _: Do) -> Done:
        return Done()


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
@pytest.mark.parametrize("seed", range(10))
def test_no_ask_hears_that_its_actor_has_ended(seed: int, strategy: Strategy) -> None:
    world = World(seed=seed)
    refused: list[HostLost] = []

    async def ask(ref: Ref[Lingering], wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        while True:
            try:
                await ref.ask(Do(), timeout_s=ASK_TIMEOUT_S)
            except HostLost as lost:  # Anything else fails the test.
                refused.append(lost)
            else:
                return

    async def main() -> None:
        supervision = SupervisorSpec(strategy)
        async with open_system(world, hosts=3, host_supervision=supervision) as simulated:
            refs = [await simulated.system.spawn(Lingering, host=host) for host in (2, 3)]
            simulated.crash(1)
            asks = [ask(ref, 0.02 * n) for ref in refs for n in range(ASKS)]
            await asyncio.wait_for(asyncio.gather(*asks), 300.0)

    try:
        world.run(main())
    finally:
        world.close()
    stopping = [lost for lost in refused if "restarted with its group" in lost.message]
    assert stopping, "nobody asked while they were being stopped"
    assert len(stopping) <= len(refused) < ASKS, "most have waited"
