"""The receiver of a link: what becomes of each kind of envelope, and of the credit for it."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from callboard.actors.kernel.asks import Ask
from callboard.actors.kernel.link.failures import encode_error
from callboard.messages.core.contract import ContractKey, contract_key
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStopped,
    AskError,
    Cancelled,
    HostLost,
    InvalidMessage,
    PayloadLost,
    UnknownContract,
)
from callboard.messages.core.frame import FrameHeader, FrameWriter, Kind, decode_frame

from .pair import LIMITS, Keyed, Mailbox, Note, Pair, Reply

LARGE = "x" * 2_000


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def frame_of(pair: Pair, *envelopes: tuple[Any, ...], names: Sequence[Any] = ()) -> bytes:
    """A frame of host 1 with envelopes that its outbox would not write."""
    writer = FrameWriter()
    for name in names:
        writer.contract(name)
    for envelope in envelopes:
        writer.add(*envelope)
    link = pair.here.link
    header = FrameHeader(1, 1, 2, 1, link.core.sequence + 1, 0, LIMITS.link_credit)
    return writer.finish(header)


def room(pair: Pair) -> int:
    """The credit that host 1 still has, by host 2's count."""
    core = pair.there.link.core
    return core.grant() - core.admitted - core.held


# --- credit -------------------------------------------------------------------------------------


def test_every_envelope_that_needs_credit_gives_it_back_once(pair: Pair) -> None:
    core = pair.there.link.core
    pair.box.most = 1
    for number in range(3):
        pair.here.tell(number)
    pair.here.tell(3, target=99)
    asked = pair.here.ask(4, target=99)
    pair.settle()
    assert pair.box.numbers == [0]
    assert (core.admitted, core.held) == (5, 0)
    reasons = [letter.reason for letter in pair.there.letters]
    assert reasons == ["mailbox_full", "mailbox_full", "no_actor"]
    assert [letter.target for letter in pair.there.letters] == ["cell-7", "cell-7", "2/99"]
    error = asked.error
    assert isinstance(error, ActorNotFound)
    assert (error.may_have_run, error.details["cell"]) == (False, 99)


@pytest.mark.parametrize("asks", [False, True])
def test_what_is_over_the_limit_is_held_until_there_is_room(pair: Pair, asks: bool) -> None:
    core = pair.there.link.core
    pair.box.room = 1
    for number in range(3):
        (pair.here.ask if asks else pair.here.tell)(number)
    pair.step()
    pair.carry(pair.here)
    assert pair.box.numbers == [0, 1, 2]
    assert (core.admitted, core.held) == (1, 2)
    assert room(pair) == LIMITS.link_credit
    # One pause for both, and one end of it.
    pair.settle()
    assert len(pair.box.waiting) == 1
    pair.here.tell(3)
    pair.settle()
    assert pair.box.numbers == [0, 1, 2]
    pair.box.empty()
    assert (core.admitted, core.held) == (3, 0)
    pair.settle()
    assert pair.box.numbers == [3]
    assert not pair.there.link.receiver.held


def test_a_key_without_room_pauses_that_key_alone(pair: Pair) -> None:
    from callboard.actors.kernel.link.queue import OutgoingMessage

    pair.box.key_field = "user"
    pair.box.room = 0
    post = pair.here.link.outbox.post
    post(OutgoingMessage(7, Keyed(user="a")))
    pair.settle()
    post(OutgoingMessage(7, Keyed(user="b")))
    post(OutgoingMessage(7, Keyed(user="a")))
    pair.settle()
    assert [item.user for item in pair.box.items] == ["a", "b"]
    assert pair.here.link.outbox.waiting == 1
    assert pair.there.link.core.held == 2
    pair.box.empty()
    pair.settle()
    assert [item.user for item in pair.box.items] == ["a"]


def test_room_that_comes_after_the_incarnation_is_lost_is_nobodys(pair: Pair) -> None:
    pair.box.room = 0
    pair.here.tell(1)
    pair.settle()
    old = pair.there.link.core
    pair.there.link.mark_lost(1, HostLost("gone.", advice=""))
    pair.there.link.connect(2, pair.there.wire)
    pair.there.wire.frames.clear()
    pair.box.empty()
    pair.step()
    assert old.held == 1
    assert (pair.there.link.core.held, pair.there.link.core.admitted) == (0, 0)
    assert pair.there.kinds() == []


# --- what does not decode -----------------------------------------------------------------------


def test_an_ask_that_does_not_decode_fails_as_not_run(pair: Pair) -> None:
    unknown = ContractKey("pair.unknown", 1, 1)
    asked = pair.here.ask(1)
    pair.here.wire.frames.clear()
    pair.step()
    pair.here.wire.frames.clear()
    pair.here.link.core.unacknowledged.clear()
    pair.here.link.core.sequence = 0
    data = frame_of(pair, (Kind.ASK, 7, 101, 0, b"\x80", 500), names=[unknown])
    pair.there.receive(data)
    pair.step()
    pair.here.link.core.sequence = 1
    pair.carry(pair.there)
    error = asked.error
    assert isinstance(error, UnknownContract)
    assert error.details["may_have_run"] is False
    assert not pair.box.items
    assert not pair.there.link.receiver.asks


def test_a_tell_that_does_not_decode_is_a_dead_letter_and_the_next_one_arrives(
    pair: Pair,
) -> None:
    name = contract_key(Note)
    good = pair.here.codec.encode(Note(number=5))[0]
    data = frame_of(
        pair,
        (Kind.TELL, 7, 0, 0, b"\xc1"),
        (Kind.TELL, 7, 0, -1, good),
        (Kind.TELL, 7, 0, 0, good),
        (Kind.TELL, 7, 0, 0, b"", 0, (), 3),
        names=[name],
    )
    pair.there.receive(data)
    assert pair.box.numbers == [5]
    assert [letter.reason for letter in pair.there.letters] == ["undecodable"] * 3
    assert {letter.target for letter in pair.there.letters} == {"2/7"}
    codes = [letter.error["code"] for letter in pair.there.letters if letter.error]
    assert codes == [InvalidMessage.code, UnknownContract.code, PayloadLost.code]
    assert pair.there.link.core.admitted == 4


def test_a_contract_is_resolved_once_for_a_frame(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved: list[Any] = []
    resolve = pair.there.contracts.resolve

    def counted(_self: Any, *name: Any) -> Any:
        resolved.append(name)
        return resolve(*name)

    monkeypatch.setattr(type(pair.there.contracts), "resolve", counted)
    for number in range(3):
        pair.here.tell(number)
    pair.step()
    pair.carry(pair.here)
    assert pair.box.numbers == [0, 1, 2]
    assert len(resolved) == 1


# --- asks and their outcomes --------------------------------------------------------------------


def test_an_ask_arrives_with_its_deadline_and_its_reply_goes_back(pair: Pair) -> None:
    asked = pair.here.ask(1, timeout_s=4.0)
    pair.settle()
    (ask,) = pair.box.items
    assert (ask.target, ask.correlation, ask.step) == (7, 101, "")
    assert 3.9 < ask.deadline_s - pair.there.now() <= 4.0
    assert len(pair.there.deadlines) == 1
    assert pair.there.armed == 1
    ask.reply(Reply(number=8))
    pair.settle()
    assert asked.result == Reply(number=8)
    assert not pair.there.link.receiver.asks
    assert not pair.here.pending


def test_a_second_outcome_of_an_ask_leaves_nothing_on_the_wire(pair: Pair) -> None:
    asked = pair.here.ask(1)
    pair.settle()
    receiver = pair.there.link.receiver
    receiver.reply(101, Reply(number=1))
    pair.step()
    assert pair.there.kinds() == [[Kind.REPLY]]
    receiver.reply(101, Reply(number=2))
    pair.step()
    assert pair.there.kinds() == [[Kind.REPLY]]
    pair.settle()
    assert asked.result == Reply(number=1)


def test_a_reply_that_nobody_waits_for_is_dropped_and_costs_no_credit(pair: Pair) -> None:
    asked = pair.here.ask(1)
    pair.settle()
    asked.cancel()
    pair.box.items[0].reply(Reply(number=1))
    pair.settle()
    assert asked.result is None
    assert pair.here.link.core.admitted == 0
    assert not pair.here.letters


def test_a_cancel_stops_the_ask_and_its_error_goes_back(pair: Pair) -> None:
    asked = pair.here.ask(1)
    pair.settle()
    pair.here.link.outbox.control(Kind.CANCEL, 0, 101, encode_error(Cancelled("enough.")))
    pair.settle()
    assert isinstance(pair.box.items[0].stopped_by, Cancelled)
    assert isinstance(asked.error, Cancelled)
    pair.here.link.outbox.control(Kind.CANCEL, 0, 999, encode_error(Cancelled("enough.")))
    pair.settle()


def test_messages_after_a_control_envelope_of_the_same_frame_arrive(pair: Pair) -> None:
    pair.here.link.outbox.control(Kind.CANCEL, 0, 999, encode_error(Cancelled("enough.")))
    pair.here.tell(1)
    pair.step()
    assert pair.here.kinds() == [[Kind.CANCEL, Kind.TELL]]
    pair.settle()
    assert pair.box.numbers == [1]


def test_a_flow_key_that_does_not_decode_pauses_nothing(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    pair.there.link.outbox.control(Kind.PAUSE, 7, 0, b"\xc1")
    pair.settle()
    assert "flow key that does not decode" in caplog.text
    pair.here.tell(1)
    pair.settle()
    assert pair.box.numbers == [1]


def test_asks_of_a_lost_host_are_stopped_and_answer_nobody(pair: Pair) -> None:
    asked = pair.here.ask(1)
    pair.settle()
    receiver = pair.there.link.receiver
    pair.there.link.mark_lost(1, HostLost("gone.", advice=""))
    ask: Ask = pair.box.items[0]
    assert isinstance(ask.stopped_by, HostLost)
    assert receiver.is_closed
    receiver.fail(101, HostLost("late.", advice=""))
    pair.settle()
    assert pair.there.kinds() == []
    assert not asked.done()


# --- large values -------------------------------------------------------------------------------


def test_large_values_are_fetched_and_later_messages_wait_for_them(pair: Pair) -> None:
    pair.here.tell(1, LARGE)
    pair.step()
    pair.here.tell(2)
    pair.step()
    assert pair.here.frames()[0].envelopes[0].body == b""
    pair.carry(pair.here)
    assert pair.box.numbers == []
    pair.settle()
    assert pair.box.numbers == [1, 2]
    assert pair.box.items[0].text == LARGE


def test_a_large_value_that_is_gone_fails_its_ask_alone(pair: Pair) -> None:
    asked = pair.here.ask(1, LARGE)
    pair.step()
    data, _ = pair.here.wire.frames.popleft()
    pair.there.receive(data, ["no reference"])
    pair.here.tell(2)
    pair.settle()
    error = asked.error
    assert isinstance(error, PayloadLost)
    assert error.details["may_have_run"] is False
    assert pair.box.numbers == [2]


def test_a_frame_that_comes_while_values_are_fetched_is_in_order_and_both_end(
    pair: Pair,
) -> None:
    gate = asyncio.Event()

    class Slow:
        async def get(self, reference: Any) -> Any:
            await gate.wait()
            return reference

    pair.there.large_values = Slow()  # type: ignore[assignment]  # `put` is not called
    for number in range(3):
        pair.here.tell(number, LARGE if number < 2 else "")
        pair.settle()
    assert pair.box.numbers == []
    gate.set()
    pair.settle()
    assert pair.box.numbers == [0, 1, 2]
    pair.here.tell(3)
    pair.step()
    pair.carry(pair.here)
    assert pair.box.numbers == [0, 1, 2, 3]


def test_what_is_fetched_for_a_lost_incarnation_is_not_delivered(pair: Pair) -> None:
    gate = asyncio.Event()

    class Slow:
        async def get(self, reference: Any) -> Any:
            await gate.wait()
            return reference

    pair.there.large_values = Slow()  # type: ignore[assignment]  # `put` is not called
    pair.here.tell(1, LARGE)
    pair.settle()
    pair.there.link.mark_lost(1, HostLost("gone.", advice=""))
    gate.set()
    pair.settle()
    assert pair.box.numbers == []


# --- a host that restarts with its group --------------------------------------------------------


def stopped(pair: Pair, *, may_have_run: bool) -> AskError:
    return ActorStopped("it stopped.", advice="", may_have_run=may_have_run, slot=pair.there.slot)


def test_an_ask_that_has_not_run_bounces_and_waits_for_the_next_incarnation(pair: Pair) -> None:
    pair.there.is_restarting = True
    asked = pair.here.ask(1, timeout_s=4.0)
    pair.settle()
    pair.box.items.pop().fail(stopped(pair, may_have_run=False))
    pair.settle()
    assert not asked.done()
    assert not asked.sent
    assert pair.here.link.outbox.waiting == 1
    pair.here.tell(2)
    pair.settle()
    assert pair.box.numbers == []
    # The next incarnation gets it first, with what is left of its time.
    for end in pair.ends:
        end.link.mark_lost(1, HostLost("gone.", advice=""))
        end.wire.frames.clear()
    pair.there.epoch = 2
    pair.here.link.connect(2, pair.here.wire)
    pair.step()
    (frame,) = pair.here.frames()
    assert [each.kind for each in frame.envelopes] == [Kind.ASK, Kind.TELL]
    assert 3_900 < frame.envelopes[0].budget_ms <= 4_000


def test_an_ask_that_may_have_run_fails_and_the_next_messages_wait(pair: Pair) -> None:
    pair.there.is_restarting = True
    asked = pair.here.ask(1)
    pair.settle()
    pair.box.items.pop().fail(stopped(pair, may_have_run=True))
    pair.settle()
    error = asked.error
    assert isinstance(error, HostLost)
    assert error.may_have_run
    assert "host-2 is being restarted" in str(error)
    pair.here.tell(2)
    pair.settle()
    assert pair.box.numbers == []


def test_a_bounced_ask_whose_asker_has_gone_is_dropped(pair: Pair) -> None:
    pair.there.is_restarting = True
    asked = pair.here.ask(1)
    pair.settle()
    asked.cancel()
    pair.box.items.pop().fail(stopped(pair, may_have_run=False))
    pair.settle()
    assert pair.here.link.outbox.waiting == 0


def test_a_bounced_ask_may_be_large(pair: Pair) -> None:
    pair.there.is_restarting = True
    asked = pair.here.ask(1, LARGE)
    pair.settle()
    pair.box.items.pop().fail(stopped(pair, may_have_run=False))
    pair.step()
    assert pair.there.wire.frames[0][1]
    pair.settle()
    assert not asked.done()
    assert pair.here.link.outbox.waiting == 1


def test_an_ask_that_cannot_go_back_fails_and_says_that_its_host_restarts(pair: Pair) -> None:
    def full(body: bytes, buffers: Sequence[Any]) -> Any:
        raise OSError("no space left")

    pair.there.is_restarting = True
    asked = pair.here.ask(1, LARGE)
    pair.settle()
    pair.there.large_values.put = full  # type: ignore[method-assign]
    pair.box.items.pop().fail(stopped(pair, may_have_run=False))
    pair.settle()
    assert isinstance(asked.error, HostLost)
    assert not asked.error.may_have_run


def test_a_bounced_ask_that_does_not_decode_fails_as_not_run(pair: Pair) -> None:
    pair.there.is_restarting = True
    asked = pair.here.ask(1, LARGE)
    pair.settle()
    pair.box.items.pop().fail(stopped(pair, may_have_run=False))
    pair.step()
    data, _ = pair.there.wire.frames.popleft()
    assert decode_frame(data, LIMITS).envelopes[0].kind == Kind.BOUNCE
    pair.here.receive(data, ["no reference"])
    pair.settle()
    error = asked.error
    assert isinstance(error, PayloadLost)
    assert error.details["may_have_run"] is False


def test_mailboxes_of_other_cells_take_their_messages(pair: Pair) -> None:
    other = pair.there.cells[8] = Mailbox(8)
    pair.box.room = 0
    pair.here.tell(1)
    pair.settle()
    pair.here.tell(2)
    pair.here.tell(3, target=8)
    pair.settle()
    assert (pair.box.numbers, other.numbers) == ([1], [3])
