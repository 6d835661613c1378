"""The gain of routing by load when agents are not equally fast: the figure in docs/keyed.md."""

import asyncio
from pathlib import Path
from typing import ClassVar

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.messages.control.routing import Routing
from callboard.messages.core.contract import Contract, Request
from callboard.testing import Simulation, simulate

SLOW_S, QUICK_S = 0.4, 0.1
REQUESTS = 1_000
EVERY_S = 0.02
"""50 a second of the 65 that two slow agents (5) and six quick ones (60) can do."""


class Done(Contract, name="gain.done"):
    pass


class Work(Request[Done], name="gain.work"):
    pass


class Worker(Actor):
    """Four times as slow on the first host."""

    slow: ClassVar[str] = "host-1"

    @handler
    async def work(self, request: Work, ctx: Context) -> Done:
        await asyncio.sleep(SLOW_S if ctx.host_name == self.slow else QUICK_S)
        return Done()


async def waits(sim: Simulation, routing: Routing) -> list[float]:
    """How long each request took, sorted; virtual seconds."""
    await sim.system.pool(Worker, size=8, routing=routing)
    took: list[float] = []

    async def one() -> None:
        began_s = sim.now_s
        await sim.system.ask(Work(), timeout_s=300.0)
        took.append(sim.now_s - began_s)

    asks = []
    for _ in range(REQUESTS):
        asks.append(asyncio.ensure_future(one()))
        await asyncio.sleep(EVERY_S)
    await asyncio.gather(*asks)
    return sorted(took)


def test_least_loaded_keeps_a_slow_host_from_delaying_the_others(root: Path) -> None:
    page = (root / "docs" / "keyed.md").read_text(encoding="utf-8")
    for routing in (Routing.ROUND_ROBIN, Routing.LEAST_LOADED):

        async def scenario(sim: Simulation, routing: Routing = routing) -> list[float]:
            return await waits(sim, routing)

        took = simulate(scenario, seed=1, hosts=4, standbys=0)
        median_s, worst_s = took[REQUESTS // 2], took[REQUESTS * 99 // 100]
        row = f"| `{routing.kind.upper()}` | {median_s:.2f} s | {worst_s:.2f} s |"
        assert row in page, row
