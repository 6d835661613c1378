"""The guarantees of every engine for messages: types, order, no loss, and clear errors."""

import asyncio
from typing import Any

import pytest

from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStopped,
    HandlerFailed,
    InvalidMessage,
    NoAgentOffers,
    UsageError,
    WrongReply,
)
from callboard.messages.core.ref import Address, Ref
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.system import System

from . import fixture_actors as actors

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTES = 100_000
HOSTS = [pytest.param(1, id="host-1"), pytest.param(2, id="host-2")]


@pytest.mark.parametrize("host", HOSTS)
async def test_ask_gives_the_typed_reply(system: System, host: int) -> None:
    ref = await system.spawn(actors.Counter, host=host)
    reply = await ref.ask(actors.Ping(n=4))
    assert type(reply) is actors.Number
    assert reply.n == 4


async def test_the_message_comes_first_everywhere(system: System) -> None:
    ref: Any = await system.spawn(actors.Counter, host=1)
    note: Any = actors.Note(n=0)
    ping: Any = actors.Ping(n=1)
    host = host_of(system)
    ctx: Any = host.context(host.cells[0])
    for api in (system, ctx):
        with pytest.raises(UsageError, match="where the message belongs"):
            api.tell(ref, note)
        with pytest.raises(UsageError, match="where the message belongs"):
            await api.send(ref, note)
        with pytest.raises(UsageError, match="where the message belongs"):
            await api.ask(ref, ping)
        api.tell(note, ref)
        await api.send(actors.Note(n=1), ref)
        assert (await api.ask(ping, ref)).n == 1
    await system.stop(ref)


async def test_asks_from_one_host_to_another(system: System) -> None:
    relayer = await system.spawn(actors.Relayer, host=1)
    counter = await system.spawn(actors.Counter, host=2)
    total = await relayer.ask(actors.RelayMany(to=counter, count=1_000))
    assert total.n == sum(range(1_000))


async def test_actor_runs_on_the_host_asked_for(system: System) -> None:
    refs = [await system.spawn(actors.Counter, host=host) for host in (1, 2)]
    names = [(await ref.ask(actors.WhereAreYou())).text for ref in refs]
    assert names == ["host-1", "host-2"]


async def test_tells_from_the_driver_come_once_each_and_in_order(system: System) -> None:
    ref = await system.spawn(actors.Counter, host=1)
    for n in range(NOTES):
        await ref.send(actors.Note(n=n))
    received = await ref.ask(actors.AskReceived())
    assert received == actors.Received(count=NOTES, in_order=True, newest=NOTES - 1)


async def test_notes_from_host_to_host_come_once_each_and_in_order(system: System) -> None:
    source = await system.spawn(actors.Source, host=1)
    sink = await system.spawn(actors.Counter, host=2)
    await source.ask(actors.Shower(to=sink, count=NOTES))
    received = await sink.ask(actors.AskReceived())
    async with asyncio.timeout(20.0):  # This asker is another sender: it may overtake the notes.
        while received.count < NOTES and received.in_order:
            received = await sink.ask(actors.AskReceived())
    assert received == actors.Received(count=NOTES, in_order=True, newest=NOTES - 1)


async def test_tell_and_ask_keep_their_order(system: System) -> None:
    """An ask after tells sees all of them, though they travel in different frames."""
    ref = await system.spawn(actors.Counter, host=2)
    for turn in range(200):
        ref.tell(actors.Note(n=turn))
        assert (await ref.ask(actors.AskReceived())).newest == turn


async def test_sends_at_once_keep_their_order_when_the_mailbox_is_full(system: System) -> None:
    ref = await system.spawn(actors.Counter, host=2)
    await asyncio.gather(*(ref.send(actors.Note(n=n)) for n in range(20_000)))
    assert await ref.ask(actors.AskReceived()) == actors.Received(
        count=20_000, in_order=True, newest=19_999
    )


# --- nobody there ---------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
async def test_ask_to_nobody_fails_at_once(system: System, host: int) -> None:
    ref: Ref[Any] = host_of(system).ref(Address(host, 999_999))
    with pytest.raises(ActorNotFound) as caught:
        await ref.ask(actors.Ping(n=1))
    assert caught.value.may_have_run is False


@pytest.mark.parametrize("host", HOSTS)
async def test_ask_to_a_stopped_actor_fails_at_once(system: System, host: int) -> None:
    ref = await system.spawn(actors.Counter, host=host)
    await system.stop(ref)
    with pytest.raises((ActorNotFound, ActorStopped)) as caught:
        await ref.ask(actors.Ping(n=1))
    assert caught.value.may_have_run is False


async def test_ask_without_a_handler_names_what_is_handled(system: System) -> None:
    ref = await system.spawn(actors.Counter, host=2)
    await system.spawn(actors.Fragile, host=2)  # So that the host knows the contract.
    with pytest.raises(ActorNotFound, match=r"actors\.misbehave.*actors\.ping") as caught:
        await ref.ask(actors.Misbehave(how=""))
    assert caught.value.may_have_run is False
    assert (await ref.ask(actors.Ping(n=1))).n == 1


async def test_ask_that_nobody_offers(system: System) -> None:
    with pytest.raises(NoAgentOffers, match=r"actors\.unhandled"):
        await system.ask(actors.Unhandled())


async def test_message_that_cannot_be_encoded_is_the_senders_error(system: System) -> None:
    ref = await system.spawn(actors.Counter, host=2)
    fields: dict[str, Any] = {"n": object()}
    broken = actors.Note.model_construct(**fields)
    with pytest.raises(InvalidMessage):
        ref.tell(broken)
    assert (await ref.ask(actors.AskReceived())).count == 0


# --- handlers that misbehave ----------------------------------------------------------


@pytest.mark.parametrize("actor", [actors.Fragile, actors.FragileThread])
@pytest.mark.parametrize(
    ("how", "remote_type", "text"),
    [
        ("plain", "builtins.ValueError", "plain"),
        ("unpicklable", "Unpicklable", "unpicklable"),
        ("broken_text", "BrokenText", "cannot be rendered"),
        ("system_exit", "builtins.SystemExit", "3"),
        ("long", "builtins.ValueError", "xxx"),
        ("surrogates", "builtins.ValueError", "a file named"),
    ],
)
async def test_what_a_handler_raises_comes_back_as_text(
    system: System, actor: Any, how: str, remote_type: str, text: str
) -> None:
    ref = await system.spawn(actor, host=2)
    with pytest.raises(HandlerFailed) as caught:
        await ref.ask(actors.Misbehave(how=how))
    assert caught.value.remote_type.endswith(remote_type)
    assert text in str(caught.value)
    assert "misbehave" in caught.value.remote_traceback
    assert caught.value.may_have_run is True
    assert len(str(caught.value)) < 10_000
    await ref.ask(actors.Misbehave(how=""))  # It goes on, restarted or not.


@pytest.mark.parametrize("actor", [actors.Fragile, actors.FragileThread])
async def test_handler_that_raises_stop_iteration_is_answered(system: System, actor: Any) -> None:
    """A thread's future cannot hold one, and the asker must not wait for ever."""
    ref = await system.spawn(actor, host=2)
    with pytest.raises(HandlerFailed, match="StopIteration"):
        await ref.ask(actors.Misbehave(how="stop_iteration"), timeout_s=10.0)


@pytest.mark.parametrize("how", ["wrong_type", "wrong_contract", "none"])
async def test_wrong_reply_is_the_handlers_fault(system: System, how: str) -> None:
    ref = await system.spawn(actors.Fragile, host=2)
    ref.tell(actors.Note(n=1))
    with pytest.raises(WrongReply, match=r"actors\.number"):
        await ref.ask(actors.Misbehave(how=how))
    assert (await ref.ask(actors.AskReceived())).count == 1, "it goes on with its state"


async def test_error_raised_on_purpose_arrives_as_it_was_and_the_actor_goes_on(
    system: System,
) -> None:
    ref = await system.spawn(actors.Fragile, host=2)
    ref.tell(actors.Note(n=1))
    with pytest.raises(UsageError, match="said on purpose") as caught:
        await ref.ask(actors.Misbehave(how="deliberate"))
    assert caught.value.advice == "Follow the advice."
    assert caught.value.details == {"field": "n"}
    assert (await ref.ask(actors.AskReceived())).count == 1


async def test_error_with_details_that_cannot_travel_arrives_with_their_text(
    system: System,
) -> None:
    ref = await system.spawn(actors.Fragile, host=2)
    with pytest.raises(UsageError, match="odd") as caught:
        await ref.ask(actors.Misbehave(how="odd_details"))
    assert str(caught.value.details["thing"]).startswith("<object object")


async def test_crash_resets_the_state_and_keeps_the_mailbox(system: System) -> None:
    """What waits behind the message that crashes is handled by the next incarnation."""
    ref = await system.spawn(actors.Fragile, host=2)
    for n in (1, 1, 1, -1, 1, 1):
        ref.tell(actors.Note(n=n))
    assert (await ref.ask(actors.AskReceived())).count == 2
