"""Defects that the simulator has found in the kernel, each with a separate test.

Time is virtual, so waiting costs nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.messages.control.spec import Restart, Strategy, SupervisorSpec
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorNotFound, DeadlineExceeded
from callboard.messages.core.limits import Limits
from callboard.messages.core.ref import Address, Ref
from callboard.runtime.api.inside import host_of
from callboard.runtime.testing.system import SimulatedSystem, open_system
from callboard.runtime.testing.world import World

Main = Callable[[SimulatedSystem], Awaitable[Any]]


def simulate(main: Main, **options: Any) -> Any:
    world = World(seed=0)

    async def run() -> Any:
        async with open_system(world, **options) as simulated:
            return await main(simulated)

    try:
        return world.run(run())
    finally:
        world.close()


class Numbered(Contract, name="found.numbered"):
    n: int


class Seen(Contract, name="found.seen"):
    numbers: tuple[int, ...]


class ReadNumbers(Request[Seen], name="found.read_numbers"):
    pass


class Onward(Request[Seen], name="found.onward"):
    """Ask an actor that does not exist."""

    to: Ref[Any]


class Tight(Actor):
    mailbox_messages: ClassVar[int] = 4

    def __init__(self) -> None:
        self._numbers: list[int] = []

    @handler
    async def numbered(self, message: Numbered) -> None:
        self._numbers.append(message.n)
        await asyncio.sleep(0.01)

    @handler
    async def read_numbers(self, request: ReadNumbers) -> Seen:
        return Seen(numbers=tuple(self._numbers))

    @handler
    async def onward(self, request: Onward, ctx: Context) -> Seen:
        return await ctx.ask(ReadNumbers(), request.to)


def test_messages_keep_their_order_when_a_full_mailbox_meets_a_link_without_credit() -> None:
    async def main(simulated: SimulatedSystem) -> tuple[int, ...]:
        ref = await simulated.system.spawn(Tight, host=1)
        for n in range(60):
            ref.tell(Numbered(n=n))
            await asyncio.sleep(0.001)
        await asyncio.sleep(5.0)
        seen: Seen = await simulated.system.ask(ReadNumbers(), ref)
        return seen.numbers

    limits = Limits(link_credit=6, link_backlog_max=100, frame_messages_soft=2)
    assert simulate(main, hosts=1, limits=limits) == tuple(range(60))


def test_an_actor_stops_even_when_its_stop_times_out() -> None:
    async def main(simulated: SimulatedSystem) -> None:
        ref = await simulated.system.spawn(Tight, host=1)
        simulated.hang(1, 4.0)
        with pytest.raises(DeadlineExceeded):
            await simulated.system.stop(ref)
        await asyncio.sleep(8.0)
        assert ref.address.cell not in simulated.host(1).cells

    simulate(main, hosts=1, ask_timeout_s=2.0, heartbeat_s=5.0)


def test_a_handler_that_passes_on_an_error_has_run() -> None:
    async def main(simulated: SimulatedSystem) -> bool:
        system = simulated.system
        ref = await system.spawn(Tight, host=1)
        nobody: Ref[Any] = host_of(system).ref(Address(1, 999))
        with pytest.raises(ActorNotFound) as caught:
            await system.ask(Onward(to=nobody), ref)
        return caught.value.may_have_run

    assert simulate(main, hosts=1) is True


class Leaf(Actor):
    async def stopping(self, ctx: Context, reason: Any) -> None:
        await asyncio.sleep(0.2)

    @handler
    async def numbered(self, message: Numbered) -> None:
        raise ValueError("asked to fail")


class Middle(Actor):
    async def started(self, ctx: Context) -> None:
        await ctx.spawn(Leaf)
        await asyncio.sleep(0.01)

    @handler
    async def numbered(self, message: Numbered) -> None:
        raise ValueError("asked to fail")

    @handler
    async def read_numbers(self, request: ReadNumbers) -> Seen:
        return Seen(numbers=())


class Top(Actor):
    supervision: ClassVar[SupervisorSpec] = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL)

    async def started(self, ctx: Context) -> None:
        self._middle = await ctx.spawn(Middle, restart=Restart.PERMANENT)
        self._leaf = await ctx.spawn(Leaf, restart=Restart.PERMANENT)

    @handler
    async def numbered(self, message: Numbered) -> None:
        self._middle.tell(message)
        self._leaf.tell(message)

    @handler
    async def read_numbers(self, request: ReadNumbers, ctx: Context) -> Seen:
        return await ctx.ask(ReadNumbers(), self._middle)


def test_a_failing_parent_that_its_group_stops_meanwhile_restarts_once() -> None:
    async def main(simulated: SimulatedSystem) -> None:
        ref = await simulated.system.spawn(Top, host=1)
        ref.tell(Numbered(n=0))
        await asyncio.sleep(5.0)
        await simulated.system.ask(ReadNumbers(), ref)
        cells = simulated.host(1).cells.values()
        assert [cell.recipe.actor for cell in cells].count(Middle) == 1

    simulate(main, hosts=1)
