"""All asks wait while hosts restart as a group, in simulated systems."""

import asyncio
from typing import Any, ClassVar, Final, cast

import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.props import props
from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Strategy, SupervisorSpec
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.ref import Ref
from callboard.runtime.testing.network import NetworkFaults
from callboard.runtime.testing.system import open_system
from callboard.runtime.testing.world import World

REST: Final = SupervisorSpec(Strategy.REST_FOR_ONE)
SLOW: Final = NetworkFaults(delay_min_s=0.005, delay_max_s=0.02)
ASKS: Final = 400
EVERY_S: Final = 0.002
ASK_TIMEOUT_S: Final = 60.0


class Done(Contract, name="group_seeds.done"):
    epoch: int


class Do(Request[Done], name="group_seeds.do"):
    pass


class DoFrom(Request[Done], name="group_seeds.do_from"):
    to: Ref[Any]


class Lingering(Actor):
    """Stops slowly or at once; in the second case messages arrive after the stop."""

    def __init__(self, stops_in_s: float) -> None:
        self._stops_in_s = stops_in_s

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        await asyncio.sleep(self._stops_in_s)

    async def started(self, ctx: Context) -> None:
        self._epoch = cast("Host", ctx._host).epoch

    @handler
    async def do(self, _: Do) -> Done:
        return Done(epoch=self._epoch)


class Sender(Actor):
    """Asks from another host, all the time."""

    concurrency: ClassVar[int] = ASKS

    @handler
    async def do(self, request: DoFrom, ctx: Context) -> Done:
        return await ctx.ask(Do(), request.to)


@pytest.mark.parametrize("stops_in_s", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("seed", range(10))
def test_no_ask_fails_that_has_not_run(seed: int, stops_in_s: float) -> None:
    """From the driver, and from a host that stays, over a slow network."""
    world = World(seed=seed)
    epochs: list[int] = []

    async def ask(ref: Ref[Any], request: Request[Done], wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        epochs.append((await ref.ask(request, timeout_s=ASK_TIMEOUT_S)).epoch)

    async def main() -> None:
        options: dict[str, Any] = {"hosts": 3, "host_supervision": REST, "network_faults": SLOW}
        async with open_system(world, **options) as simulated:
            ref = await simulated.system.spawn(props(Lingering, stops_in_s), host=3)
            sender = await simulated.system.spawn(Sender, host=1)
            simulated.crash(2)
            asks = [ask(ref, Do(), EVERY_S * n) for n in range(ASKS)]
            asks += [ask(sender, DoFrom(to=ref), EVERY_S * n) for n in range(ASKS)]
            await asyncio.wait_for(asyncio.gather(*asks), 300.0)

    try:
        world.run(main())
    finally:
        world.close()
    assert len(epochs) == 2 * ASKS
    assert set(epochs) == {1, 2}, "some came before the stop, and some waited for its end"
