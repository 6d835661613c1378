"""Asks to actors of a host that is stopped with its group, and comes back with it."""

import asyncio
from typing import Any, Final

import pytest

from callboard.actors.actor import Actor, handler
from callboard.actors.context import Context
from callboard.messages.contract import Contract, Request
from callboard.messages.errors import ActorNotFound, HostLost
from callboard.messages.hosts import HostSpec
from callboard.messages.lifecycle import Exit
from callboard.messages.ref import Ref
from callboard.messages.spec import Backoff, Strategy, SupervisorSpec
from callboard.runtime.system import System, start

WAIT_S: Final = 10.0
GROUP: Final = SupervisorSpec(Strategy.ONE_FOR_ALL, backoff=Backoff(max_s=0.0))
REST: Final = SupervisorSpec(Strategy.REST_FOR_ONE, backoff=Backoff(max_s=0.0))
OPTIONS: Final[dict[str, Any]] = {
    "engine": "inline",
    "hosts": tuple(HostSpec(name) for name in "abc"),
    "host_supervision": GROUP,
    "understudies": 0,
}


class Life(Contract, name="group.life"):
    number: int


class Which(Request[Life], name="group.which"):
    """Which of its lives it is in."""


class PassOn(Request[Life], name="group.pass_on"):
    to: Ref[Any]


class Stage:
    """What the actors of one test share: all hosts are in this process."""

    def __init__(self) -> None:
        self.lives = 0
        self.stopping = asyncio.Event()
        self.may_stop = asyncio.Event()


STAGE: Final = Stage()


@pytest.fixture(autouse=True)
async def fresh() -> None:
    vars(STAGE).update(vars(Stage()))


class Slow(Actor):
    """Stops when it may."""

    async def started(self, ctx: Context) -> None:
        STAGE.lives += 1
        self.life = STAGE.lives

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        STAGE.stopping.set()
        await STAGE.may_stop.wait()

    @handler
    async def which(self, _: Which) -> Life:
        return Life(number=self.life)


class Other(Actor):
    """Asks from another host."""

    @handler
    async def pass_on(self, request: PassOn, ctx: Context) -> Life:
        life: Life = await request.to.ask(Which(), timeout_s=WAIT_S)
        return life


async def end(system: System, slot: int) -> None:
    await system.root.table.slots[slot].process.kill()


async def test_asks_to_a_host_that_is_restarted_with_its_group_wait_after_one_refusal() -> None:
    async with start(**OPTIONS) as system:
        slow = await system.spawn(Slow, host="c")
        assert (await slow.ask(Which())).number == 1
        await end(system, 2)
        async with asyncio.timeout(WAIT_S):
            await STAGE.stopping.wait()
        # The first one gets there, and nothing of it is done.
        with pytest.raises(HostLost, match="restarted with its group") as lost:
            await slow.ask(Which(), timeout_s=WAIT_S)
        assert lost.value.details["may_have_run"] is False
        waiting = [asyncio.ensure_future(slow.ask(Which(), timeout_s=WAIT_S)) for _ in range(3)]
        done, _ = await asyncio.wait(waiting, timeout=0.1)
        assert not done, "it is stopping still"
        STAGE.may_stop.set()
        async with asyncio.timeout(WAIT_S):
            assert [(await one).number for one in waiting] == [2, 2, 2]


async def test_an_actor_of_another_host_waits_as_well() -> None:
    async with start(**OPTIONS | {"host_supervision": REST}) as system:
        slow = await system.spawn(Slow, host="c")
        other = await system.spawn(Other, host="a")
        await end(system, 2)
        async with asyncio.timeout(WAIT_S):
            await STAGE.stopping.wait()
        with pytest.raises(HostLost, match="restarted with its group"):
            await other.ask(PassOn(to=slow), timeout_s=WAIT_S)
        waiting = asyncio.ensure_future(other.ask(PassOn(to=slow), timeout_s=WAIT_S))
        done, _ = await asyncio.wait((waiting,), timeout=0.1)
        assert not done
        STAGE.may_stop.set()
        async with asyncio.timeout(WAIT_S):
            assert (await waiting).number == 2


async def test_an_actor_that_is_stopped_for_good_is_still_said_to_be() -> None:
    STAGE.may_stop.set()
    async with start(**OPTIONS) as system:
        slow = await system.spawn(Slow, host="c")
        await system.stop(slow)
        with pytest.raises(ActorNotFound):
            await slow.ask(Which(), timeout_s=WAIT_S)
