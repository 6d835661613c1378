"""Fencing tokens across restarts of an actor, take-overs of its slot, and new key regions."""

import asyncio
from typing import Any, ClassVar

import msgpack
import pytest

from callboard.actors.kernel.actor import Actor, Agent, handler
from callboard.actors.kernel.context import Context
from callboard.actors.keyed.actor import KeyedActor, StoreActor
from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.spec import Restart
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import AskError
from callboard.messages.core.fences import TERM_SHIFT
from callboard.messages.core.ref import Ref
from callboard.messages.jobs.job import Job
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.keyed import KeyedActors
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System
from callboard.runtime.control_plane.records import TERMS_AHEAD, Remembered
from callboard.runtime.control_plane.slots import TERMS_BEGAN_S, SlotTable
from callboard.testing import Simulation, simulated


class Token(Contract, name="fences.token"):
    number: int
    at_start: int = 0


class Tell(Request[Token], name="fences.tell"):
    fails: bool = False


class TellKey(Request[Token], name="fences.tell_key"):
    user: str


class Subject(Actor):
    contexts: ClassVar[list[Context]] = []

    async def started(self, ctx: Context) -> None:
        self.at_start = ctx.fence

    @handler
    async def token(self, request: Tell, ctx: Context) -> Token:
        Subject.contexts.append(ctx)
        if request.fails:
            raise RuntimeError("it fails, and is restarted")
        return Token(number=ctx.fence, at_start=self.at_start)


class Member(Agent):
    @handler
    def token(self, request: Tell, ctx: Context) -> Token:
        return Token(number=ctx.fence)  # In a thread.


class Account(KeyedActor):
    key = "user"

    @handler
    async def token(self, request: TellKey, ctx: Context) -> Token:
        return Token(number=ctx.fence)


async def answer(ref: Ref[Any], request: Request[Token]) -> int:
    """The token of the actor that answers; asks again when its host is lost."""
    async with asyncio.timeout(30.0):
        while True:
            try:
                return (await ref.ask(request, timeout_s=5.0)).number
            except AskError:
                continue


async def take_over(system: System, slot: int) -> None:
    """Let the slot's next process start its actors."""
    found = root_of(system).table.slots[slot]
    before = found.epoch
    await found.process.kill()
    async with asyncio.timeout(30.0):
        while not (found.is_up and found.epoch > before):  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.01)


async def test_a_token_grows_over_restarts_and_take_overs() -> None:
    async with start(engine="inline", hosts=1) as system:
        subject = await system.spawn(Subject)
        first = await subject.ask(Tell())
        assert first.number == first.at_start
        assert 0 < first.number < 1 << 63
        assert (await subject.ask(Tell())).number == first.number, "one incarnation has one token"
        tokens = [first.number]
        for _ in range(3):
            with pytest.raises(AskError):
                await subject.ask(Tell(fails=True))
            tokens.append(await answer(subject, Tell()))
        await take_over(system, 1)
        tokens.append(await answer(subject, Tell()))
        assert tokens == sorted(set(tokens))
        # The successor is above all that the replaced process could still draw.
        assert tokens[-1] >> TERM_SHIFT > tokens[-2] >> TERM_SHIFT


async def test_a_handler_of_an_old_incarnation_keeps_its_own_token() -> None:
    Subject.contexts.clear()
    async with start(engine="inline", hosts=1) as system:
        subject = await system.spawn(Subject)
        old = (await subject.ask(Tell())).number
        with pytest.raises(AskError):
            await subject.ask(Tell(fails=True))
        assert await answer(subject, Tell()) > old
        assert [ctx.fence for ctx in Subject.contexts[:2]] == [old, old]


async def test_agents_have_tokens_when_they_execute_sub_tasks() -> None:
    async with start(engine="inline", hosts=2) as system:
        await system.pool(Member, size=4)
        asked = [(await system.ask(Tell())).number for _ in range(4)]
        done = await system.submit(Job[Tell, list[Token]](), Tell()).result(timeout_s=30.0)
        assert all(number > 0 for number in (*asked, done[0].number))


async def test_a_key_has_higher_tokens_wherever_it_is_activated_next() -> None:
    users = [f"u{number}" for number in range(8)]
    tokens: dict[str, list[int]] = {user: [] for user in users}

    async def note(accounts: KeyedActors[Account]) -> None:
        for user in users:
            asked = await accounts.ask(TellKey(user=user))
            tokens[user].append(asked.number)

    hosts = (HostSpec("store"), HostSpec("other"), HostSpec("once", restart=Restart.TEMPORARY))
    async with start(engine="inline", hosts=hosts) as system:
        store = await system.spawn(StoreActor, host="store")
        accounts = await system.keyed(Account, store=store)
        await note(accounts)
        await take_over(system, 2)
        await take_over(system, 2)
        await note(accounts)
        # With one host less, keys move; also to the slot that was never taken over.
        await root_of(system).table.slots[3].process.kill()
        await accounts.stop()
        accounts = await system.keyed(Account, store=store)
        await note(accounts)
    async with start(engine="inline", hosts=1) as system:  # The next system, by the clock.
        await note(await system.keyed(Account))
    moved = 0
    for first, second, third, fourth in tokens.values():
        moved += second > first
        assert first <= second < third < fourth
    assert 0 < moved < len(users), "the keys of one host were activated again"


@simulated(hosts=2, standbys=1, seeds=3)
async def test_tokens_grow_when_hosts_crash(sim: Simulation) -> None:
    system = sim.system
    subject = await system.spawn(Subject, host=2)
    tokens = [await answer(subject, Tell())]
    for _ in range(3):
        sim.crash(2)
        await sim.all_up()
        tokens.append(await answer(subject, Tell()))
    assert tokens == sorted(set(tokens))


def test_terms_follow_the_clock_and_never_go_back() -> None:
    table = SlotTable()
    second_s = TERMS_BEGAN_S + 1_000.0
    first = table.take_term(second_s)
    assert first == 1_000_000 << TERM_SHIFT
    assert table.take_term(second_s) == 1_000_001 << TERM_SHIFT, "the same moment"
    assert table.take_term(0.0) == 1_000_002 << TERM_SHIFT, "a clock that was set back"
    assert table.take_term(1e12) < 1 << 63, "a clock that is far ahead"


def test_the_next_root_begins_above_all_terms_of_the_last_one() -> None:
    cells = msgpack.packb((1 << 20, 3, 500 + TERMS_AHEAD))
    assert Remembered.from_entries({"cells": cells}).newest_term == 500 + TERMS_AHEAD
    of_an_earlier_release = Remembered.from_entries({"cells": msgpack.packb((1 << 20, 3))})
    assert of_an_earlier_release.newest_term == 0
    assert of_an_earlier_release.next_cell == 1 << 20
