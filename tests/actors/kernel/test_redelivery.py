"""Redelivery: a message may crash `attempts_max` incarnations, and then it is poison."""

import asyncio
import gc
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import Actor, behaviour_of
from callboard.actors.kernel.host.host import Host
from callboard.messages.control.spec import Restart
from callboard.messages.core.errors import DeadlineExceeded, HandlerFailed, SpecError

from .crashing import AskBoom, Boom, Crashing, Diary, Do, Get, Text, Thrice, dead_letters_of


@pytest.mark.parametrize("value", [0, -1, True, 1.5])
def test_wrong_number_of_attempts_is_refused(value: Any) -> None:
    with pytest.raises(SpecError, match=r"Wrong\.attempts_max"):
        behaviour_of(type("Wrong", (Actor,), {"attempts_max": value}))


async def test_poison_tell_is_a_dead_letter_with_all_attempts(host: Host, spawn: Any) -> None:
    diary, dead_letters = Diary(), dead_letters_of(host)
    ref = await spawn(Thrice, diary)
    ref.tell(Boom())
    assert await ref.ask(Get(what="after")) == Text(text="after")
    assert diary.events == ["boom"] * 3 + ["after"]
    (letter,) = dead_letters
    assert letter.reason == "poison"
    assert [(a.incarnation, a.error_type, a.text) for a in letter.attempts] == [
        (n, "builtins.ValueError", f"boom {n}") for n in (1, 2, 3)
    ]
    assert all(a.host == host.name and "in crash" in a.traceback for a in letter.attempts)


async def test_poison_ask_fails_with_the_last_error_and_all_attempts(
    host: Host, spawn: Any
) -> None:
    dead_letters = dead_letters_of(host)
    ref = await spawn(Thrice, Diary())
    with pytest.raises(HandlerFailed, match=r"boom 3.*crashed its actor 3 times") as caught:
        await ref.ask(AskBoom())
    assert [attempt["text"] for attempt in caught.value.details["attempts"]] == [
        "boom 1",
        "boom 2",
        "boom 3",
    ]
    assert caught.value.remote_type == "builtins.ValueError"
    assert [letter.reason for letter in dead_letters] == ["poison"]


async def test_message_that_survives_a_later_attempt_is_answered(host: Host, spawn: Any) -> None:
    ref = await spawn(Thrice, Diary())
    assert await ref.ask(AskBoom(times=2)) == Text(text="survived")
    assert not host.dead_letters.counts


async def test_retried_message_stays_before_the_waiting_ones(spawn: Any) -> None:
    diary = Diary()
    ref = await spawn(Thrice, diary)
    for message in (Do(what="a"), Boom(times=2), Do(what="b"), Boom(what="bang"), Do(what="c")):
        ref.tell(message)
    await ref.ask(Get(what="d"))
    assert diary.events == ["a", "boom", "boom", "boom", "b", "bang", "bang", "bang", "c", "d"]


async def test_same_object_sent_twice_is_two_messages(host: Host, spawn: Any) -> None:
    diary, dead_letters = Diary(), dead_letters_of(host)
    ref = await spawn(Thrice, diary)
    message = Boom(times=4)
    ref.tell(message)
    ref.tell(message)
    await ref.ask(Get(what="after"))
    assert diary.events == ["boom"] * 5 + ["after"]
    assert [letter.reason for letter in dead_letters] == ["poison"]


async def test_deadline_ends_an_ask_between_two_attempts(host: Host, spawn: Any) -> None:
    diary = Diary()
    ref = await spawn(Thrice, diary)
    # The second restart in a row waits for a second at least.
    asks = [ref.ask(AskBoom(), timeout_s=0.04)]
    with pytest.raises(DeadlineExceeded):
        await asks[0]
    assert 1 <= diary.events.count("boom") < 3


async def test_actor_that_is_not_restarted_answers_with_its_last_error(
    host: Host, spawn: Any
) -> None:
    dead_letters = dead_letters_of(host)
    first = await spawn(Thrice, Diary(), restart=Restart.TEMPORARY)
    with pytest.raises(HandlerFailed, match="boom 1") as caught:
        await first.ask(AskBoom())
    assert caught.value.may_have_run
    second = await spawn(Thrice, Diary(), restart=Restart.TEMPORARY)
    second.tell(Boom())
    while not dead_letters:  # noqa: ASYNC110 - a turn of the loop; there is no event to wait for
        await asyncio.sleep(0)
    assert [letter.reason for letter in dead_letters] == ["handler_failed"]


async def test_one_attempt_is_the_default_and_no_poison(host: Host, spawn: Any) -> None:
    dead_letters = dead_letters_of(host)
    ref = await spawn(Crashing, Diary())
    ref.tell(Boom())
    with pytest.raises(HandlerFailed) as caught:
        await ref.ask(AskBoom())
    assert "attempts" not in caught.value.details
    assert [letter.reason for letter in dead_letters] == ["handler_failed"]


async def test_nothing_remains_of_a_handled_message(host: Host, spawn: Any) -> None:
    diary = Diary()
    ref = await spawn(Thrice, diary)
    ref.tell(Boom(times=1))
    await ref.ask(Get(what="after"))
    await ref.ask(Get(what="again"))
    gc.collect()
    assert len(host.dispatcher.redelivery) == 0


class Many(Thrice):
    attempts_max: ClassVar[int] = 12


async def test_long_history_has_the_first_attempt_and_the_newest(host: Host, spawn: Any) -> None:
    ref = await spawn(Many, Diary())
    cell = host.cells[ref.address.cell]
    item: Any = Boom()
    attempts: Any = ()
    for number in range(1, 13):
        cell.incarnation = number
        failure = HandlerFailed("it raised.", remote_text="again")
        item, _, attempts = host.dispatcher.redelivery.judge(cell, item, failure)
    assert item is None
    assert [attempt.incarnation for attempt in attempts] == [1, *range(6, 13)]
