"""The shell of a link: connections, frames under way, acknowledgements, and what is sent again."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from callboard.actors.kernel.link.link import ACK_DELAY_S, RESEND_AFTER_S
from callboard.messages.core.errors import HostLost
from callboard.messages.core.frame import FrameWriter, Kind
from callboard.messages.ports import TransportBroken
from callboard.runtime.engines.inline import InlineLargeValues

from .pair import LIMITS, Pair, Wire

GONE = HostLost("gone.", advice="")


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def is_cut(wire: Wire) -> bool:
    """Whether the link has released its transport."""
    return wire.is_closed


# --- connections --------------------------------------------------------------------------------


def test_a_link_connects_to_newer_incarnations_only(pair: Pair) -> None:
    here, link = pair.here, pair.here.link
    assert here.events == [("opened", 2, 1), ("connected",)]
    here.events.clear()
    link.connect(1, Wire(), is_open=False)
    link.connect(0, Wire())
    assert here.events == []
    assert link.carrier is here.wire
    link.connect(1, Wire())
    assert here.events == [("opened", 2, 1)]
    here.events.clear()
    newer = Wire()
    link.connect(2, newer, is_open=False)
    assert here.wire.is_closed
    assert (link.epoch, link.carrier) == (2, newer)
    assert here.events == [("lost", 2, 1, "host_lost"), ("connected",)]
    assert not link.outbox.is_open
    link.connect(2, Wire(), is_open=True)
    assert here.events[-1] == ("opened", 2, 2)
    assert link.outbox.is_open


def test_what_waits_leaves_when_the_link_is_opened_and_not_before(pair: Pair) -> None:
    link, wire = pair.here.link, Wire()
    pair.here.wire = wire
    link.mark_lost(1, GONE)
    pair.here.tell(1)
    link.connect(2, wire, is_open=False)
    pair.step()
    assert pair.here.kinds() == []
    link.open()
    pair.step()
    assert pair.here.kinds() == [[Kind.TELL]]


def test_a_link_that_is_not_connected_does_not_open(pair: Pair) -> None:
    pair.here.link.mark_lost(1, GONE)
    pair.here.events.clear()
    pair.here.link.open()
    assert pair.here.events == []
    assert not pair.here.link.outbox.is_open


def test_an_incarnation_is_lost_once_and_no_other_with_it(pair: Pair) -> None:
    here, link = pair.here, pair.here.link
    here.events.clear()
    link.mark_lost(2, GONE)
    assert link.epoch == 1
    assert not is_cut(here.wire)
    link.mark_lost(1, GONE)
    link.mark_lost(1, GONE)
    assert here.events == [("lost", 2, 1, "host_lost")]
    assert here.wire.is_closed
    assert not link.is_connected


def test_a_link_never_connects_to_an_incarnation_that_was_declared_dead(pair: Pair) -> None:
    link = pair.here.link
    link.declare_dead(3, GONE)
    assert not link.is_connected
    for epoch in (2, 3):
        link.connect(epoch, Wire())
        assert link.epoch == 1
    link.declare_dead(2, GONE)
    link.connect(3, Wire())
    assert link.epoch == 1
    newer = Wire()
    link.connect(4, newer)
    assert link.epoch == 4
    link.declare_dead(3, GONE)
    assert not newer.is_closed


def test_a_slot_that_has_ended_keeps_no_timer_and_may_come_back(pair: Pair) -> None:
    here, link = pair.here, pair.here.link
    here.tell(1)
    pair.step()
    here.events.clear()
    link.close(GONE)
    assert here.events == [("closed", 2, "host_lost")]
    assert [link.is_closed, is_cut(here.wire)] == [True, True]
    assert not pair.world.timers_of(pair.world.driver)
    link.connect(2, Wire())
    assert not link.is_closed
    assert link.is_connected


# --- frames under way ---------------------------------------------------------------------------


def test_no_more_frames_are_under_way_than_allowed_and_each_return_sends_the_next(
    pair: Pair,
) -> None:
    here = pair.here
    here.wire.writes = False
    for number in range(LIMITS.link_credit):
        here.tell(number)
        pair.step()
    assert len(here.wire.answers) == LIMITS.link_frames_in_flight
    first = here.wire.answers[0][0]
    here.wire.answer(first)
    pair.step()
    assert len(here.wire.answers) == LIMITS.link_frames_in_flight
    assert [len(kinds) for kinds in here.kinds()] == [1, 1, 3]
    assert here.link.frames_out == 3
    assert here.link.bytes_out == sum(len(data) for data, _ in here.wire.frames)


def test_the_answer_to_a_frame_is_taken(pair: Pair) -> None:
    here, there = pair.here, pair.there
    here.wire.writes = False
    here.tell(1)
    pair.step()
    data, references = here.wire.frames.popleft()
    there.receive(data, references)
    there.tell(8)
    assert there.link.outbox.has_frames
    answer, _ = there.link.take_frame()
    here.wire.answer(data, answer)
    pair.step()
    assert here.received == [answer]
    assert not here.link.core.unacknowledged


def test_a_returning_call_carries_what_there_is_or_the_bookkeeping(pair: Pair) -> None:
    here = pair.here
    data, references = here.link.take_frame()
    pair.there.receive(data, references)
    assert pair.there.link.core.received == 0
    here.tell(1)
    data, references = here.link.take_frame()
    pair.there.receive(data, references)
    assert pair.box.numbers == [1]
    assert here.link.frames_out == 2
    here.link.mark_lost(1, GONE)
    here.tell(2)
    assert not here.link.outbox.has_frames


def test_a_corked_link_keeps_its_frames_until_the_last_cork_is_out(pair: Pair) -> None:
    here = pair.here
    here.link.cork()
    here.link.cork()
    here.tell(1)
    pair.step()
    here.link.uncork()
    pair.step()
    assert here.kinds() == []
    here.link.uncork()
    pair.step()
    assert here.kinds() == [[Kind.TELL]]
    here.link.cork()
    here.link.uncork()
    assert not here.link.flush_is_scheduled


def test_many_messages_are_one_flush(pair: Pair) -> None:
    pair.step()
    for number in range(2):
        pair.here.tell(number)
    assert pair.here.link.flush_is_scheduled
    assert len(pair.world.driver.ready) == 1
    pair.step()
    assert not pair.here.link.flush_is_scheduled


def test_frames_that_come_are_counted(pair: Pair) -> None:
    pair.here.link.count_received(10)
    pair.here.link.count_received(5)
    assert (pair.here.link.frames_in, pair.here.link.bytes_in) == (2, 15)


def test_a_broken_transport_sends_the_frame_again_under_its_number(pair: Pair) -> None:
    here = pair.here
    here.wire.writes = False
    here.tell(1)
    pair.step()
    data, references = here.wire.frames.popleft()
    pair.there.receive(data, references)
    here.wire.answer(data, TransportBroken("cut."))
    pair.step(3.0)
    assert here.wire.frames[0][0] == data
    pair.settle()
    assert pair.box.numbers == [1]
    assert pair.there.link.core.duplicates >= 1


def test_a_frame_for_a_lost_incarnation_is_not_sent_to_the_next(pair: Pair) -> None:
    here, newer = pair.here, Wire()
    here.wire.writes = False
    here.tell(1)
    pair.step()
    here.wire.answer(here.wire.frames[0][0], TransportBroken("cut."))
    here.link.connect(2, newer)
    pair.step(5.0)
    assert not newer.frames
    assert len(here.wire.frames) == 1


def test_credit_that_comes_after_the_acknowledgement_reaches_a_peer_that_has_none(
    pair: Pair,
) -> None:
    """Large values are fetched after their frame is acknowledged, and the peer has to stop."""
    gate: asyncio.Future[None] = pair.world.driver.create_future()

    class Slow(InlineLargeValues):
        async def get(self, reference: Any) -> tuple[bytes, Sequence[Any]]:
            await gate
            return await super().get(reference)

    pair.there.large_values = Slow()
    count = LIMITS.link_credit + 3
    for number in range(count):
        pair.here.tell(number, "x" * (LIMITS.inline_bytes_max + 1))
    for _ in range(5):
        pair.settle()
        pair.step(2 * ACK_DELAY_S)
    assert pair.here.link.core.credit == 0
    assert pair.box.numbers == []
    gate.set_result(None)
    for _ in range(5):
        pair.step(2 * ACK_DELAY_S)
        pair.settle()
    assert pair.box.numbers == list(range(count))


def test_a_dead_peer_of_a_delivery_is_lost(pair: Pair) -> None:
    here = pair.here
    here.wire.writes = False
    here.tell(1)
    pair.step()
    here.events.clear()
    here.wire.answer(here.wire.frames[0][0], GONE)
    pair.step()
    assert here.events == [("lost", 2, 1, "host_lost")]


def test_a_delivery_that_ends_after_its_incarnation_changes_nothing(pair: Pair) -> None:
    here, newer = pair.here, Wire()
    here.wire.writes = False
    here.tell(1)
    pair.step()
    old = here.wire
    here.wire = newer
    here.link.connect(2, newer)
    newer.writes = False
    here.tell(2)
    pair.step()
    old.answer(old.frames[0][0], FrameWriter().finish(pair.there.link._header(0)))
    pair.step()
    assert here.received == []
    assert here.link._in_flight == 1


# --- acknowledgement and loss -------------------------------------------------------------------


def test_a_frame_is_acknowledged_by_the_next_one_or_soon_by_itself(pair: Pair) -> None:
    here, there = pair.here, pair.there
    here.tell(1)
    pair.step()
    pair.carry(here)
    pair.step(ACK_DELAY_S / 2)
    assert there.kinds() == []
    pair.step(ACK_DELAY_S)
    assert there.kinds() == [[]]
    pair.carry(there)
    assert not here.link.core.unacknowledged
    # A frame that leaves in time carries it.
    here.tell(2)
    pair.step()
    pair.carry(here)
    there.link.outbox.control(Kind.CANCEL, 0, 5)
    pair.step()
    pair.carry(there)
    pair.step(2 * ACK_DELAY_S)
    assert there.kinds() == []
    assert not here.link.core.unacknowledged


def test_an_acknowledgement_that_cannot_be_written_is_delivered(pair: Pair) -> None:
    here, there = pair.here, pair.there
    here.tell(1)
    pair.step()
    pair.carry(here)
    there.wire.writes = False
    pair.step(2 * ACK_DELAY_S)
    assert there.kinds() == [[]]
    answer = FrameWriter().finish(here.link._header(0))
    data, _ = there.wire.frames.popleft()
    there.wire.answer(data, answer)
    pair.step()
    assert there.received[-1] == answer


def test_an_acknowledgement_over_a_broken_transport_is_owed_again(pair: Pair) -> None:
    here, there = pair.here, pair.there
    here.tell(1)
    pair.step()
    pair.carry(here)
    there.wire.writes = False
    pair.step(2 * ACK_DELAY_S)
    data, _ = there.wire.frames.popleft()
    there.wire.answer(data, TransportBroken("cut."))
    pair.step(2 * ACK_DELAY_S)
    assert there.kinds() == [[]]
    there.events.clear()
    data, _ = there.wire.frames.popleft()
    there.wire.answer(data, GONE)
    pair.step()
    assert there.events == [("lost", 1, 1, "host_lost")]


def test_a_quarter_of_the_credit_is_granted_at_once(pair: Pair) -> None:
    here, there = pair.here, pair.there
    here.tell(0)
    pair.step()
    pair.carry(here)
    pair.step()
    assert there.kinds() == []
    here.tell(1)
    pair.step()
    pair.carry(here)
    assert there.kinds() == [[]]
    pair.carry(there)
    assert here.link.core.credit == LIMITS.link_credit


def test_a_frame_without_acknowledgement_is_sent_again_once_it_is_overdue(pair: Pair) -> None:
    here = pair.here
    here.tell(1)
    pair.step()
    (lost, _) = here.wire.frames.popleft()
    pair.step(RESEND_AFTER_S * 0.9)
    assert here.kinds() == []
    here.wire.writes = False
    pair.step(RESEND_AFTER_S * 1.2)
    assert [data for data, _ in here.wire.frames] == [lost]
    assert here.link.frames_resent == 1
    assert here.link.bytes_out == 2 * len(lost)
    # It is under way: nobody sends it a third time meanwhile.
    pair.step(3 * RESEND_AFTER_S)
    assert len(here.wire.frames) == 1
    pair.settle()
    assert pair.box.numbers == [1]
    pair.step(2 * ACK_DELAY_S)
    pair.settle()
    pair.step(5 * RESEND_AFTER_S)
    assert here.link.frames_resent == 1


def test_only_a_frame_that_is_overdue_is_sent_again(pair: Pair) -> None:
    here = pair.here
    here.tell(1)
    pair.settle()
    pair.step(RESEND_AFTER_S * 0.7)
    pair.settle()
    here.tell(2)
    pair.step()
    here.wire.frames.clear()
    # The timer of the first frame comes, and the second is not old enough.
    pair.step(RESEND_AFTER_S * 0.5)
    assert here.link.core.unacknowledged
    assert here.link.frames_resent == 0
    pair.step(RESEND_AFTER_S * 2.0)
    assert here.link.frames_resent >= 1


def test_a_repeat_is_acknowledged_at_once(pair: Pair) -> None:
    here, there = pair.here, pair.there
    here.tell(1)
    pair.step()
    data, _ = here.wire.frames[0]
    there.tell(5)
    pair.step()
    there.wire.frames.clear()
    pair.carry(here)
    assert there.kinds() == []
    # Host 1 does not know yet that the frame has come.
    there.receive(data)
    pair.step()
    assert there.kinds() == [[]]
    pair.carry(there)
    assert not here.link.core.unacknowledged
    assert pair.box.numbers == [1]


def test_no_more_frames_are_sent_again_than_may_be_under_way(pair: Pair) -> None:
    here = pair.here
    for number in range(5):
        here.tell(number)
        pair.step()
    here.wire.frames.clear()
    here.wire.writes = False
    pair.step(2.1 * RESEND_AFTER_S)
    assert len(here.wire.frames) == LIMITS.link_frames_in_flight
    pair.settle()
    assert pair.box.numbers[:2] == [0, 1]


def test_a_corked_link_acknowledges_with_the_call_that_returns(pair: Pair) -> None:
    here, there = pair.here, pair.there
    here.tell(1)
    pair.step()
    there.link.cork()
    pair.carry(here)
    pair.step(2 * ACK_DELAY_S)
    assert there.kinds() == []
