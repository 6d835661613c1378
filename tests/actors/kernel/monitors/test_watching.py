"""Watches: exactly one notice each, whatever ends, and in whatever order messages arrive."""

import asyncio
from typing import Any

import pytest

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.lifecycle import ExitReason
from callboard.messages.control.notices import Down
from callboard.messages.control.spec import Restart
from callboard.messages.core.errors import CallboardError, HandlerFailed, HostLost
from callboard.messages.core.ref import Address, Ref
from callboard.runtime.api.inside import host_of, root_of
from callboard.runtime.api.system import System

from .fixture_actors import (
    Block,
    Cramped,
    Crash,
    Deaf,
    Do,
    Forgetful,
    GetNotices,
    Leave,
    Listener,
    Participant,
    Received,
)

HOSTS = pytest.mark.parametrize("host", [1, 2], ids=["same_host", "other_host"])


async def settle(system: System) -> None:
    """Let all messages under way arrive: a round trip between each two hosts."""
    for _ in range(3):
        await system.view(actors_max=0)


def process_of(system: System, slot: int) -> Any:
    return root_of(system).table.slots[slot].process


def host_at(system: System, slot: int) -> Host:
    host: Host = process_of(system, slot).host
    return host


async def received_by(watcher: Ref[Any], count: int = 0) -> Received:
    async with asyncio.timeout(10.0):
        answer: Received = await watcher.ask(GetNotices(count=count))
    return answer


def kinds(answer: Received) -> list[ExitReason]:
    return [down.kind for down in answer.downs]


async def back(system: System, ref: Ref[Any]) -> None:
    """Wait until an actor answers again."""
    async with asyncio.timeout(10.0):
        while True:
            try:
                await ref.ask(GetNotices())
            except HostLost:
                continue
            return


async def table(system: System, wanted: int) -> None:
    """Wait until all hosts together have so many ends of monitors."""
    async with asyncio.timeout(10.0):
        while (
            sum(
                slot.process.host.monitors.count
                for slot in root_of(system).table.living()
                if slot.process is not None and slot.process.host is not None
            )
            != wanted
        ):
            await system.view(actors_max=0)


# --- what cannot be watched --------------------------------------------------------------------


async def test_a_watcher_without_a_handler_is_refused(system: System) -> None:
    deaf = await system.spawn(Deaf)
    with pytest.raises(CallboardError, match=r"has no handler for a callboard\.down"):
        await deaf.ask(Do(what="watch"))


async def test_more_watches_than_the_limit_are_refused(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard.actors.kernel.monitors.monitors.MONITORS_MAX", 2)
    watcher = await system.spawn(Participant, host=1)
    target = await system.spawn(Participant, host=1)
    await watcher.ask(Do(what="watch", ref=target, times=2))
    with pytest.raises(CallboardError, match="has 2 watches and links"):
        await watcher.ask(Do(what="watch", ref=target))


async def test_notices_not_handled_yet_count_as_watches(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard.actors.kernel.monitors.monitors.MONITORS_MAX", 2)
    watcher = await system.spawn(Participant, host=1)
    nobody = host_of(system).ref(Address(1, 999))
    with pytest.raises(CallboardError, match="has 2 watches and links"):
        await watcher.ask(Do(what="watch", ref=nobody, times=3))


# --- one notice ----------------------------------------------------------------------------------


@HOSTS
async def test_a_missing_actor_gives_a_notice_at_once(system: System, host: int) -> None:
    watcher = await system.spawn(Listener, host=host)
    await watcher.ask(Do(what="watch", ref=host_of(system).ref(Address(1, 999))))
    [down] = (await received_by(watcher, 1)).downs
    assert down.kind is ExitReason.NO_ACTOR
    assert down.ref.address == Address(1, 999)
    assert down.comes_back is False
    assert "1/999" in down.detail["message"]


async def test_an_actor_of_an_ended_slot_gives_a_notice_at_once(
    system: System,
) -> None:
    watcher = await system.spawn(Listener, host=1)
    host_at(system, 1).link(77).close(HostLost("on purpose"))
    await watcher.ask(Do(what="watch", ref=host_of(system).ref(Address(77, 1))))
    [down] = (await received_by(watcher, 1)).downs
    assert (down.kind, down.comes_back) == (ExitReason.HOST_LOST, False)


async def test_the_end_of_a_slot_ends_the_watches_that_wait_for_it(
    system: System,
) -> None:
    watcher = await system.spawn(Listener, host=1)
    await watcher.ask(Do(what="watch", ref=host_of(system).ref(Address(77, 1))))
    assert (await received_by(watcher)).downs == ()
    host_at(system, 1).link(77).close(HostLost("on purpose"))
    assert kinds(await received_by(watcher, 1)) == [ExitReason.HOST_LOST]


@HOSTS
async def test_a_crash_gives_one_notice_with_its_traceback(system: System, host: int) -> None:
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Listener, host=host)
    await watcher.ask(Do(what="watch", ref=target))
    await settle(system)
    target.tell(Crash())
    [down] = (await received_by(watcher, 1)).downs
    assert (down.kind, down.ref, down.comes_back) == (ExitReason.FAILED, target, True)
    assert "on purpose" in down.detail["message"]
    assert "ValueError" in down.detail["details"]["remote_traceback"]
    target.tell(Crash())  # The watch is over: the next incarnation is not watched.
    await settle(system)
    assert len((await received_by(watcher)).downs) == 1
    assert down.ref == target
    await target.ask(GetNotices())


@HOSTS
async def test_two_watches_get_two_notices(system: System, host: int) -> None:
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Listener, host=host)
    await watcher.ask(Do(what="watch", ref=target, times=2))
    await settle(system)
    target.tell(Crash())
    assert kinds(await received_by(watcher, 2)) == [ExitReason.FAILED] * 2


@HOSTS
async def test_a_normal_end_gives_a_notice_and_no_restart(system: System, host: int) -> None:
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Listener, host=host)
    await watcher.ask(Do(what="watch", ref=target))
    await settle(system)
    target.tell(Leave())
    [down] = (await received_by(watcher, 1)).downs
    assert (down.kind, down.comes_back) == (ExitReason.NORMAL, False)


@HOSTS
async def test_an_ordered_stop_gives_a_shutdown(system: System, host: int) -> None:
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Listener, host=host)
    await watcher.ask(Do(what="watch", ref=target))
    await settle(system)
    await system.stop(target)
    [down] = (await received_by(watcher, 1)).downs
    assert (down.kind, down.comes_back) == (ExitReason.SHUTDOWN, False)


async def test_the_notice_of_a_temporary_actor_says_that_it_does_not_come_back(
    system: System,
) -> None:
    target = await system.spawn(Participant, host=1, restart=Restart.TEMPORARY)
    down = system.watch(target)
    await settle(system)
    target.tell(Crash())
    notice = await down
    assert (notice.kind, notice.comes_back) == (ExitReason.FAILED, False)


async def test_an_end_while_the_request_is_under_way_gives_one_notice(system: System) -> None:
    """The watch and the crash are in the same frames: one notice, whichever comes first."""
    for _ in range(20):
        target = await system.spawn(Participant, host=1)
        watcher = await system.spawn(Listener, host=2)
        doing = watcher.ask(Do(what="watch", ref=target))
        stopping = asyncio.ensure_future(system.stop(target))
        await asyncio.gather(doing, stopping)
        [down] = (await received_by(watcher, 1)).downs
        assert down.kind in {ExitReason.NO_ACTOR, ExitReason.SHUTDOWN}
    await settle(system)
    await table(system, 0)


async def test_an_actor_that_is_being_restarted_is_watched_from_its_next_start_on(
    system: System,
) -> None:
    target = await system.spawn(Participant, host=1)
    kernel = host_at(system, 1)
    cell = kernel.cells[target.address.cell]
    for _ in range(2):  # The second restart in a row waits for its back-off.
        target.tell(Crash())
        await settle(system)
    assert cell.actor is None
    down = system.watch(target)
    await settle(system)
    assert not down.done()
    await back(system, target)
    assert not down.done()
    target.tell(Crash())
    assert (await down).kind is ExitReason.FAILED


# --- mailboxes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Cramped, Forgetful])
async def test_a_full_mailbox_takes_every_notice(
    system: System, kind: type[Participant], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(kind, host=1)
    gate = asyncio.Event()
    monkeypatch.setattr(kind, "gate", gate)
    await watcher.ask(Do(what="watch", ref=target, times=5))
    blocked = watcher.ask(Block())
    await settle(system)
    waiting = host_at(system, 1).ref(watcher.address)
    waiting.tell(Do(what="active"))  # Fills the mailbox: it holds one message.
    target.tell(Crash())
    await settle(system)
    if kind is Forgetful:
        for _ in range(3):
            waiting.tell(Do(what="active"))
    gate.set()
    await blocked
    assert kinds(await received_by(watcher)) == [ExitReason.FAILED] * 5


# --- the watcher --------------------------------------------------------------------------------


@HOSTS
async def test_no_notice_after_unwatch(system: System, host: int) -> None:
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Listener, host=host)
    await watcher.ask(Do(what="watch", ref=target, times=2))
    await watcher.ask(Do(what="unwatch"))
    await settle(system)
    target.tell(Crash())
    assert len((await received_by(watcher, 1)).downs) == 1
    await settle(system)
    assert len((await received_by(watcher)).downs) == 1


@pytest.mark.parametrize("how", ["unwatch", "unwatch ref"])
async def test_unwatch_withdraws_a_waiting_notice(system: System, how: str) -> None:
    """The notice is in the mailbox already, after the request to end the watch."""
    watcher = await system.spawn(Participant, host=1)
    nobody = host_of(system).ref(Address(1, 999))
    watch = watcher.ask(Do(what="watch", ref=nobody))
    unwatch = watcher.ask(Do(what=how, ref=nobody))
    await asyncio.gather(watch, unwatch)
    await settle(system)
    # The notice waits behind the second request, which came in the same frame.
    assert (await received_by(watcher)).downs == ()


async def test_unwatch_that_crosses_the_notice_wins(system: System) -> None:
    for _ in range(20):
        target = await system.spawn(Participant, host=1)
        watcher = await system.spawn(Participant, host=2)
        await watcher.ask(Do(what="watch", ref=target))
        await settle(system)
        target.tell(Crash())
        await watcher.ask(Do(what="unwatch"))
        before = (await received_by(watcher)).downs
        await settle(system)
        assert (await received_by(watcher)).downs == before
    await table(system, 0)


@HOSTS
async def test_a_restarted_watcher_gets_no_more_notices(system: System, host: int) -> None:
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Listener, host=host)
    await watcher.ask(Do(what="watch", ref=target, times=3))
    await table(system, 6)
    watcher.tell(Crash())
    await back(system, watcher)
    await table(system, 0)
    target.tell(Crash())
    await settle(system)
    assert (await received_by(watcher)).downs == ()


async def test_notices_do_not_outlive_the_incarnation_they_were_for(system: System) -> None:
    """They wait in the mailbox, which is kept, when their actor fails."""
    watcher = await system.spawn(Participant, host=1)
    nobody = host_of(system).ref(Address(1, 999))
    near = host_at(system, 1).ref(watcher.address)
    monitors = near.ask(Do(what="watch", ref=nobody, times=3))
    near.tell(Crash())
    await monitors
    await back(system, watcher)
    answer = await received_by(watcher)
    assert answer.downs == ()
    assert host_at(system, 1).notices.count(watcher.address.cell) == 0


async def test_a_watcher_that_stops_leaves_no_trace(system: System) -> None:
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Participant, host=2)
    await watcher.ask(Do(what="watch", ref=target))
    await table(system, 2)
    await system.stop(watcher)
    await table(system, 0)


async def test_a_watcher_on_a_host_that_dies_leaves_no_trace(system: System) -> None:
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Participant, host=2)
    await watcher.ask(Do(what="watch", ref=target))
    await table(system, 2)
    await process_of(system, 2).kill()
    await back(system, watcher)
    await table(system, 0)
    target.tell(Crash())
    await settle(system)
    assert (await received_by(watcher)).downs == ()


# --- hosts ----------------------------------------------------------------------------------------


async def test_a_lost_host_gives_a_notice_for_each_of_its_actors_and_itself(system: System) -> None:
    targets = [await system.spawn(Participant, host=1) for _ in range(3)]
    watcher = await system.spawn(Listener, host=2)
    for target in targets:
        await watcher.ask(Do(what="watch", ref=target))
    await watcher.ask(Do(what="watch host", text="1"))
    await settle(system)
    await process_of(system, 1).kill()
    answer = await received_by(watcher, 4)
    assert kinds(answer) == [ExitReason.HOST_LOST] * 4
    assert [down.ref.address for down in answer.downs[3:]] == [Address(1, CONTROL_CELL)]
    await back(system, targets[0])
    await settle(system)
    assert len((await received_by(watcher)).downs) == 4


async def test_a_watch_that_waits_for_a_host_is_on_its_next_incarnation(system: System) -> None:
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Listener, host=2)
    link = host_at(system, 2).link(1)
    link.mark_lost(link.epoch, HostLost("on purpose"))
    await watcher.ask(Do(what="watch", ref=target))
    await process_of(system, 1).kill()
    await back(system, target)
    await settle(system)
    assert (await received_by(watcher)).downs == ()
    target.tell(Crash())
    assert kinds(await received_by(watcher, 1)) == [ExitReason.FAILED]


async def test_a_late_notice_from_a_lost_host_counts_no_more(system: System) -> None:
    """The loss of the link comes first, and the frame with the notice arrives after it."""
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Listener, host=2)
    await watcher.ask(Do(what="watch", ref=target))
    await table(system, 2)
    far = host_at(system, 2)
    link = far.link(1)
    target.tell(Crash())
    link.mark_lost(link.epoch, HostLost("on purpose"))
    assert kinds(await received_by(watcher, 1)) == [ExitReason.HOST_LOST]
    await settle(system)
    assert len((await received_by(watcher)).downs) == 1


async def test_the_roots_notice_of_a_dead_host_fails_asks_to_it_at_once(system: System) -> None:
    """No link has noticed the loss: the root's notice suffices, also for asks between hosts."""
    target = await system.spawn(Listener, host=1)
    asker = host_at(system, 2)
    asking = asyncio.ensure_future(asker.ask(target.address, GetNotices(count=9), 30.0))
    await settle(system)
    link = asker.link(1)
    await process_of(system, 1).kill()
    with pytest.raises(HostLost):
        await asking
    assert link.dead_epoch == 1


async def test_a_host_that_stops_in_order_gives_a_shutdown(system: System) -> None:
    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Listener, host=2)
    await watcher.ask(Do(what="watch", ref=target))
    await watcher.ask(Do(what="watch host", text="1"))
    await table(system, 4)
    root_of(system).supervisor.remove_child(1)
    assert kinds(await received_by(watcher, 2)) == [ExitReason.SHUTDOWN] * 2


async def test_a_handler_that_outlives_its_actor_is_refused(system: System) -> None:
    watcher = await system.spawn(Participant, host=1)
    kernel = host_at(system, 1)
    ctx = kernel.context(kernel.cells[watcher.address.cell])
    await system.stop(watcher)
    with pytest.raises(CallboardError, match="has ended, but this handler still runs"):
        _ = ctx.watch(watcher)


async def test_a_failing_handler_of_a_notice_is_a_dead_letter(system: System) -> None:
    class Clumsy(Participant):
        async def down(self, notice: Down) -> None:
            raise ValueError("clumsy")

    target = await system.spawn(Participant, host=1)
    watcher = await system.spawn(Clumsy, host=1)
    await watcher.ask(Do(what="watch", ref=target))
    down = system.watch(watcher)
    await settle(system)
    target.tell(Crash())
    assert "clumsy" in (await down).detail["message"]
    assert (await system.dead_letters())["handler_failed"] == 2
    assert HandlerFailed.code in (await down).detail["code"]
