"""The outbox of a link: what leaves at once, what waits for what, and what is refused."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from callboard.actors.kernel.flow_key import WHOLE_CELL
from callboard.actors.kernel.link.queue import OutgoingMessage
from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.core.errors import HostLost, InvalidMessage, MailboxFull
from callboard.messages.core.frame import Kind

from .pair import LIMITS, Asked, Mailbox, Note, Pair, Question, Reply

GONE = HostLost("gone for good.", advice="")


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def lose(pair: Pair) -> None:
    """Host 2 is lost, and with it all that is under way."""
    for end in pair.ends:
        end.link.mark_lost(end.link.epoch, GONE)
        end.wire.frames.clear()


def come_back(pair: Pair) -> None:
    """Host 2's next incarnation, with an empty mailbox."""
    pair.there.epoch += 1
    pair.box.items.clear()
    pair.there.link.connect(pair.there.link.epoch + 1, pair.there.wire)
    pair.here.epoch = pair.there.link.epoch
    pair.here.link.connect(pair.there.epoch, pair.here.wire)


def sending(pair: Pair, number: int, target: int = 7) -> asyncio.Future[None]:
    """A tell whose sender waits until it has left."""
    departure: asyncio.Future[None] = pair.here.loop.create_future()
    item = OutgoingMessage(target, Note(number=number), departure=departure)
    pair.here.link.outbox.post(item)
    return departure


def test_a_message_leaves_in_the_next_frame_and_a_full_frame_at_once(pair: Pair) -> None:
    pair.here.tell(0)
    assert pair.here.kinds() == []
    pair.step()
    assert pair.here.kinds() == [[Kind.TELL]]
    for number in range(1, 4):
        pair.here.tell(number)
    assert pair.here.kinds()[1:] == [[Kind.TELL] * 3]
    pair.here.tell(4, "x" * 480)
    pair.here.tell(5, "x" * 480)
    assert pair.here.kinds()[2:] == [[Kind.TELL] * 2]


def test_no_more_leaves_than_there_is_credit_and_the_rest_follows(pair: Pair) -> None:
    for number in range(LIMITS.link_credit + 3):
        pair.here.tell(number)
    pair.step()
    assert sum(map(len, pair.here.kinds())) == LIMITS.link_credit
    assert pair.here.link.core.credit == 0
    assert pair.here.link.outbox.waiting == 3
    pair.settle()
    pair.step(0.3)
    pair.settle()
    assert pair.box.numbers == list(range(LIMITS.link_credit + 3))


def test_no_more_frames_are_sealed_than_may_be_under_way(pair: Pair) -> None:
    pair.here.wire.writes = False
    for number in range(8):
        pair.here.tell(number)
    pair.step()
    # Two are under way, and two frames' worth is written.
    assert pair.here.kinds() == [[Kind.TELL] * 3, [Kind.TELL] * 3]
    pair.settle()
    assert pair.box.numbers == list(range(8))


def test_what_is_sealed_has_its_credit_taken() -> None:
    pair = Pair(replace(LIMITS, link_credit=9))
    pair.here.wire.writes = False
    for number in range(10):
        pair.here.tell(number)
    # Six are under way, three are sealed, and the last one has no credit.
    assert len(pair.here.link.outbox._sealed) == 1
    assert pair.here.link.outbox.waiting == 1
    pair.close()


def test_a_backlog_is_sealed_as_far_as_frames_may_be_under_way() -> None:
    pair = Pair(replace(LIMITS, link_credit=100, link_backlog_max=100))
    lose(pair)
    pair.here.wire.writes = False
    for number in range(30):
        pair.here.tell(number)
    come_back(pair)
    assert len(pair.here.link.outbox._sealed) == LIMITS.link_frames_in_flight
    assert pair.here.link.outbox.waiting == 30 - 4 * LIMITS.frame_messages_soft
    pair.settle()
    assert pair.box.numbers == list(range(30))
    pair.close()


def test_the_control_plane_waits_for_nothing(pair: Pair) -> None:
    control = pair.there.cells[CONTROL_CELL] = Mailbox(CONTROL_CELL)
    pair.here.link.hold_requests()
    pair.here.tell(1)
    pair.here.tell(2, target=CONTROL_CELL)
    pair.settle()
    assert (control.numbers, pair.box.numbers) == ([2], [])
    pair.here.link.open()
    pair.settle()
    assert pair.box.numbers == [1]
    lose(pair)
    pair.here.tell(3, target=CONTROL_CELL)
    assert pair.here.link.outbox.waiting == 1


def test_tells_are_bounded_and_who_waits_is_not(pair: Pair) -> None:
    lose(pair)
    for number in range(LIMITS.link_backlog_max):
        pair.here.tell(number)
    with pytest.raises(MailboxFull) as refused:
        pair.here.tell(99)
    assert refused.value.may_have_run is False
    asked, sent = pair.here.ask(50), sending(pair, 51)
    assert pair.here.link.outbox.waiting == LIMITS.link_backlog_max + 2
    come_back(pair)
    pair.settle()
    assert pair.box.numbers == [*range(LIMITS.link_backlog_max), 50, 51]
    assert sent.done()
    assert asked.sent
    pair.here.tell(99)
    pair.settle()
    assert pair.box.numbers[-1] == 99


def test_messages_for_full_mailboxes_count_apart_from_the_others(pair: Pair) -> None:
    other = pair.there.cells[8] = Mailbox(8)
    pair.here.link.outbox.pause(7, WHOLE_CELL)
    for number in range(LIMITS.link_backlog_max):
        pair.here.tell(number)
    with pytest.raises(MailboxFull):
        pair.here.tell(99)
    asked = pair.here.ask(60)
    pair.here.tell(1, target=8)
    pair.settle()
    assert other.numbers == [1]
    pair.here.link.outbox.resume(7, WHOLE_CELL)
    pair.settle()
    assert pair.box.numbers == [*range(LIMITS.link_backlog_max), 60]
    assert asked.sent


def test_who_gives_up_meanwhile_is_not_sent(pair: Pair) -> None:
    lose(pair)
    first, second = sending(pair, 1), sending(pair, 2)
    asked = pair.here.ask(3)
    first.cancel()
    asked.cancel()
    come_back(pair)
    pair.settle()
    assert pair.box.numbers == [2]
    assert second.done()


def test_the_budget_of_an_ask_is_what_is_left_and_never_nothing(pair: Pair) -> None:
    asked = [pair.here.ask(1, timeout_s=2.0), pair.here.ask(2, timeout_s=0.000_1)]
    pair.step()
    (frame,) = pair.here.frames()
    assert [each.budget_ms for each in frame.envelopes] == [2_000, 1]
    lose(pair)
    waiting = pair.here.ask(3, timeout_s=2.0)
    pair.step(1.5)
    come_back(pair)
    pair.step()
    (frame,) = pair.here.frames()
    assert frame.envelopes[0].budget_ms == 500
    assert not any(each.done() for each in (*asked, waiting))


def test_an_ask_of_a_step_travels_with_it(pair: Pair) -> None:
    attempt = Asked(pair.here.pending, 2, 150)
    attempt.step = "e-1/step"
    item = OutgoingMessage(7, Question(number=3), attempt, pair.here.now() + 5.0)
    pair.here.link.outbox.post(item)
    asked = pair.here.ask(1)
    pair.settle()
    assert [item.step for item in pair.box.items] == ["e-1/step", ""]
    assert (attempt.sent, asked.sent) == (True, True)


# --- what cannot travel -------------------------------------------------------------------------


def test_a_message_that_cannot_be_written_later_is_refused_then(pair: Pair) -> None:
    lose(pair)

    def full(body: Any, buffers: Any) -> Any:
        raise OSError("no space left")

    pair.here.large_values.put = full  # type: ignore[method-assign]
    pair.here.tell(1, "x" * 900)
    asked = pair.here.ask(2, "x" * 900)
    departure = pair.here.loop.create_future()
    item = OutgoingMessage(7, Note(number=3, text="x" * 900), departure=departure)
    pair.here.link.outbox.post(item)
    pair.here.tell(4)
    come_back(pair)
    pair.settle()
    assert pair.box.numbers == [4]
    assert [(each.reason, each.target) for each in pair.here.letters] == [("not_sent", "2/7")]
    assert "no space left" in str(asked.error)
    assert "no space left" in str(departure.exception())


def test_a_large_reply_travels_by_reference(pair: Pair) -> None:
    asked = pair.here.ask(1)
    pair.settle()
    pair.box.items[0].reply(Reply(number=1, text="x" * 2_000))
    pair.step()
    assert pair.there.wire.frames[0][1]
    pair.settle()
    assert asked.result == Reply(number=1, text="x" * 2_000)


def test_a_value_at_the_limit_travels_in_the_frame(pair: Pair) -> None:
    body = len(pair.here.codec.encode(Note(number=1, text="x" * 400))[0]) - 400
    pair.here.tell(1, "x" * (LIMITS.inline_bytes_max - body))
    pair.step()
    assert not pair.here.wire.frames[0][1]
    pair.here.tell(1, "x" * (LIMITS.inline_bytes_max - body + 1))
    pair.step()
    assert pair.here.wire.frames[1][1]


# --- the end of a slot --------------------------------------------------------------------------


def test_what_waits_for_a_slot_that_has_ended_is_refused_and_so_is_what_comes(
    pair: Pair,
) -> None:
    lose(pair)
    pair.here.tell(1)
    asked, sent, left = pair.here.ask(2), sending(pair, 3), sending(pair, 4)
    left.cancel()
    pair.here.link.close(GONE)
    assert (asked.error, sent.exception()) == (GONE, GONE)
    assert [letter.reason for letter in pair.here.letters] == ["not_sent"]
    late = pair.here.ask(5)
    pair.here.tell(6)
    assert late.error is GONE
    assert [letter.reason for letter in pair.here.letters] == ["not_sent"] * 2
    assert pair.here.link.outbox.waiting == 0
    # A new incarnation ends the end.
    come_back(pair)
    pair.here.tell(7)
    pair.settle()
    assert pair.box.numbers == [7]


def test_messages_for_a_full_mailbox_go_first_to_the_next_incarnation(pair: Pair) -> None:
    pair.here.link.outbox.pause(7, WHOLE_CELL)
    pair.here.tell(1)
    pair.here.tell(2)
    lose(pair)
    pair.here.tell(3)
    come_back(pair)
    pair.settle()
    assert pair.box.numbers == [1, 2, 3]


def test_a_lost_link_sends_nothing_that_was_written_for_the_dead(pair: Pair) -> None:
    pair.here.tell(1)
    lose(pair)
    come_back(pair)
    pair.here.tell(2)
    pair.settle()
    assert pair.box.numbers == [2]
    assert pair.here.link.core.sent == 1
    # All of its credit is there.
    for number in range(LIMITS.link_credit - 1):
        pair.here.tell(number)
    pair.step()
    assert pair.here.link.outbox.waiting == 0


def saturated(pair: Pair) -> Mailbox:
    """The control actor of host 2, to which the link has no credit left but the reserve."""
    control = pair.there.cells[CONTROL_CELL] = Mailbox(CONTROL_CELL)
    for number in range(LIMITS.link_credit + 2):
        pair.here.tell(number)
    pair.step()
    return control


def test_the_control_plane_has_a_reserve_beyond_the_credit_that_data_has_used_up(
    pair: Pair,
) -> None:
    control = saturated(pair)
    core, reserve = pair.here.link.core, LIMITS.link_control_credit
    for number in range(reserve + 4):
        pair.here.tell(100 + number, target=CONTROL_CELL)
    pair.step()
    assert core.sent == core.granted + reserve
    core.validate_state()
    assert pair.here.link.outbox.waiting == 2 + 4
    pair.settle()
    assert control.numbers == list(range(100, 104 + reserve))
    assert pair.box.numbers == list(range(LIMITS.link_credit + 2))
    assert pair.here.link.outbox.credit_is_whole


def test_data_never_uses_the_reserve_of_the_control_plane(pair: Pair) -> None:
    saturated(pair)
    pair.here.tell(100, target=CONTROL_CELL)
    pair.here.tell(200)
    pair.step()
    assert pair.here.link.core.sent == pair.here.link.core.granted + 1
    assert pair.here.link.outbox.waiting == 3


def test_a_control_actor_that_falls_behind_bounds_its_senders(pair: Pair) -> None:
    control = pair.there.cells[CONTROL_CELL] = Mailbox(CONTROL_CELL, room=2)
    most = 2 * LIMITS.link_credit + LIMITS.link_control_credit + control.room
    for sent in range(most + LIMITS.link_backlog_max):
        pair.here.tell(sent, target=CONTROL_CELL)
        pair.settle()
        pair.step(1.0)  # Grants do not always leave at once.
        pair.settle()
    with pytest.raises(MailboxFull, match="4 messages wait for host 2"):
        pair.here.tell(100, target=CONTROL_CELL)
    assert len(control.items) == most
    asked = pair.here.ask(100, target=CONTROL_CELL)
    control.empty()
    pair.settle()
    assert len(control.items) == LIMITS.link_backlog_max + 1
    assert not asked.done()


def test_control_messages_that_wait_for_credit_are_lost_with_the_host(pair: Pair) -> None:
    saturated(pair)
    for number in range(LIMITS.link_control_credit):
        pair.here.tell(number, target=CONTROL_CELL)
    asked = pair.here.ask(1, target=CONTROL_CELL)
    departure = sending(pair, 2, target=CONTROL_CELL)
    assert asked.sent
    assert not departure.done()
    lose(pair)
    assert departure.done()
    come_back(pair)
    pair.settle()
    assert pair.there.cells[CONTROL_CELL].numbers == []
    assert pair.box.numbers == [LIMITS.link_credit, LIMITS.link_credit + 1]


def test_control_envelopes_need_a_connection_and_no_credit(pair: Pair) -> None:
    outbox = pair.here.link.outbox
    for number in range(LIMITS.link_credit):
        pair.here.tell(number)
    outbox.control(Kind.CANCEL, 0, 5)
    pair.step()
    assert pair.here.kinds()[-1][-1] == Kind.CANCEL
    lose(pair)
    outbox.control(Kind.CANCEL, 0, 5)
    assert not outbox.has_frames


def test_a_message_that_no_contract_allows_is_refused_at_once(pair: Pair) -> None:
    with pytest.raises(InvalidMessage):
        pair.here.link.outbox.post(OutgoingMessage(7, Note(number=1, text="\ud800")))
    pair.here.tell(2)
    pair.settle()
    assert pair.box.numbers == [2]
