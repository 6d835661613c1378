"""Bounded mailboxes, floods that memory does not notice, dead letters, and large values."""

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.core.errors import DeadlineExceeded, MailboxFull, PayloadTooLarge
from callboard.messages.core.ref import Ref
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.system import System

from . import engine_fixtures as fixtures
from . import fixture_actors as actors

pytestmark = pytest.mark.asyncio(loop_scope="session")

FLOOD = 300_000
GROWTH_BYTES_MAX = 96 * 1024 * 1024
"""The growth of a host while 300 MB pass: a mailbox of 4 MB, a link's backlog and credit of at
most 48 MB, and the reserve of the allocator and the collector."""
ANSWER_S_MAX = 2.0
"""Another actor of a flooded host, on a loaded machine; without a fair turn it takes as long
as the flood."""


async def expect(recorder: Ref[Any], prefix: str, count: int = 1) -> tuple[str, ...]:
    heard = await recorder.ask(actors.Expect(prefix=prefix, count=count), timeout_s=20.0)
    return heard.events


async def fill(ref: Ref[Any], recorder: Ref[Any], label: str) -> "asyncio.Future[Any]":
    """Keep the actor busy, then fill its mailbox of 8."""
    busy = asyncio.ensure_future(
        ref.ask(actors.Hang(recorder=recorder, label=label), timeout_s=60.0)
    )
    await expect(recorder, f"{label} started")
    for n in range(8):
        ref.tell(actors.Note(n=n))
    return busy


# --- policies -------------------------------------------------------------------------


async def test_full_mailbox_that_waits_takes_asks_and_makes_send_wait(
    system: System, recorder: Ref[Any]
) -> None:
    ref = await system.spawn(actors.Slow, host=2)
    busy = await fill(ref, recorder, "w")
    waiting = asyncio.ensure_future(ref.ask(actors.Ping(n=3)))
    recorder.tell(actors.Event(text="w go"))
    await busy
    assert (await waiting).n == 3
    assert (await ref.ask(actors.AskReceived())).count == 8


async def test_full_local_mailbox_refuses_tell_and_send_waits(
    system: System, recorder: Ref[Any]
) -> None:
    """On the sender's own host: the driver's, so that its mailbox can be looked at."""
    ref = await _on_drivers_host(system, actors.Slow)
    busy = await fill(ref, recorder, "l")
    with pytest.raises(MailboxFull):
        ref.tell(actors.Note(n=9))
    with pytest.raises(DeadlineExceeded) as caught:
        await ref.send(actors.Note(n=9), timeout_s=0.1)
    assert caught.value.may_have_run is False
    sends = [asyncio.ensure_future(ref.send(actors.Note(n=n), timeout_s=20.0)) for n in range(20)]
    recorder.tell(actors.Event(text="l go"))
    await asyncio.gather(busy, *sends)
    assert (await ref.ask(actors.AskReceived())).count == 28


@pytest.mark.parametrize("is_local", [True, False])
async def test_full_mailbox_that_rejects(
    system: System, recorder: Ref[Any], is_local: bool
) -> None:
    ref = (
        await _on_drivers_host(system, actors.RejectingSlow)
        if is_local
        else await system.spawn(actors.RejectingSlow, host=2)
    )
    before = (await system.dead_letters()).get("mailbox_full", 0)
    busy = await fill(ref, recorder, "r")
    with pytest.raises(MailboxFull) as caught:
        await ref.ask(actors.Ping(n=1))
    assert caught.value.may_have_run is False
    if is_local:
        with pytest.raises(MailboxFull):
            ref.tell(actors.Note(n=1))
        with pytest.raises(MailboxFull):
            await ref.send(actors.Note(n=1))
    else:
        ref.tell(actors.Note(n=1))
        with pytest.raises(MailboxFull):
            await ref.ask(actors.Ping(n=1))
        assert (await system.dead_letters())["mailbox_full"] == before + 1
    recorder.tell(actors.Event(text="r go"))
    await busy
    assert (await ref.ask(actors.AskReceived())).count == 8


@pytest.mark.parametrize("is_local", [True, False])
async def test_full_mailbox_that_drops_the_oldest(
    system: System, recorder: Ref[Any], is_local: bool
) -> None:
    ref = (
        await _on_drivers_host(system, actors.DroppingSlow)
        if is_local
        else await system.spawn(actors.DroppingSlow, host=2)
    )
    before = (await system.dead_letters()).get("mailbox_full", 0)
    busy = asyncio.ensure_future(ref.ask(actors.Hang(recorder=recorder, label="d"), timeout_s=60.0))
    await expect(recorder, "d started")
    oldest = asyncio.ensure_future(ref.ask(actors.Ping(n=0), timeout_s=60.0))
    await asyncio.sleep(0)
    for n in range(8):
        await ref.send(actors.Note(n=n))
    with pytest.raises(MailboxFull):
        await oldest
    received = asyncio.ensure_future(ref.ask(actors.AskReceived(), timeout_s=60.0))
    await asyncio.sleep(0)
    recorder.tell(actors.Event(text="d go"))
    await busy
    assert (await received).count == 7
    assert (await system.dead_letters())["mailbox_full"] == before + 2


async def _on_drivers_host(system: System, actor: Any) -> Ref[Any]:
    from callboard.actors.kernel.cell import Recipe
    from callboard.messages.core.ref import Address

    cell = await host_of(system).spawn(Recipe(actor), None)
    return host_of(system).ref(Address(0, cell.id))


# --- floods ---------------------------------------------------------------------------


async def _memory(system: System) -> list[int]:
    return [host.memory_bytes for host in (await system.view(actors_max=0)).hosts]


async def test_flood_from_another_host_stays_flat_and_blocks_nobody_else(system: System) -> None:
    flooder = await system.spawn(actors.Flooder, host=1)
    sink = await system.spawn(actors.Sink, host=2)
    other = await system.spawn(actors.Counter, host=2)
    relayer = await system.spawn(actors.Relayer, host=1)
    await flooder.ask(actors.Flood(to=sink, count=5_000))
    before = await _memory(system)
    flood = asyncio.ensure_future(flooder.ask(actors.Flood(to=sink, count=FLOOD), timeout_s=100.0))
    worst_s, peaks = 0.0, before
    while not flood.done():
        began_s = time.monotonic()
        # From the flooding host, over the flooded link; and a tell of the driver's.
        await relayer.ask(actors.Relay(to=other, n=1), timeout_s=20.0)
        worst_s = max(worst_s, time.monotonic() - began_s)
        peaks = [max(pair) for pair in zip(peaks, await _memory(system), strict=True)]
    await flood
    assert worst_s < ANSWER_S_MAX
    grown = [peak - start for peak, start in zip(peaks, before, strict=True)]
    assert max(grown) < GROWTH_BYTES_MAX, f"hosts grew by {grown}"
    async with asyncio.timeout(20.0):  # Two senders: the last of the flood may come later.
        while (await sink.ask(actors.AskReceived(), timeout_s=20.0)).count < FLOOD + 5_000:
            pass
    assert (await sink.ask(actors.AskReceived())).count == FLOOD + 5_000


async def test_tells_to_a_full_actor_do_not_refuse_tells_to_another(
    system: System, recorder: Ref[Any]
) -> None:
    """The sender's backlog for one actor is full; others are not affected."""
    slow = await system.spawn(actors.Slow, host=2)
    other = await system.spawn(actors.Counter, host=2)
    busy = await fill(slow, recorder, "full")
    sent = 8
    while sent < 500_000:
        try:
            slow.tell(actors.Note(n=0))
        except MailboxFull:
            break
        sent += 1
        if not sent % 1_000:
            await other.ask(actors.Ping(n=1))
    assert sent < 500_000, "somebody must say that it is too much"
    for n in range(1_000):
        other.tell(actors.Note(n=n))
    assert (await other.ask(actors.AskReceived())).count == 1_000
    recorder.tell(actors.Event(text="full go"))
    await busy
    received = await slow.ask(actors.AskReceived(), timeout_s=60.0)
    assert received.count == sent


async def test_asks_for_an_actor_that_hangs_are_forgotten_when_they_expire(
    system: System, recorder: Ref[Any]
) -> None:
    """Nothing that has expired may stay behind in the sender's backlog."""
    slow = await system.spawn(actors.Slow, host=2)
    busy = await fill(slow, recorder, "hung")
    for _ in range(3):
        asks = [slow.ask(actors.Ping(n=n), timeout_s=0.3) for n in range(2_000)]
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DeadlineExceeded}
    assert host_of(system).links[2].outbox.waiting < 4_000, "of 6,000"
    assert not host_of(system).pending or len(host_of(system).pending) < 10
    recorder.tell(actors.Event(text="hung go"))
    await busy
    assert (await slow.ask(actors.Ping(n=1))).n == 1


# --- dead letters ---------------------------------------------------------------------


async def test_dead_letters_of_all_hosts_are_counted_and_reach_subscribers(
    system: System,
) -> None:
    dead_letters: list[DeadLetter] = []

    def subscriber(letter: DeadLetter) -> None:
        dead_letters.append(letter)

    await system.on_dead_letter(subscriber)
    before = await system.dead_letters()
    refs = [await system.spawn(actors.Fragile, host=host) for host in (1, 2)]
    for ref in refs:
        ref.tell(actors.Note(n=-1))
        await ref.ask(actors.Ping(n=1))
    stopped = await system.spawn(actors.Counter, host=2)
    await system.stop(stopped)
    stopped.tell(actors.Note(n=1))
    refs[1].tell(fixtures.Leave())
    assert (await refs[1].ask(actors.Ping(n=1))).n == 1
    after = await system.dead_letters()
    grown = {reason: after[reason] - before.get(reason, 0) for reason in after}
    assert grown["handler_failed"] == 2
    assert grown["no_actor"] == 1
    async with asyncio.timeout(20.0):
        while len(dead_letters) < 4:
            await system.view(actors_max=0)
    sent = sorted((letter.reason, letter.host) for letter in dead_letters)
    assert ("handler_failed", "host-1") in sent
    assert ("handler_failed", "host-2") in sent
    assert ("no_actor", "host-2") in sent
    failed = next(letter for letter in dead_letters if letter.reason == "handler_failed")
    assert failed.contract == "actors.note"
    assert failed.error is not None
    assert "negative" in failed.error["message"]


# --- large values ---------------------------------------------------------------------


@pytest.mark.parametrize("host", [1, 2])
async def test_large_bytes_there_and_back(system: System, host: int) -> None:
    region = await system.spawn(fixtures.Echo, host=host)
    data = bytes(range(256)) * 4096
    assert (await region.ask(fixtures.EchoBlob(data=data))).data == data


async def test_large_array_there_and_back_is_read_only_and_not_copied(system: System) -> None:
    region = await system.spawn(fixtures.Echo, host=2)
    values = np.arange(50 * 1024 * 1024 // 8, dtype=np.float64)
    reply = await region.ask(fixtures.EchoMatrix(values=values), timeout_s=60.0)
    assert reply.total == float(values.sum())
    assert (reply.owns_data, reply.writeable) == (False, False)
    assert reply.values.flags.writeable is False
    assert reply.values.flags.owndata is False
    np.testing.assert_array_equal(reply.values, values)


async def test_large_and_small_messages_keep_their_order(system: System) -> None:
    region = await system.spawn(fixtures.Echo, host=2)
    sizes = [1, 200_000, 10, 300_000, 5, 70_000, 1]
    replies = await asyncio.gather(
        *(region.ask(fixtures.EchoBlob(data=b"x" * size)) for size in sizes)
    )
    assert [len(reply.data) for reply in replies] == sizes


async def test_too_large_a_message_is_refused_at_the_sender(system: System) -> None:
    region = await system.spawn(fixtures.Echo, host=2)
    limit = system.settings.limits.payload_bytes_max
    with pytest.raises(PayloadTooLarge):
        await region.ask(fixtures.EchoBlob(data=bytes(limit + 1)))
    assert (await region.ask(fixtures.EchoBlob(data=b"x"))).data == b"x"


async def test_references_in_messages_work_where_they_arrive(system: System) -> None:
    """The relayer on one host asks an actor on another by the reference it was sent."""
    counter = await system.spawn(actors.Counter, host=2)
    for host in (1, 2):
        relayer = await system.spawn(actors.Relayer, host=host)
        assert (await relayer.ask(actors.Relay(to=counter, n=host))).n == host
