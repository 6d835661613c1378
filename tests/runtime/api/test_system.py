"""The driver's API: settings, refused calls, and views."""

import asyncio
from typing import Any

import pytest

from callboard.actors.kernel.actor import Actor, Agent, handler
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import HostLost, SpecError, UsageError
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.run import run
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System
from callboard.runtime.hosting.settings import Settings


class Number(Contract, name="system.number"):
    n: int


class Ping(Request[Number], name="system.ping"):
    n: int


class Wait(Request[Number], name="system.wait"):
    """Never answered."""


class Ponger(Agent):
    @handler
    async def ping(self, request: Ping) -> Number:
        return Number(n=request.n)

    @handler
    async def wait(self, request: Wait) -> Number:
        await asyncio.sleep(3_600.0)
        return Number(n=0)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"engine": "carrier pigeon"}, "engine"),
        ({"hosts": 0}, "hosts"),
        ({"hosts": -3}, "hosts"),
        ({"standbys": -1}, "standbys"),
        ({"engine": "inline", "address": "here:1"}, "address"),
        ({"ask_timeout_s": 0}, "ask_timeout_s"),
        ({"heartbeat_s": -1.0}, "heartbeat_s"),
        ({"no_such_setting": 1}, "no_such_setting"),
    ],
)
def test_wrong_setting_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    async def main(system: System) -> None:
        raise AssertionError("it must not start")

    with pytest.raises(SpecError, match=field):
        run(main, **options)


def test_run_gives_the_result_of_main() -> None:
    async def main(system: System) -> int:
        ref = await system.spawn(Ponger)
        return (await ref.ask(Ping(n=41))).n + 1

    assert run(main, engine="inline") == 42


def test_run_lets_mains_exception_out() -> None:
    async def main(system: System) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run(main, Settings(engine="inline"))


async def test_system_that_is_not_running_says_so() -> None:
    system = System(Settings(engine="inline"))
    with pytest.raises(UsageError, match="not running"):
        await system.spawn(Ponger)


async def test_host_that_does_not_exist_is_refused() -> None:
    async with start(engine="inline", hosts=2) as system:
        with pytest.raises(UsageError, match="host 3"):
            await system.spawn(Ponger, host=3)


async def test_class_that_is_no_actor_is_refused() -> None:
    async with start(engine="inline", hosts=1) as system:
        with pytest.raises(SpecError, match="Actor"):
            await system.spawn(int)  # type: ignore[type-var]


async def test_actors_are_spread_over_hosts() -> None:
    async with start(engine="inline", hosts=3) as system:
        refs = [await system.spawn(Ponger) for _ in range(6)]
        assert sorted(ref.address.slot for ref in refs) == [1, 1, 2, 2, 3, 3]
        many = await system.spawn_many([Ponger] * 9)
        assert sorted(ref.address.slot for ref in many) == [1, 1, 1, 2, 2, 2, 3, 3, 3]


async def test_view_shows_hosts_and_actors() -> None:
    class Parent(Actor):
        async def started(self, ctx: Any) -> None:
            await ctx.spawn(Ponger, name="child")

    async with start(engine="inline", hosts=2, name="seen") as system:
        await system.spawn(Parent, name="parent", host=1)
        view = await system.view()
        assert view.name == "seen"
        assert [host.name for host in view.hosts] == ["driver", "host-1", "host-2"]
        (parent,) = view.hosts[1].members
        assert (parent.name, parent.lifecycle, parent.children) == ("parent", "running", 1)
        assert [child.name for child in parent.members] == ["child"]


async def test_end_of_the_system_fails_what_is_still_asked() -> None:
    async with start(engine="inline", hosts=1, stop_timeout_s=0.2) as system:
        ref = await system.spawn(Ponger)
        ask = asyncio.ensure_future(ref.ask(Wait()))
        assert (await (await system.spawn(Ponger)).ask(Ping(n=1))).n == 1
    with pytest.raises(HostLost):
        await ask


async def test_inline_host_that_is_killed_comes_back() -> None:
    async with start(engine="inline", hosts=2) as system:
        refs = await system.spawn_many([Ponger] * 100, host=1)
        waiting = asyncio.ensure_future(refs[0].ask(Wait()))
        assert (await refs[1].ask(Ping(n=1))).n == 1
        await root_of(system).table.slots[1].process.kill()
        with pytest.raises(HostLost) as caught:
            await waiting
        assert caught.value.may_have_run is True
        replies = await asyncio.gather(*(ref.ask(Ping(n=n)) for n, ref in enumerate(refs)))
        assert [reply.n for reply in replies] == list(range(100))
        assert (await system.view(actors_max=0)).restarts == 1
