"""Stash: messages that are put aside, and back before the waiting ones, in their order."""

import asyncio
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import Actor, OnRestart, handler
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.host.host import Host
from callboard.actors.pools.cell import PoolRecipe
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import (
    ActorRestarted,
    ActorStartFailed,
    ActorStopped,
    DeadlineExceeded,
    StashFull,
)
from callboard.messages.core.ref import Address

from .crashing import dead_letters_of


class Answer(Contract, name="tests.stash.answer"):
    texts: tuple[str, ...]


class Item(Contract, name="tests.stash.item"):
    text: str


class AskItem(Request[Answer], name="tests.stash.ask_item"):
    text: str


class Open(Contract, name="tests.stash.open"):
    """Handle everything from now on."""


class Crash(Contract, name="tests.stash.crash"):
    pass


class Seen(Request[Answer], name="tests.stash.seen"):
    pass


class Gate(Actor):
    stash_messages: ClassVar[int] = 3

    def __init__(self) -> None:
        self._open = False
        self._seen: list[str] = []

    def _take(self, text: str, ctx: Context) -> None:
        if not self._open:
            ctx.stash()
        self._seen.append(text)

    @handler
    async def item(self, item: Item, ctx: Context) -> None:
        self._take(item.text, ctx)

    @handler
    async def ask_item(self, request: AskItem, ctx: Context) -> Answer:
        self._take(request.text, ctx)
        return Answer(texts=(request.text,))

    @handler
    async def open(self, message: Open, ctx: Context) -> None:
        self._open = True
        ctx.unstash_all()

    @handler
    async def crash(self, message: Crash) -> None:
        raise ValueError("crash")

    @handler
    async def seen(self, request: Seen) -> Answer:
        return Answer(texts=tuple(self._seen))


class DroppingGate(Gate):
    mailbox_on_restart: ClassVar[OnRestart] = OnRestart.DROP


class HookStash(Actor):
    async def started(self, ctx: Context) -> None:
        ctx.stash()


async def test_stash_over_its_limit_is_an_error_of_the_message(host: Host, spawn: Any) -> None:
    dead_letters = dead_letters_of(host)
    ref = await spawn(Gate)
    for text in "abcd":
        ref.tell(Item(text=text))
    with pytest.raises(StashFull, match="holds 3 messages"):
        await ref.ask(AskItem(text="e"))
    assert [(letter.reason, letter.error and letter.error["code"]) for letter in dead_letters] == [
        ("handler_failed", "stash_full")
    ]
    ref.tell(Open())
    assert (await ref.ask(Seen())).texts == ("a", "b", "c")


async def test_stash_outside_a_handler_is_an_error_of_the_hook(spawn: Any) -> None:
    with pytest.raises(ActorStartFailed, match="outside a handler"):
        await spawn(HookStash)


async def test_deadline_of_a_stashed_ask_passes_and_makes_room(host: Host, spawn: Any) -> None:
    ref = await spawn(Gate)
    with pytest.raises(DeadlineExceeded):
        await ref.ask(AskItem(text="a"), timeout_s=0.02)
    for text in "bcd":
        ref.tell(Item(text=text))
    await ref.ask(Seen())
    assert not host.dead_letters.counts
    ref.tell(Open())
    assert (await ref.ask(Seen())).texts == ("b", "c", "d")


async def test_stashed_asks_of_an_actor_that_stops_fail(host: Host, spawn: Any) -> None:
    ref = await spawn(Gate)
    ask = asyncio.ensure_future(ref.ask(AskItem(text="a")))
    await ref.ask(Seen())
    await host.termination.stop_child(None, ref.address.cell)
    with pytest.raises(ActorStopped):
        await ask


async def test_unstashed_messages_come_before_those_that_wait_in_their_order(spawn: Any) -> None:
    ref = await spawn(Gate)
    ask = asyncio.ensure_future(ref.ask(AskItem(text="b")))
    ref.tell(Item(text="a"))
    await ref.ask(Seen())
    ref.tell(Open())
    ref.tell(Item(text="c"))
    assert (await ask).texts == ("b",)
    assert (await ref.ask(Seen())).texts == ("b", "a", "c")


async def test_stash_of_a_crashed_actor_is_in_front_of_its_mailbox(spawn: Any) -> None:
    ref = await spawn(Gate)
    ref.tell(Item(text="a"))
    ref.tell(Item(text="b"))
    await ref.ask(Seen())
    for message in (Crash(), Open(), Item(text="c")):
        ref.tell(message)
    assert (await ref.ask(Seen())).texts == ("a", "b", "c")


async def test_stash_is_dropped_with_the_mailbox(host: Host, spawn: Any) -> None:
    ref = await spawn(DroppingGate)
    ask = asyncio.ensure_future(ref.ask(AskItem(text="a")))
    await ref.ask(Seen())
    ref.tell(Crash())
    with pytest.raises(ActorRestarted):
        await ask
    ref.tell(Open())
    assert (await ref.ask(Seen())).texts == ()


async def test_agent_of_a_pool_has_a_stash_of_its_own(host: Host) -> None:
    pool_cell = await host.spawn(PoolRecipe(Gate, (), None, "gates", 1), None)
    ref = host.ref(Address(host.slot, pool_cell.id))
    ask = asyncio.ensure_future(ref.ask(AskItem(text="a")))
    await ref.ask(Seen())
    ref.tell(Open())
    assert (await ask).texts == ("a",)


async def test_actors_that_stash_nothing_have_no_stash(host: Host, spawn: Any) -> None:
    ref = await spawn(Gate)
    ref.tell(Open())
    await ref.ask(AskItem(text="a"))
    assert host.dispatcher.stashes.size(host.cells[ref.address.cell]) == 0
    assert Recipe(Gate).make() is not None
