"""The guarantees of every engine when user code raises anything, or leaves something behind."""

from typing import Any

import pytest

from callboard.actors.kernel.props import props
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.core.errors import (
    ActorStartFailed,
    HandlerFailed,
    InvalidMessage,
    UsageError,
)
from callboard.runtime.api.system import System

from . import isolation_actors as actors

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAILURES = [
    ("exit", "builtins.SystemExit"),
    ("interrupt", "builtins.KeyboardInterrupt"),
    ("own", "isolation_actors.Own"),
    ("generator_exit", "builtins.GeneratorExit"),
    ("cancelled", "CancelledError"),
    ("exit_as_text", "isolation_actors.ExitsAsText"),
    ("broken_refusal", "isolation_actors.BrokenRefusal"),
    ("group", "builtins.ValueError"),
    ("deep_group", "builtins.ValueError"),
]
FAILURES_OF_TASKS = [
    ("cancels_itself", "CancelledError"),
    ("cancelled_task", "CancelledError"),
    ("exit_in_gather", "builtins.SystemExit"),
    ("generator_exit_in_task", "builtins.GeneratorExit"),
    ("exit_in_group", "builtins.SystemExit"),
    ("exit_in_thread", "builtins.SystemExit"),
    ("interrupt_in_task", "builtins.KeyboardInterrupt"),
]


@pytest.mark.parametrize(("how", "remote_type"), [*FAILURES, *FAILURES_OF_TASKS])
async def test_whatever_a_handler_raises_fails_one_actor(
    system: System, how: str, remote_type: str
) -> None:
    faulty = await system.spawn(actors.Faulty, host=2)
    bystander = await system.spawn(actors.Faulty, host=2)
    assert (await bystander.ask(actors.Query())).count == 1
    with pytest.raises(HandlerFailed) as caught:
        await faulty.ask(actors.Try(how=how))
    assert caught.value.remote_type.endswith(remote_type)
    assert caught.value.may_have_run
    assert (await faulty.ask(actors.Query())).count == 1, "it has been started again"
    assert (await bystander.ask(actors.Query())).count == 2


@pytest.mark.parametrize(("how", "remote_type"), FAILURES)
async def test_whatever_a_synchronous_handler_raises_fails_one_actor(
    system: System, how: str, remote_type: str
) -> None:
    faulty = await system.spawn(actors.Faulty, host=2)
    with pytest.raises(HandlerFailed) as caught:
        await faulty.ask(actors.TryInThread(how=how))
    assert caught.value.remote_type.endswith(remote_type)
    assert (await faulty.ask(actors.Query())).count == 1


@pytest.mark.parametrize(
    "how", ["soon", "later", "thread", "done", "forgotten_task", "forgotten_interrupt"]
)
async def test_an_exit_in_a_callback_ends_no_loop(system: System, how: str) -> None:
    faulty = await system.spawn(actors.Faulty, host=2)
    assert (await faulty.ask(actors.Try(how=how))).text == "went on"
    assert (await faulty.ask(actors.Query())).count == 2, "the actor itself has not failed"


@pytest.mark.parametrize(("how", "remote_type"), [*FAILURES, *FAILURES_OF_TASKS])
async def test_whatever_a_start_hook_raises_fails_the_start(
    system: System, how: str, remote_type: str
) -> None:
    with pytest.raises(ActorStartFailed, match=remote_type):
        await system.spawn(props(actors.FaultyHooks, how, ""), host=2)


@pytest.mark.parametrize("how", [how for how, _ in (*FAILURES, *FAILURES_OF_TASKS)])
async def test_whatever_a_stop_hook_raises_ends_the_stop(system: System, how: str) -> None:
    ref = await system.spawn(props(actors.FaultyHooks, "", how), host=2)
    await system.stop(ref)
    other = await system.spawn(props(actors.FaultyHooks, "", ""), host=2)
    assert (await other.ask(actors.Query())).text == "runs"


async def test_a_reply_that_exits_on_its_way_is_an_error_for_its_asker(system: System) -> None:
    faulty = await system.spawn(actors.Faulty, host=2)
    with pytest.raises(InvalidMessage, match="SystemExit"):
        await faulty.ask(actors.QueryWithContext())
    assert (await faulty.ask(actors.Query())).count == 2


@pytest.mark.parametrize("how", ["cancelled", "cancels_itself", "own", "deep_group"])
async def test_a_tell_whose_handler_raises_is_a_dead_letter(system: System, how: str) -> None:
    letters: list[DeadLetter] = []
    await system.on_dead_letter(letters.append)
    faulty = await system.spawn(actors.Faulty, host=2)
    before = (await system.dead_letters()).get("handler_failed", 0)
    faulty.tell(actors.Note(how=how))
    assert (await faulty.ask(actors.Query())).count == 1, "it has been started again"
    assert (await system.dead_letters())["handler_failed"] == before + 1


async def test_a_refused_ask_in_a_task_group_is_forwarded(system: System) -> None:
    refuser = await system.spawn(actors.Refuser, host=1)
    nester = await system.spawn(props(actors.Nester, refuser), host=2)
    with pytest.raises(UsageError, match="not today") as caught:
        await nester.ask(actors.QueryInThread())
    assert caught.value.details["field"] == "nested"
    assert (await nester.ask(actors.Query())).count == 2, "it has not been started again"


CLEAN = "none 28 False"
LEFT = {
    "variable": "left 28 False own 0",
    "decimal": "none 3 False own 0",
    "decimal_object": "none 28 True own 0",
    "cancel": f"{CLEAN} own 1",
    "cancel_soon": f"{CLEAN} own 0",
    "cancel_later": f"{CLEAN} own 0",
    "cancel_uncancel": f"{CLEAN} own 0",
    "uncancel": f"{CLEAN} own 0",
    "name": f"{CLEAN} left 0",
    "timeout": f"{CLEAN} own 0",
    "kept": f"{CLEAN} own 0",
    "callback": f"{CLEAN} own 0",
}


@pytest.mark.parametrize("how", LEFT)
async def test_nothing_that_a_handler_leaves_reaches_another_message(
    system: System, how: str
) -> None:
    leaver = await system.spawn(actors.Leaver, host=2)
    others = [await system.spawn(actors.Leaver, host=2) for _ in range(3)]
    asked = [leaver.ask(actors.Try(how=how))]
    asked += [ref.ask(actors.Query()) for ref in (leaver, *others)]
    left, *seen = [(await ask).text for ask in asked]
    assert left == LEFT[how]
    assert seen == [f"{CLEAN} own 0"] * 4
    assert (await leaver.ask(actors.QueryInThread())).text == CLEAN


async def test_what_is_set_after_an_await_stays_until_the_handler_ends(system: System) -> None:
    leaver = await system.spawn(actors.Leaver, host=2)
    asked: list[Any] = [leaver.ask(actors.QueryWithContext()), leaver.ask(actors.Query())]
    assert [(await ask).text for ask in asked] == [LEFT["variable"], f"{CLEAN} own 0"]


@pytest.mark.parametrize("how", ["variable", "decimal", "decimal_object"])
async def test_nothing_stays_in_a_thread(system: System, how: str) -> None:
    leaver = await system.spawn(actors.Leaver, host=2)
    assert (await leaver.ask(actors.TryInThread(how=how))).text == LEFT[how][: -len(" own 0")]
    for _ in range(8):
        assert (await leaver.ask(actors.QueryInThread())).text == CLEAN


async def test_hooks_and_constructors_have_contexts_of_their_own(system: System) -> None:
    spawner = await system.spawn(actors.Spawner, host=2)
    assert (await spawner.ask(actors.Try(how=""))).text == "none none none, spawner"
