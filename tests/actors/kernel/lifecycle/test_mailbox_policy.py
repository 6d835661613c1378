"""The mailbox policy: at a restart, waiting messages are kept, dropped, or dead letters."""

import asyncio
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import Actor, OnRestart, behaviour_of
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.props import props
from callboard.messages.control.spec import Restart, Strategy, SupervisorSpec
from callboard.messages.core.errors import ActorRestarted, ActorStopped, SpecError

from ..crashing import Crashing, Diary, Do, Get, Text, crash_with_waiting, dead_letters_of


class Dropping(Crashing):
    mailbox_on_restart: ClassVar[OnRestart] = OnRestart.DROP


class Burying(Crashing):
    mailbox_on_restart: ClassVar[OnRestart] = OnRestart.DEAD_LETTERS


@pytest.mark.parametrize("value", ["keep", None, 1])
def test_wrong_policy_is_refused_when_the_class_is_read(value: Any) -> None:
    wrong = type("Wrong", (Actor,), {"mailbox_on_restart": value})
    with pytest.raises(SpecError, match=r"Wrong\.mailbox_on_restart"):
        behaviour_of(wrong)


async def test_dropped_asks_fail_and_never_ran_and_tells_are_counted(
    host: Host, spawn: Any
) -> None:
    diary, dead_letters = Diary(), dead_letters_of(host)
    ref = await spawn(Dropping, diary)
    (ask,) = await crash_with_waiting(ref, diary, Do(what="a"), Get(what="b"), Do(what="c"))
    with pytest.raises(ActorRestarted) as caught:
        await ask
    assert caught.value.may_have_run is False
    assert await ref.ask(Get(what="after")) == Text(text="after")
    assert (diary.events, diary.incarnations) == (["after"], 2)
    assert host.dead_letters.counts["dropped_at_restart"] == 2
    assert [letter.reason for letter in dead_letters] == ["handler_failed"]


async def test_tells_become_dead_letters_and_asks_fail(host: Host, spawn: Any) -> None:
    diary, dead_letters = Diary(), dead_letters_of(host)
    ref = await spawn(Burying, diary)
    (ask,) = await crash_with_waiting(ref, diary, Do(what="a"), Get(what="b"))
    with pytest.raises(ActorRestarted):
        await ask
    await ref.ask(Get(what="after"))
    assert diary.events == ["after"]
    assert [letter.reason for letter in dead_letters] == ["handler_failed", "restarted"]


async def test_kept_messages_are_handled_in_order_by_the_next_incarnation(spawn: Any) -> None:
    diary = Diary()
    ref = await spawn(Crashing, diary)
    (ask,) = await crash_with_waiting(ref, diary, Do(what="a"), Get(what="b"), Do(what="c"))
    assert await ask == Text(text="b")
    await ref.ask(Get(what="d"))
    assert (diary.events, diary.incarnations) == (["a", "b", "c", "d"], 2)


async def test_kept_messages_of_an_actor_that_is_not_restarted_are_refused(
    host: Host, spawn: Any
) -> None:
    diary = Diary()
    ref = await spawn(Crashing, diary, restart=Restart.TEMPORARY)
    (ask,) = await crash_with_waiting(ref, diary, Get(what="b"))
    with pytest.raises(ActorStopped) as caught:
        await ask
    assert caught.value.may_have_run is False


class Group(Actor):
    supervision: ClassVar[SupervisorSpec] = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL)

    def __init__(self, diary: Diary, other: Diary, refs: list[Any]) -> None:
        self._parts = (diary, other, refs)

    async def started(self, ctx: Context) -> None:
        diary, other, refs = self._parts
        refs.append(await ctx.spawn(props(Crashing, diary)))
        refs.append(await ctx.spawn(props(Slow, other)))


class Slow(Crashing):
    """Its stop takes until the gate opens."""

    async def stopping(self, ctx: Context, reason: Any) -> None:
        self._diary.held.set()
        await self._diary.gate.wait()


async def test_sibling_restarted_with_its_group_keeps_messages_that_come_while_it_stops(
    host: Host,
) -> None:
    diary, other = Diary(), Diary()
    refs: list[Any] = []
    await host.spawn(Recipe(Group, (diary, other, refs)), None)
    first, sibling = refs
    await crash_with_waiting(first, diary)
    await other.held.wait()
    ask = asyncio.ensure_future(sibling.ask(Get(what="meanwhile")))
    sibling.tell(Do(what="too"))
    other.gate.set()
    assert await ask == Text(text="meanwhile")
    assert other.incarnations == 2
