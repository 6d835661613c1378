"""Asks to actors of a host that is stopped with its group, and comes back with it."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.actors.keyed.actor import KeyedActor
from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Backoff, StopTimeout, Strategy, SupervisorSpec
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorNotFound, DeadlineExceeded, HostLost
from callboard.messages.core.ref import Ref
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

WAIT_S: Final = 10.0
GROUP: Final = SupervisorSpec(Strategy.ONE_FOR_ALL, backoff=Backoff(max_s=0.0))
REST: Final = SupervisorSpec(Strategy.REST_FOR_ONE, backoff=Backoff(max_s=0.0))
OPTIONS: Final[dict[str, Any]] = {
    "engine": "inline",
    "hosts": tuple(HostSpec(name) for name in "abc"),
    "host_supervision": GROUP,
    "standbys": 0,
}


class Incarnation(Contract, name="group.incarnation"):
    number: int


class Which(Request[Incarnation], name="group.which"):
    """Ask for the incarnation of the actor."""

    number: int = 0
    holds: bool = False
    ballast: bytes = b""


class Where(Contract, name="group.where"):
    host: str


class WhoseKey(Request[Where], name="group.whose_key"):
    user: str


class PassOn(Request[Incarnation], name="group.pass_on"):
    to: Ref[Any]


class Stage:
    """The state that the actors of one test share: all hosts are in this process."""

    def __init__(self) -> None:
        self.starts = 0
        self.stopping = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.taken: list[int] = []


STAGE: Final = Stage()


@pytest.fixture(autouse=True)
async def fresh() -> None:
    vars(STAGE).update(vars(Stage()))


class Slow(Actor):
    """Stops when it may."""

    async def started(self, ctx: Context) -> None:
        STAGE.starts += 1
        self.number = STAGE.starts

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        STAGE.stopping.set()
        await STAGE.may_stop.wait()

    @handler
    async def which(self, request: Which) -> Incarnation:
        STAGE.taken.append(request.number)
        if request.holds:
            STAGE.begun.set()
            await STAGE.go_on.wait()
        return Incarnation(number=self.number)


class Held(KeyedActor):
    key: ClassVar[str] = "user"

    @handler
    async def whose(self, _: WhoseKey, ctx: Context) -> Where:
        return Where(host=ctx.host_name)


class Other(Actor):
    """Asks from another host."""

    @handler
    async def pass_on(self, request: PassOn, ctx: Context) -> Incarnation:
        reply: Incarnation = await request.to.ask(Which(), timeout_s=WAIT_S)
        return reply


async def end(system: System, slot: int) -> None:
    await root_of(system).table.slots[slot].process.kill()


async def stop_by_its_group(system: System) -> None:
    """End host b, which restarts c; return when c stops its actors."""
    await end(system, 2)
    async with asyncio.timeout(WAIT_S):
        await STAGE.stopping.wait()


async def all_wait(asks: Sequence["asyncio.Future[Any]"]) -> list[Any]:
    """The outcomes of all asks after the host may end, and not before."""
    done, _ = await asyncio.wait(asks, timeout=0.1)
    assert not done, "it is stopping still"
    STAGE.may_stop.set()
    async with asyncio.timeout(WAIT_S):
        return list(await asyncio.gather(*asks))


async def test_asks_to_a_host_that_is_restarted_with_its_group_wait_and_keep_their_order() -> None:
    async with start(**OPTIONS) as system:
        slow = await system.spawn(Slow, host="c")
        assert (await slow.ask(Which(number=0))).number == 1
        await stop_by_its_group(system)
        asks = [asyncio.ensure_future(slow.ask(Which(number=1), timeout_s=WAIT_S))]
        # The first ask reaches the host and comes back; these follow it or wait here.
        for number in range(2, 40):
            asks.append(asyncio.ensure_future(slow.ask(Which(number=number), timeout_s=WAIT_S)))
            await asyncio.wait(asks, timeout=0.0001 * number)
        assert {reply.number for reply in await all_wait(asks)} == {2}
        assert STAGE.taken == [*range(40)]


async def test_asks_that_wait_in_the_mailbox_wait_for_the_next_one() -> None:
    async with start(**OPTIONS) as system:
        slow = await system.spawn(Slow, host="c")
        busy = asyncio.ensure_future(slow.ask(Which(number=0, holds=True), timeout_s=WAIT_S))
        async with asyncio.timeout(WAIT_S):
            await STAGE.begun.wait()
        asks = [
            asyncio.ensure_future(slow.ask(Which(number=number), timeout_s=WAIT_S))
            for number in range(1, 10)
        ]
        await end(system, 2)
        done, _ = await asyncio.wait([busy, *asks], timeout=0.1)
        assert not done, "the one that has begun may end, and the others have not begun"
        STAGE.go_on.set()
        assert (await busy).number == 1
        assert {reply.number for reply in await all_wait(asks)} == {2}
        assert STAGE.taken == [*range(10)]


async def test_an_actor_of_another_host_waits_as_well() -> None:
    async with start(**OPTIONS | {"host_supervision": REST}) as system:
        slow = await system.spawn(Slow, host="c")
        other = await system.spawn(Other, host="a")
        await stop_by_its_group(system)
        asks = [asyncio.ensure_future(other.ask(PassOn(to=slow), timeout_s=WAIT_S))]
        assert [reply.number for reply in await all_wait(asks)] == [2]


async def test_a_key_of_such_a_host_waits_as_well() -> None:
    async with start(**OPTIONS | {"host_supervision": REST}) as system:
        await system.spawn(Slow, host="c")
        await system.keyed(Held)
        users = [f"u{number}" for number in range(30)]
        before = {user: (await system.ask(WhoseKey(user=user))).host for user in users}
        users = [user for user, host in before.items() if host == "c"]
        assert users
        await stop_by_its_group(system)
        asks = [
            asyncio.ensure_future(system.ask(WhoseKey(user=user), timeout_s=WAIT_S))
            for user in users
        ]
        STAGE.may_stop.set()
        async with asyncio.timeout(WAIT_S):
            assert {held.host for held in await asyncio.gather(*asks)} == {"c"}


async def test_an_ask_whose_handler_had_begun_is_lost_and_says_so() -> None:
    async with start(**OPTIONS) as system:
        slow = await system.spawn(Slow, host="c", stop_timeout=StopTimeout(0.1))
        busy = asyncio.ensure_future(slow.ask(Which(number=0, holds=True), timeout_s=WAIT_S))
        async with asyncio.timeout(WAIT_S):
            await STAGE.begun.wait()
        await end(system, 2)
        with pytest.raises(HostLost, match="restarted with its group") as lost:
            await busy
        assert lost.value.may_have_run


async def test_an_ask_that_came_back_ends_at_its_deadline_and_has_not_run() -> None:
    async with start(**OPTIONS) as system:
        slow = await system.spawn(Slow, host="c")
        await stop_by_its_group(system)
        with pytest.raises(DeadlineExceeded) as late:
            await slow.ask(Which(number=0), timeout_s=0.2)
        assert not late.value.may_have_run
        STAGE.may_stop.set()
        assert (await slow.ask(Which(number=1), timeout_s=WAIT_S)).number == 2
        assert STAGE.taken == [1]


async def test_a_large_ask_comes_back_as_well() -> None:
    async with start(**OPTIONS) as system:
        slow = await system.spawn(Slow, host="c")
        await stop_by_its_group(system)
        large = Which(number=7, ballast=b"x" * 300_000)
        asks = [asyncio.ensure_future(slow.ask(large, timeout_s=WAIT_S))]
        assert [reply.number for reply in await all_wait(asks)] == [2]


async def test_an_actor_that_is_stopped_for_good_is_reported_as_stopped() -> None:
    STAGE.may_stop.set()
    async with start(**OPTIONS) as system:
        slow = await system.spawn(Slow, host="c")
        await system.stop(slow)
        with pytest.raises(ActorNotFound):
            await slow.ask(Which(), timeout_s=WAIT_S)
