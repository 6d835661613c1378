"""Asks in a circle fail at once and name the actors; nothing else is taken for a circle."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import Actor, Agent, behaviour_of, handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.props import props
from callboard.actors.keyed.actor import KeyedActor
from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import (
    ActorStartFailed,
    AskError,
    CircularAsk,
    DeadlineExceeded,
    SpecError,
)
from callboard.messages.core.ref import Ref
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

DEADLINE_S = 5.0
SLOW_S = 0.2
SLOW_BEGAN: list[asyncio.Event] = []
"""Set when a slow actor begins."""
AT_WORK: list[asyncio.Barrier] = []
"""Where the two actors that ask each other wait until both handle a message."""


class Seen(Contract, name="tests.circles.seen"):
    names: tuple[str, ...]


class Visit(Request[Seen], name="tests.circles.visit"):
    """Visit these actors one after another, each from the one before it."""

    way: tuple[Ref[Any], ...] = ()
    how: str = "await"


class Begin(Contract, name="tests.circles.begin"):
    way: tuple[Ref[Any], ...]


class Forward(Request[Seen], name="tests.circles.forward"):
    """Ask these actors one after another; ask `later` before, but await it after them."""

    first: Visit
    to: tuple[Ref[Any], ...]
    then: Visit = Visit()
    later: Ref[Any] | None = None


class Cross(Request[Seen], name="tests.circles.cross"):
    to: Ref[Any]


class Outcome(Request[Seen], name="tests.circles.outcome"):
    """What `Begin` has come to."""


async def awaited(ask: Any) -> Seen:
    seen: Seen = await ask
    return seen


async def in_group(ask: Any) -> Seen:
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(awaited(ask))
    except* CircularAsk as errors:
        raise errors.exceptions[0] from None
    return task.result()


async def first_of(ask: Any) -> Seen:
    done, _ = await asyncio.wait({asyncio.ensure_future(ask)})
    return await awaited(done.pop())


async def of_task(ask: Any) -> Seen:
    return await asyncio.create_task(awaited(ask))


async def gathered(ask: Any) -> Seen:
    seen, _ = await asyncio.gather(awaited(ask), asyncio.sleep(0))
    return seen


HOW: dict[str, Callable[[Any], Any]] = {
    "await": awaited,
    "gather": gathered,
    "group": in_group,
    "wait": first_of,
    "wait_for": lambda ask: asyncio.wait_for(ask, DEADLINE_S),
    "shield": asyncio.shield,
    "task": of_task,
}


class Node(Actor):
    def __init__(self) -> None:
        self.began: asyncio.Future[Any] | None = None

    @handler
    async def visit(self, request: Visit, ctx: Context) -> Seen:
        if not request.way:
            return Seen(names=(ctx.path,))
        ask = request.way[0].ask(Visit(way=request.way[1:], how=request.how))
        if request.how == "forget":
            self.began = asyncio.ensure_future(ask)
            return Seen(names=(ctx.path,))
        seen = await HOW[request.how](ask)
        return Seen(names=(ctx.path, *seen.names))

    @handler
    async def begin(self, message: Begin) -> None:
        self.began = asyncio.get_running_loop().create_future()
        try:
            self.began.set_result(await message.way[0].ask(Visit(way=message.way[1:])))
        except AskError as error:
            self.began.set_exception(error)

    @handler
    async def outcome(self, request: Outcome) -> Seen:
        assert self.began is not None
        seen: Seen = await self.began
        return seen

    @handler
    async def forward(self, request: Forward) -> Seen:
        later = None if request.later is None else request.later.ask(request.then)
        first = [await ref.ask(request.first) for ref in request.to]
        last = [] if later is None else [await later]
        return Seen(names=tuple(name for seen in (*first, *last) for name in seen.names))

    @handler
    async def cross(self, request: Cross) -> Seen:
        await AT_WORK[-1].wait()
        seen: Seen = await request.to.ask(Visit(), timeout_s=0.2)
        return seen


class Slow(Node):
    @handler
    async def visit(self, request: Visit, ctx: Context) -> Seen:
        for event in SLOW_BEGAN:
            event.set()
        await asyncio.sleep(SLOW_S)
        return Seen(names=(ctx.path,))


class Endless(Node):
    reentrant: ClassVar[bool] = True

    @handler
    async def visit(self, request: Visit, ctx: Context) -> Seen:
        return await ctx.ask(Visit(), to=ctx.self_ref)


class Two(Node):
    concurrency: ClassVar[int] = 2


class Reentrant(Node):
    reentrant: ClassVar[bool] = True


async def nodes(
    system: System, *names: str, actor: type[Node] = Node, hosts: int = 1
) -> list[Ref[Any]]:
    return [
        await system.spawn(actor, name=name, host=1 + place % hosts)
        for place, name in enumerate(names)
    ]


async def circle(way: list[Ref[Any]], how: str = "await") -> list[str]:
    """The actors that the error of this way names; it must come long before the deadline."""
    async with asyncio.timeout(DEADLINE_S / 2):
        with pytest.raises(CircularAsk) as caught:
            await way[0].ask(Visit(way=tuple(way[1:]), how=how), timeout_s=DEADLINE_S)
    error = caught.value
    assert all(name in error.message for name in error.details["actors"])
    return list(error.details["actors"])


@pytest.mark.parametrize("how", HOW)
async def test_a_chain_that_comes_back_fails_at_once_and_names_its_actors(how: str) -> None:
    async with start(engine="inline", hosts=1, standbys=0) as system:
        a, b, c = await nodes(system, "a", "b", "c")
        assert await circle([a, b, a], how) == ["/a", "/b", "/a"]
        assert await circle([a, b, c, b], how) == ["/b", "/c", "/b"]
        # The actors are free again.
        assert (await a.ask(Visit(way=(b, c)))).names == ("/a", "/b", "/c")


async def test_a_chain_over_hosts_names_the_hosts() -> None:
    async with start(engine="inline", hosts=3, standbys=0) as system:
        a, b, c, d = await nodes(system, "a", "b", "c", "d", hosts=3)
        assert await circle([a, b, a]) == ["/a on host-1", "/b on host-2", "/a on host-1"]
        assert await circle([a, d, b, c, d]) == [
            "/d on host-1", "/b on host-2", "/c on host-3", "/d on host-1",
        ]  # fmt: skip
        assert (await a.ask(Visit(way=(b, c, d)))).names == ("/a", "/b", "/c", "/d")


async def test_an_actor_that_asks_itself() -> None:
    async with start(engine="inline", hosts=1, standbys=0) as system:
        (a,) = await nodes(system, "a")
        assert await circle([a, a]) == ["/a", "/a"]


async def test_a_chain_that_began_with_a_tell() -> None:
    async with start(engine="inline", hosts=2, standbys=0) as system:
        a, b = await nodes(system, "a", "b", hosts=2)
        a.tell(Begin(way=(b, a)))
        with pytest.raises(CircularAsk, match=r"/a on host-1 -> /b on host-2 -> /a on host-1"):
            await a.ask(Outcome(), timeout_s=DEADLINE_S / 2)


class Child(Node):
    """It visits these actors while it starts, or while it stops."""

    def __init__(self, in_start: tuple[Ref[Any], ...], in_stop: tuple[Ref[Any], ...] = ()) -> None:
        super().__init__()
        self.in_start = in_start
        self.in_stop = in_stop

    async def started(self, ctx: Context) -> None:
        if self.in_start:
            await self.in_start[0].ask(Visit(way=self.in_start[1:]))

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        if self.in_stop:
            try:
                await self.in_stop[0].ask(Visit(way=self.in_stop[1:]))
            except CircularAsk as error:
                STOPPED.append(error.details["actors"])


STOPPED: list[list[str]] = []


class Raise(Request[Seen], name="tests.circles.raise"):
    in_start: tuple[Ref[Any], ...] = ()
    in_stop: tuple[Ref[Any], ...] = ()


class Parent(Node):
    @handler
    async def spawn(self, request: Raise, ctx: Context) -> Seen:
        child = await ctx.spawn(props(Child, request.in_start, request.in_stop), name="child")
        await ctx.stop_child(child)
        return Seen(names=())


class SelfStarter(Node):
    async def started(self, ctx: Context) -> None:
        await ctx.ask(Visit(), to=ctx.self_ref)


async def test_a_child_that_asks_its_parent_while_it_starts() -> None:
    async with start(engine="inline", hosts=2, standbys=0) as system:
        parent, far = (
            await nodes(system, "parent", actor=Parent),
            await nodes(system, "x", "far", hosts=2),
        )
        for way, between in (((parent[0],), ""), ((far[1], parent[0]), "/far on host-2 -> ")):
            with pytest.raises(ActorStartFailed, match="CircularAsk") as caught:
                await parent[0].ask(Raise(in_start=way), timeout_s=DEADLINE_S / 2)
            text = caught.value.message
            if between:
                assert f"/parent on host-1 -> /parent/child on host-1 -> {between}/parent" in text
            else:
                assert "/parent -> /parent/child -> /parent" in text


async def test_a_child_that_asks_its_parent_while_it_stops() -> None:
    STOPPED.clear()
    async with start(engine="inline", hosts=1, standbys=0) as system:
        (parent,) = await nodes(system, "parent", actor=Parent)
        await parent.ask(Raise(in_stop=(parent,)), timeout_s=DEADLINE_S / 2)
        assert STOPPED == [["/parent", "/parent/child", "/parent"]]


async def test_an_actor_that_asks_itself_while_it_starts() -> None:
    async with start(engine="inline", hosts=1, standbys=0) as system:
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(ActorStartFailed, match="/self -> /self"):
                await system.spawn(SelfStarter, name="self")


# --- pools and keys ------------------------------------------------------------------------------


class Task(Request[Seen], name="tests.circles.task"):
    """Ask the own pool `depth` times."""

    depth: int


class PoolAgent(Agent):
    @handler
    async def task(self, request: Task, ctx: Context) -> Seen:
        if request.depth:
            return await ctx.ask(Task(depth=request.depth - 1))
        return Seen(names=(ctx.path,))


@pytest.mark.parametrize("size", [1, 3])
async def test_a_pool_that_asks_itself_fails_once_all_its_agents_wait(size: int) -> None:
    async with start(engine="inline", hosts=1, standbys=0) as system:
        pool = await system.pool(PoolAgent, size=size, name="pool")
        await pool.ask(Task(depth=size - 1), timeout_s=DEADLINE_S)
        with pytest.raises(CircularAsk) as caught:
            await pool.ask(Task(depth=size), timeout_s=DEADLINE_S)
        assert len(caught.value.details["actors"]) == size + 1
        await pool.ask(Task(depth=size - 1), timeout_s=DEADLINE_S)


class Walk(Request[Seen], name="tests.circles.walk"):
    """Walk along these keys."""

    key: str
    rest: tuple[str, ...] = ()


class Keyed(KeyedActor):
    key: ClassVar[str] = "key"

    async def started(self, ctx: Context) -> None:
        if ctx.path.endswith("/late"):
            await ctx.ask(Walk(key="a"))

    @handler
    async def walk(self, request: Walk, ctx: Context) -> Seen:
        if not request.rest:
            return Seen(names=(request.key,))
        seen = await ctx.ask(Walk(key=request.rest[0], rest=request.rest[1:]))
        return Seen(names=(request.key, *seen.names))


@pytest.mark.parametrize("hosts", [1, 3])
async def test_keys_that_ask_each_other(hosts: int) -> None:
    async with start(engine="inline", hosts=hosts, standbys=0) as system:
        accounts = await system.keyed(Keyed)
        await accounts.ask(Walk(key="a", rest=("b", "c", "d")), timeout_s=DEADLINE_S)
        for rest in (("a",), ("b", "c", "a"), ("late",)):
            with pytest.raises(AskError, match=r"asks in a circle: /Keyed/a.* /Keyed/a"):
                await accounts.ask(Walk(key="a", rest=rest), timeout_s=DEADLINE_S)
        await accounts.ask(Walk(key="a", rest=("b",)), timeout_s=DEADLINE_S)


# --- what is no circle ---------------------------------------------------------------------------


@pytest.mark.parametrize("hosts", [1, 2])
async def test_an_asker_that_does_not_wait_is_in_no_circle(hosts: int) -> None:
    async with start(engine="inline", hosts=hosts, standbys=0) as system:
        a, b = await nodes(system, "a", "b", hosts=hosts)
        slow = await system.spawn(Slow, name="slow")
        # b answers a, and asks it meanwhile; a waits longer than a search takes to begin.
        seen = await a.ask(Forward(first=Visit(way=(a,), how="forget"), to=(b, slow)))
        assert seen.names == ("/b", "/slow")
        assert (await b.ask(Outcome())).names == ("/a",)


async def test_a_concurrent_actor_is_in_a_circle_once_all_its_handlers_wait() -> None:
    async with start(engine="inline", hosts=2, standbys=0) as system:
        (two,) = await nodes(system, "two", actor=Two)
        _, b, c = await nodes(system, "x", "b", "c", hosts=2)
        assert (await two.ask(Visit(way=(b, two)))).names == ("/two", "/b", "/two")
        assert len(await circle([two, b, two, c, two])) == 5
        # The other message of the actor is not in the chain: it will end, and then there is room.
        slow = asyncio.ensure_future(
            two.ask(Forward(first=Visit(), to=(await system.spawn(Slow),)))
        )
        await asyncio.sleep(0)
        assert (await two.ask(Visit(way=(b, two)))).names == ("/two", "/b", "/two")
        await slow


async def test_an_ask_that_is_awaited_later_is_found_a_second_later() -> None:
    async with start(engine="inline", hosts=1, standbys=0) as system:
        a, b = await nodes(system, "a", "b")
        slow = await system.spawn(Slow, name="slow")
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(CircularAsk):
                await a.ask(Forward(first=Visit(), to=(slow,), then=Visit(way=(a,)), later=b))


@pytest.mark.parametrize("hosts", [1, 2])
async def test_crossing_asks_end_at_their_deadline_and_name_both_actors(hosts: int) -> None:
    async with start(engine="inline", hosts=hosts, standbys=0) as system:
        a, b = await nodes(system, "a", "b", hosts=hosts)
        AT_WORK.append(asyncio.Barrier(2))
        errors = await asyncio.gather(
            *(one.ask(Cross(to=other)) for one, other in ((a, b), (b, a))), return_exceptions=True
        )
        for error in errors:
            assert isinstance(error, DeadlineExceeded)
            assert "/a" in error.message
            assert "/b" in error.message
            assert "/*" not in error.message


# --- reentrant actors ----------------------------------------------------------------------------


@pytest.mark.parametrize("hosts", [1, 2])
async def test_a_reentrant_actor_handles_the_asks_of_its_own_chain(hosts: int) -> None:
    async with start(engine="inline", hosts=hosts, standbys=0) as system:
        (a,) = await nodes(system, "a", actor=Reentrant)
        _, b = await nodes(system, "x", "b", hosts=hosts)
        for way in ((a, a), (a, b, a), (a, b, a, b)[:3], (a, a, a, b, a)):
            seen = await way[0].ask(Visit(way=way[1:]), timeout_s=DEADLINE_S)
            assert len(seen.names) == len(way)


async def test_a_reentrant_actor_makes_others_wait() -> None:
    async with start(engine="inline", hosts=1, standbys=0) as system:
        (a,) = await nodes(system, "a", actor=Reentrant)
        slow = await system.spawn(Slow, name="slow")
        long = asyncio.ensure_future(a.ask(Forward(first=Visit(), to=(slow,))))
        await asyncio.sleep(0)
        await a.ask(Visit())
        assert long.done()


async def test_a_chain_without_end_through_a_reentrant_actor_fails() -> None:
    async with start(engine="inline", hosts=1, standbys=0) as system:
        endless = await system.spawn(Endless, name="endless")
        with pytest.raises(CircularAsk):
            await endless.ask(Visit(), timeout_s=DEADLINE_S)


async def test_a_killed_reentrant_actor_leaves_no_handler_behind() -> None:
    async with start(engine="inline", hosts=1, standbys=0) as system:
        (a,) = await nodes(system, "a", actor=Reentrant)
        slow = await system.spawn(Slow, name="slow")
        waiting = asyncio.ensure_future(a.ask(Visit(way=(a, slow))))
        SLOW_BEGAN[:] = [asyncio.Event()]
        await SLOW_BEGAN[0].wait()
        await system.stop(a)
        assert (await waiting).names == ("/a", "/a", "/slow")
        host = host_of(system)
        assert not host.cells.get(a.address.cell)


def test_reentrant_must_be_true_or_false() -> None:
    class Wrong(Node):
        reentrant: ClassVar[Any] = "yes"

    with pytest.raises(SpecError, match=r"Wrong.reentrant is 'yes'"):
        behaviour_of(Wrong)
