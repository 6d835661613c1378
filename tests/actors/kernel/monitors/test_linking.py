"""Links: an abnormal end of one actor ends the other, on any host, or gives it a notice."""

import asyncio
import itertools

import pytest

from callboard.actors.kernel.props import props
from callboard.messages.control.lifecycle import ExitReason
from callboard.messages.core.errors import ActorStartFailed, CallboardError
from callboard.messages.core.ref import Address
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.system import System

from .fixture_actors import (
    Bound,
    Crash,
    DeafTrapper,
    Do,
    GetNotices,
    Leave,
    Listener,
    Participant,
    Trapper,
)
from .test_watching import HOSTS, back, host_at, process_of, received_by, settle, table


async def test_a_host_cannot_be_linked_to(system: System) -> None:
    participant = await system.spawn(Participant)
    with pytest.raises(CallboardError, match="an actor cannot link to a host"):
        await participant.ask(Do(what="link", ref=host_of(system).ref(Address(1, 0))))


async def test_a_trapper_without_a_handler_is_refused(system: System) -> None:
    deaf = await system.spawn(DeafTrapper)
    participant = await system.spawn(Participant)
    with pytest.raises(CallboardError, match=r"has no handler for a callboard\.exited"):
        await deaf.ask(Do(what="link", ref=participant))


@HOSTS
async def test_an_abnormal_end_is_the_end_of_the_other(system: System, host: int) -> None:
    first = await system.spawn(Participant, host=1)
    second = await system.spawn(Participant, host=host)
    await second.ask(Do(what="link", ref=first))
    await table(system, 2)
    exit_signal = system.watch(second)
    await settle(system)
    first.tell(Crash())
    down = await exit_signal
    assert down.kind is ExitReason.FAILED
    assert "on purpose" in down.detail["message"]
    await back(system, second)
    await table(system, 0)


@HOSTS
async def test_it_works_both_ways(system: System, host: int) -> None:
    first = await system.spawn(Participant, host=1)
    second = await system.spawn(Participant, host=host)
    await second.ask(Do(what="link", ref=first))
    await table(system, 2)
    exit_signal = system.watch(first)
    await settle(system)
    second.tell(Crash())
    assert (await exit_signal).kind is ExitReason.FAILED


@HOSTS
async def test_a_normal_end_has_no_effect_on_the_other(system: System, host: int) -> None:
    first = await system.spawn(Participant, host=1)
    second = await system.spawn(Listener, host=host)
    await second.ask(Do(what="link", ref=first))
    await table(system, 2)
    exit_signal = system.watch(second)
    await settle(system)
    first.tell(Leave())
    await settle(system)
    await table(system, 1)  # The driver's watch.
    assert not exit_signal.done()


@HOSTS
@pytest.mark.parametrize("message", [Crash(), Leave()], ids=["crash", "leave"])
async def test_a_trapper_gets_a_notice_and_continues(
    system: System, host: int, message: Crash | Leave
) -> None:
    first = await system.spawn(Participant, host=1)
    second = await system.spawn(Trapper, host=host)
    await second.ask(Do(what="link", ref=first))
    await table(system, 2)
    first.tell(message)
    [exited] = (await received_by(second, 1)).exits
    wanted = ExitReason.FAILED if isinstance(message, Crash) else ExitReason.NORMAL
    assert (exited.ref, exited.kind) == (first, wanted)


@HOSTS
async def test_a_link_to_a_missing_actor_acts_as_its_end(system: System, host: int) -> None:
    nobody = host_of(system).ref(Address(1, 999))
    trapper = await system.spawn(Trapper, host=host)
    await trapper.ask(Do(what="link", ref=nobody))
    assert [exited.kind for exited in (await received_by(trapper, 1)).exits] == [
        ExitReason.NO_ACTOR
    ]
    participant = await system.spawn(Participant, host=host)
    exit_signal = system.watch(participant)
    await settle(system)
    await participant.ask(Do(what="link", ref=nobody))
    assert (await exit_signal).kind is ExitReason.NO_ACTOR


async def test_a_lost_host_ends_linked_actors(system: System) -> None:
    first = await system.spawn(Participant, host=1)
    second = await system.spawn(Participant, host=2)
    trapper = await system.spawn(Trapper, host=2)
    for linked in (second, trapper):
        await linked.ask(Do(what="link", ref=first))
    await table(system, 4)
    exit_signal = system.watch(second)
    await settle(system)
    await process_of(system, 1).kill()
    assert (await exit_signal).kind is ExitReason.HOST_LOST
    assert [exited.kind for exited in (await received_by(trapper, 1)).exits] == [
        ExitReason.HOST_LOST
    ]


@HOSTS
async def test_linking_twice_is_linking_once(system: System, host: int) -> None:
    first = await system.spawn(Participant, host=1)
    second = await system.spawn(Trapper, host=host)
    await second.ask(Do(what="link", ref=first, times=3))
    await table(system, 2)
    first.tell(Crash())
    assert len((await received_by(second, 1)).exits) == 1
    await settle(system)
    assert len((await received_by(second)).exits) == 1


async def test_a_link_to_itself_is_none(system: System) -> None:
    participant = await system.spawn(Participant, host=1)
    await participant.ask(Do(what="link", ref=participant))
    await table(system, 0)


@HOSTS
async def test_an_end_after_unlink_has_no_effect(system: System, host: int) -> None:
    first = await system.spawn(Participant, host=1)
    second = await system.spawn(Participant, host=host)
    await second.ask(Do(what="link", ref=first))
    await table(system, 2)
    await first.ask(Do(what="unlink", ref=second))  # From the asked side.
    await table(system, 0)
    exit_signal = system.watch(second)
    await settle(system)
    first.tell(Crash())
    await settle(system)
    assert not exit_signal.done()


async def test_unlink_withdraws_an_exit_signal_under_way(system: System) -> None:
    nobody = host_of(system).ref(Address(1, 999))
    participant = await system.spawn(Participant, host=1)
    exit_signal = system.watch(participant)
    await settle(system)
    await participant.ask(Do(what="link and unlink", ref=nobody))
    await settle(system)
    assert not exit_signal.done()


async def test_a_restart_ends_the_link(system: System) -> None:
    first = await system.spawn(Participant, host=1)
    second = await system.spawn(Trapper, host=2)
    await second.ask(Do(what="link", ref=first))
    await table(system, 2)
    first.tell(Crash())
    await received_by(second, 1)
    first.tell(Crash())
    await settle(system)
    assert len((await received_by(second)).exits) == 1


async def test_an_actor_linked_in_its_start_hook_does_not_start_when_the_other_ends(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit signal acts once the hook has returned: an actor that never ran cannot fail."""
    partner = await system.spawn(Participant, host=1)
    gate = asyncio.Event()
    monkeypatch.setattr(Bound, "gate", gate)
    starting = asyncio.ensure_future(system.spawn(props(Bound, partner), host=1))
    await table(system, 2)
    partner.tell(Crash())
    await back(system, partner)
    gate.set()
    with pytest.raises(ActorStartFailed, match="its start hook linked it to ended"):
        await starting
    await table(system, 0)


async def test_a_chain_of_links_falls_together(system: System) -> None:
    participants = [await system.spawn(Participant, host=1 + number % 3) for number in range(9)]
    for left, right in itertools.pairwise(participants):
        await left.ask(Do(what="link", ref=right))
    await table(system, 16)
    exit_signal = [system.watch(participant) for participant in participants]
    await settle(system)
    participants[4].tell(Crash())
    assert {(await down).kind for down in exit_signal} == {ExitReason.FAILED}
    for participant in participants:
        await back(system, participant)
    assert host_at(system, 1).monitors.count == 0
    await participants[0].ask(GetNotices())
