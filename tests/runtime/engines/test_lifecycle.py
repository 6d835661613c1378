"""Starting, restarting, children and ordered stop, the same on every engine."""

import asyncio
import threading
from typing import Any

import pytest

from callboard.actors.kernel.props import props
from callboard.messages.control.spec import Restart, StopTimeout
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStartFailed,
    ActorStopped,
    NameTaken,
    SpecError,
)
from callboard.messages.core.ref import Ref
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.system import System

from . import engine_fixtures as fixtures
from . import fixture_actors as actors

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def expect(recorder: Ref[Any], prefix: str, count: int = 1) -> tuple[str, ...]:
    heard = await recorder.ask(actors.Expect(prefix=prefix, count=count), timeout_s=20.0)
    return heard.events


# --- starts that fail -----------------------------------------------------------------

WAYS = [
    ("plain", "ValueError"),
    ("unpicklable", "Unpicklable"),
    ("broken_text", "BrokenText"),
    ("system_exit", "SystemExit"),
    ("cancelled", "CancelledError"),
    ("surrogates", "ValueError"),
    ("long", "ValueError"),
]


@pytest.mark.parametrize("actor", [fixtures.FailingConstructor, fixtures.FailingStart])
@pytest.mark.parametrize(("how", "named"), WAYS)
async def test_first_start_that_fails_raises_at_the_spawner(
    system: System, actor: Any, how: str, named: str
) -> None:
    with pytest.raises(ActorStartFailed, match=named) as caught:
        await system.spawn(props(actor, how), name="unborn", host=2)
    assert "misbehave" in str(caught.value.details["remote_traceback"])
    assert caught.value.may_have_run is False
    with pytest.raises(ActorNotFound):
        await system.lookup("unborn")
    # The name is free, the host lives.
    ref = await system.spawn(props(actor, ""), name="unborn", host=2)
    await system.stop(ref)


async def test_an_actor_that_cannot_be_sent_is_refused_and_leaves_nothing(system: System) -> None:
    lock: Any = threading.Lock()
    before = [set(slot.entries) for slot in root_of(system).table.slots.values()]
    with pytest.raises(SpecError, match="FailingConstructor"):
        await system.spawn(props(fixtures.FailingConstructor, lock), name="lock", host=1)
    after = [set(slot.entries) for slot in root_of(system).table.slots.values()]
    assert after == before, "or it would keep the host's successor from coming up"
    ref = await system.spawn(props(fixtures.FailingConstructor, ""), name="lock", host=1)
    await system.stop(ref)


async def test_one_of_many_that_fails_leaves_the_others(system: System) -> None:
    with pytest.raises(ActorStartFailed, match="ValueError"):
        await system.spawn_many(
            [
                props(fixtures.FailingConstructor, ""),
                props(fixtures.FailingConstructor, "plain"),
                props(fixtures.FailingConstructor, ""),
            ]
        )


# --- restart --------------------------------------------------------------------------


async def test_restart_keeps_the_reference_and_what_waits(
    system: System, recorder: Ref[Any]
) -> None:
    ref = await system.spawn(props(fixtures.Person, recorder, "phoenix"), host=2)
    ref.tell(actors.Note(n=1))
    ref.tell(fixtures.Crash())
    for _ in range(5):
        ref.tell(actors.Note(n=1))
    assert (await ref.ask(actors.AskReceived())).count == 5
    assert await expect(recorder, "phoenix") == ("phoenix started", "phoenix started")


async def test_crash_stops_the_children_in_reverse_and_the_next_incarnation_starts_new_ones(
    system: System, recorder: Ref[Any]
) -> None:
    ref = await system.spawn(props(fixtures.Person, recorder, "p", 3), host=2)
    before = await expect(recorder, "p", 4)
    assert before == ("p.0 started", "p.1 started", "p.2 started", "p started")
    old = (await ref.ask(fixtures.AskChildren())).refs
    ref.tell(fixtures.Crash())
    after = (await expect(recorder, "p", 4 + 3 + 4))[4:]
    assert after[:3] == tuple(f"p.{n} stopping shutdown" for n in (2, 1, 0))
    assert after[3:] == before
    new = (await ref.ask(fixtures.AskChildren())).refs
    assert len(new) == 3
    assert not set(new) & set(old)
    with pytest.raises((ActorNotFound, ActorStopped)):
        await old[0].ask(actors.Ping(n=1))


async def test_start_that_fails_again_and_again_escalates_to_the_parent(
    system: System, recorder: Ref[Any]
) -> None:
    """A child that fails to start is restarted as often as its parent's intensity allows."""
    ref = await system.spawn(props(fixtures.FussyParent, recorder, "fussy"), host=2)
    await ref.ask(fixtures.Spawn(label="child"))
    await expect(recorder, "fussy parent started", 2)
    assert len(await expect(recorder, "fussy child starting")) == 3, "one start, and two restarts"
    await system.stop(ref)


# --- ordered stop ---------------------------------------------------------------------


async def test_stop_takes_children_in_reverse_and_calls_each_hook_once(
    system: System, recorder: Ref[Any]
) -> None:
    ref = await system.spawn(props(fixtures.Person, recorder, "s", 3), host=2)
    await expect(recorder, "s", 4)
    await system.stop(ref)
    recorder.tell(actors.Event(text="s end"))
    assert (await expect(recorder, "s", 9))[4:] == (
        "s.2 stopping shutdown",
        "s.1 stopping shutdown",
        "s.0 stopping shutdown",
        "s stopping shutdown",
        "s end",
    )
    with pytest.raises(ActorNotFound):
        await ref.ask(actors.Ping(n=1))


async def test_child_stopped_by_its_parent(system: System, recorder: Ref[Any]) -> None:
    ref = await system.spawn(props(fixtures.Person, recorder, "q", 2), host=2)
    first, second = (await ref.ask(fixtures.AskChildren())).refs
    await ref.ask(fixtures.StopChild(child=first))
    assert (await expect(recorder, "q.0 stopping")) == ("q.0 stopping shutdown",)
    assert (await ref.ask(fixtures.AskChildren())).refs == (second,)
    with pytest.raises((ActorNotFound, ActorStopped)):
        await first.ask(actors.Ping(n=1))
    assert (await second.ask(actors.Ping(n=1))).n == 1
    with pytest.raises(ActorNotFound):
        await ref.ask(fixtures.StopChild(child=first))


async def test_stop_waits_for_the_running_handler_and_refuses_what_waits(
    system: System, recorder: Ref[Any]
) -> None:
    ref = await system.spawn(actors.Slow, host=2)
    running = asyncio.ensure_future(ref.ask(actors.Hang(recorder=recorder, label="run")))
    await expect(recorder, "run started")
    waiting = asyncio.ensure_future(ref.ask(actors.Ping(n=1)))
    stopping = asyncio.ensure_future(system.stop(ref))
    with pytest.raises(ActorStopped) as caught:
        await waiting
    assert caught.value.may_have_run is False
    recorder.tell(actors.Event(text="run go"))
    assert (await running).n == 1
    await stopping


async def test_handler_that_outlasts_the_stop_timeout_is_cancelled(
    system: System, recorder: Ref[Any]
) -> None:
    ref = await system.spawn(
        props(fixtures.Person, recorder, "slow"), host=2, stop_timeout=StopTimeout(0.2)
    )
    running = asyncio.ensure_future(ref.ask(actors.Hang(recorder=recorder, label="handler")))
    await expect(recorder, "handler started")
    await system.stop(ref)
    with pytest.raises(ActorStopped) as caught:
        await running
    assert caught.value.may_have_run is True
    await expect(recorder, "handler cancelled")


async def test_kill_takes_children_along_that_would_never_stop(
    system: System, recorder: Ref[Any]
) -> None:
    ref = await system.spawn(
        props(fixtures.Stubborn, recorder, "stub"), host=2, stop_timeout=StopTimeout(0.2)
    )
    (child,) = (await ref.ask(fixtures.AskChildren())).refs
    running = asyncio.ensure_future(child.ask(actors.Hang(recorder=recorder, label="stuck")))
    await expect(recorder, "stuck started")
    waiting = asyncio.ensure_future(child.ask(actors.Ping(n=1)))
    await system.stop(ref)
    for ask in (running, waiting):
        with pytest.raises(ActorStopped):
            await ask
    with pytest.raises(ActorNotFound):
        await child.ask(actors.Ping(n=1))


async def test_actor_that_stops_itself_is_gone_and_its_name_is_free(
    system: System, recorder: Ref[Any]
) -> None:
    ref = await system.spawn(props(fixtures.Person, recorder, "leaver", 1), name="leaver", host=2)
    ref.tell(fixtures.Leave())
    assert await expect(recorder, "leaver stopping") == ("leaver stopping normal",)
    with pytest.raises((ActorNotFound, ActorStopped)):
        await ref.ask(actors.Ping(n=1))
    while True:  # The root learns of it later.
        try:
            again = await system.spawn(
                props(fixtures.Person, recorder, "other"), name="leaver", host=1
            )
        except NameTaken:
            await system.view(actors_max=0)
            continue
        break
    await system.stop(again)


async def test_permanent_actor_that_stops_itself_comes_back(
    system: System, recorder: Ref[Any]
) -> None:
    ref = await system.spawn(
        props(fixtures.Person, recorder, "again"), host=2, restart=Restart.PERMANENT
    )
    ref.tell(fixtures.Leave())
    await expect(recorder, "again started", 2)
    assert (await ref.ask(actors.Ping(n=3))).n == 3


async def test_temporary_actor_that_crashes_is_gone(system: System, recorder: Ref[Any]) -> None:
    ref = await system.spawn(
        props(fixtures.Person, recorder, "mayfly"), host=2, restart=Restart.TEMPORARY
    )
    ref.tell(fixtures.Crash())
    with pytest.raises((ActorNotFound, ActorStopped)):
        await ref.ask(actors.Ping(n=1))


# --- names ----------------------------------------------------------------------------


async def test_names_are_unique_found_and_freed(system: System) -> None:
    first = await system.spawn(actors.Counter, name="only", host=2)
    with pytest.raises(NameTaken, match="only"):
        await system.spawn(actors.Counter, name="only", host=1)
    assert await system.lookup("only") == first
    await system.stop(first)
    with pytest.raises(ActorNotFound, match="only"):
        await system.lookup("only")
    second = await system.spawn(actors.Counter, name="only", host=1)
    found = await system.lookup("only")
    assert found == second
    assert (await found.ask(actors.Ping(n=5))).n == 5
    await system.stop(second)


async def test_siblings_have_different_names(system: System, recorder: Ref[Any]) -> None:
    ref = await system.spawn(props(fixtures.Person, recorder, "parent"), host=2)
    await ref.ask(fixtures.Spawn(label="twin"))
    with pytest.raises(NameTaken):
        await ref.ask(fixtures.Spawn(label="twin"))


async def test_stop_of_a_child_is_its_parents_business(system: System, recorder: Ref[Any]) -> None:
    ref = await system.spawn(props(fixtures.Person, recorder, "parent", 1), host=2)
    (child,) = (await ref.ask(fixtures.AskChildren())).refs
    with pytest.raises(ActorNotFound, match="parent"):
        await system.stop(child)
