"""Pools when hosts die: a pool keeps its newest size."""

import asyncio

import pytest

from callboard.actors.kernel.actor import Agent, handler
from callboard.actors.kernel.context import Context
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import AskError, CallboardError
from callboard.runtime.api.system import System
from callboard.testing import Crash, FaultPlan, Simulation, simulate, simulated


class Place(Contract):
    host: str


class Where(Request[Place]):
    pass


class Agents(Agent):
    @handler
    async def where(self, request: Where, ctx: Context) -> Place:
        await asyncio.sleep(0.01)
        return Place(host=ctx.host_name)


async def actors(system: System) -> dict[str, int]:
    return {host.name: host.actors for host in (await system.view(actors_max=0)).hosts[1:]}


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_a_host_that_comes_back_has_the_agents_of_the_newest_size(size: int) -> None:
    async def scenario(sim: Simulation) -> None:
        pool = await sim.system.pool(Agents, size=4)
        await pool.resize(size)
        await sim.advance(1.0)
        before = await actors(sim.system)
        assert sum(before.values()) == size + len(pool.refs)
        for host in (1, 2):
            sim.crash(host)
            await sim.all_up()
            await sim.advance(1.0)
            assert await actors(sim.system) == before
        assert pool.size == size
        replies = await asyncio.gather(*(pool.ask(Where()) for _ in range(40)))
        assert len({reply.host for reply in replies}) == min(size, 2)

    simulate(scenario)


@simulated(seeds=30, hosts=3, faults=FaultPlan((Crash(at_s=0.5, host=1), Crash(at_s=1.5, host=2))))
async def test_only_a_death_loses_work_whatever_the_pool_does(sim: Simulation) -> None:
    lost: list[CallboardError] = []

    async def work() -> None:
        for _ in range(100):
            try:
                await sim.system.ask(Where(), timeout_s=60.0)
            except AskError as error:
                lost.append(error)

    pool = await sim.system.pool(Agents, size=6)
    working = [asyncio.ensure_future(work()) for _ in range(5)]
    while not all(task.done() for task in working):
        await pool.resize(sim.random.randint(1, 12))
        await sim.advance(0.2 * sim.random.random())
    await asyncio.gather(*working)
    assert {error.code for error in lost} <= {"host_lost"}
    await pool.resize(5)
    await sim.advance(60.0)
    assert sum((await actors(sim.system)).values()) == 5 + len(pool.refs)
    await pool.stop()
    await sim.advance(1.0)
    assert sum((await actors(sim.system)).values()) == 0
