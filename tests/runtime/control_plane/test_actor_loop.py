"""The liveness of a host is that of the loop that runs its actors."""

import asyncio

import pytest

from callboard.messages.core.errors import HandlerFailed, HostLost
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

from ..engines import isolation_actors as actors

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]


async def pid_of(system: System, slot: int) -> int:
    process = root_of(system).table.slots[slot].process
    await process.ping()
    return int(process.pid)


async def test_a_host_whose_loop_ends_is_replaced_and_one_whose_loop_goes_on_is_not() -> None:
    async with start(engine="ray", name="loops", hosts=1) as system:
        faulty = await system.spawn(actors.Faulty, host=1)
        bystander = await system.spawn(actors.Faulty, host=1)
        pid = await pid_of(system, 1)
        for how in ("exit_in_gather", "interrupt_in_task"):
            with pytest.raises(HandlerFailed):
                await faulty.ask(actors.Try(how=how))
        for how in ("soon", "later", "forgotten_task"):
            await faulty.ask(actors.Try(how=how))
        assert (await bystander.ask(actors.Query())).count == 1
        assert await pid_of(system, 1) == pid

        with pytest.raises(HostLost) as caught:
            await faulty.ask(actors.Try(how="stop_loop"))
        assert caught.value.may_have_run
        async with asyncio.timeout(30.0):
            assert (await bystander.ask(actors.Query())).count == 1
            assert (await faulty.ask(actors.Query())).count == 1
        assert await pid_of(system, 1) != pid
        assert (await system.view(actors_max=0)).restarts == 1
