"""Large messages in parts: nothing is lost, doubled or overtaken, whatever happens to the link."""

import itertools
from collections import deque
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callboard.actors.kernel.directory.routing import key_hash
from callboard.actors.kernel.flow_key import WHOLE_CELL, FlowKey
from callboard.actors.kernel.link.core import LinkCore
from callboard.actors.kernel.link.outbox import Outbox
from callboard.actors.kernel.link.parts import Joiner, Transfer
from callboard.actors.kernel.link.queue import OutgoingMessage
from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry, describe_contract
from callboard.messages.core.errors import MailboxFull, PayloadLost
from callboard.messages.core.frame import FrameHeader, Kind, decode_frame
from callboard.messages.core.limits import Limits
from tests.thoroughness import examples

LIMITS: Final = Limits(
    inline_bytes_max=40,
    part_bytes=16,
    link_credit=3,
    link_control_credit=2,
    link_backlog_max=30,
    frame_messages_soft=3,
    payload_bytes_max=10_000,
)
CELLS: Final = (CONTROL_CELL, 1, 2)
KEYS: Final = (0, 1)


class Numbered(Contract, name="test.parts.numbered"):
    number: int
    key: int = 0
    ballast: bytes = b""


BUILD: Final = ContractRegistry().resolve(*describe_contract(Numbered).key)
FLOW_KEYS: Final = (
    WHOLE_CELL,
    *(FlowKey("key", key_hash(Numbered(number=0, key=key), "key")) for key in KEYS),
)


class Departure:
    """A sender that waits for room; `is_gone` once it gives up."""

    def __init__(self) -> None:
        self.is_gone = False
        self.error: BaseException | None = None

    def done(self) -> bool:
        return self.is_gone

    def set_result(self, result: None) -> None:
        self.is_gone = True

    def set_exception(self, error: BaseException) -> None:
        self.is_gone, self.error = True, error


class Side:
    """The host and the link of an outbox."""

    def __init__(self) -> None:
        self.limits = LIMITS
        self.codec = Codec(ContractRegistry(), LIMITS)
        self.large_values: Any = None
        self.dead_letters: Any = None
        self.is_connected = True
        self.sends_in_parts = True
        self.flush_is_scheduled = False

    def now(self) -> float:
        return 0.0

    def flush(self) -> None:
        pass

    def flush_soon(self) -> None:
        pass

    def owe_ack(self) -> None:
        """There is nobody to tell."""


class OneLink(RuleBasedStateMachine):
    """An outbox, and what its frames bring to the other side."""

    def __init__(self) -> None:
        super().__init__()
        self.side: Any = Side()
        self.core: LinkCore[Any] = LinkCore(LIMITS)
        self.outbox = Outbox(self.side, 1, self.core, self.side)
        self.outbox.is_open = True
        self.joiner = Joiner(LIMITS)
        self.numbers = itertools.count()
        self.waiting: dict[tuple[int, int], deque[int]] = {
            (cell, key): deque() for cell in CELLS for key in KEYS
        }
        self.replies: set[int] = set()
        self.departures: dict[int, Departure] = {}
        self.of_control = 0
        """Messages for the control actor: they never wait for credit."""

    # --- the sender -------------------------------------------------------------------

    @rule(
        cell=st.sampled_from(CELLS),
        key=st.sampled_from(KEYS),
        size=st.sampled_from((0, 10, 50, 200)),
        waits=st.booleans(),
    )
    def post(self, cell: int, key: int, size: int, waits: bool) -> None:
        number = next(self.numbers)
        departure: Any = Departure() if waits else None
        message = Numbered(number=number, key=key, ballast=b"x" * size)
        try:
            self.outbox.post(OutgoingMessage(cell, message, departure=departure))
        except MailboxFull:
            return
        self.waiting[cell, key].append(number)
        if departure is not None:
            self.departures[number] = departure

    @rule(size=st.sampled_from((0, 50, 200)))
    def reply(self, size: int) -> None:
        number = next(self.numbers)
        self.replies.add(number)
        self.outbox.reply(number, Numbered(number=number, ballast=b"y" * size))

    @precondition(lambda self: any(not each.is_gone for each in self.departures.values()))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """A sender no longer waits: its message never leaves."""
        open_ones = [number for number, each in self.departures.items() if not each.is_gone]
        number = data.draw(st.sampled_from(open_ones))
        self.departures[number].is_gone = True
        for numbers in self.waiting.values():
            if number in numbers:
                numbers.remove(number)

    # --- the link -----------------------------------------------------------------------

    @precondition(lambda self: self.outbox.has_frames)
    @rule()
    def send(self) -> None:
        writer, credit = self.outbox.next_frame()
        self.core.sent += credit
        frame = decode_frame(writer.finish(FrameHeader(0, 1, 1, 1, 1, 0, 0)), LIMITS)
        self.outbox.write_behind()
        start = 0
        for envelope in frame.envelopes:
            if envelope.kind == Kind.PART:
                end = start + envelope.budget_ms
                if end == start:
                    self.joiner.drop(envelope.correlation)
                else:
                    part = frame.parts[start:end]
                    assert self.joiner.add(envelope.correlation, envelope.target, part)
                start = end
                continue
            body: Any = envelope.body
            if envelope.value:
                body, _ = self.joiner.take(envelope.value, envelope.body)
            message = self.side.codec.decode(body, BUILD)
            if envelope.kind == Kind.REPLY:
                self.replies.remove(message.number)
            else:
                self.of_control += envelope.target == CONTROL_CELL
                assert self.waiting[envelope.target, message.key].popleft() == message.number

    @rule(count=st.integers(1, 3))
    def grant(self, count: int) -> None:
        self.core.granted = min(self.core.granted + count, self.core.sent + LIMITS.link_credit)
        self.outbox.write_waiting()

    @rule(cell=st.sampled_from(CELLS[1:]), flow_key=st.sampled_from(FLOW_KEYS))
    def pause(self, cell: int, flow_key: FlowKey) -> None:
        self.outbox.pause(cell, flow_key)

    @rule(cell=st.sampled_from(CELLS[1:]), flow_key=st.sampled_from(FLOW_KEYS))
    def resume(self, cell: int, flow_key: FlowKey) -> None:
        self.outbox.resume(cell, flow_key)

    @rule()
    def hold(self) -> None:
        self.outbox.hold_requests()

    @rule()
    def open(self) -> None:
        self.outbox.is_open = True
        self.outbox.write_waiting()

    @rule()
    def lose(self) -> None:
        """The peer is lost, with the frames that it has not received: here there are none."""
        was_open = self.outbox.is_open
        written = self._written().union(*(self.waiting[CONTROL_CELL, key] for key in KEYS))
        self.core, self.of_control = LinkCore(LIMITS), 0
        self.outbox.reset(self.core)
        self.joiner = Joiner(LIMITS)
        self.replies.clear()
        for place, numbers in self.waiting.items():
            self.waiting[place] = deque(n for n in numbers if n not in written)
        if was_open:
            self.open()

    def _written(self) -> set[int]:
        """The messages in frames that have not left: they are lost with the peer."""
        kept = {item.message.number for item in self._items()}
        return {n for numbers in self.waiting.values() for n in numbers if n not in kept}

    def _items(self) -> list[Any]:
        outbox = self.outbox
        transfers = outbox._transfers
        behind = [item for queue in transfers.behind.values() for item in queue]
        under_way = [t.item for t in (*transfers._active, *transfers._waiting) if t.item]
        paused = [item for queue in outbox._paused._queues() for item in queue]
        return [*outbox._backlog, *outbox._control, *behind, *under_way, *paused]

    # --- what holds ---------------------------------------------------------------------

    @invariant()
    def it_keeps_its_own_invariants(self) -> None:
        self.outbox._transfers.validate_state()
        self.core.validate_state()
        assert self.core.sent - self.of_control <= self.core.granted
        assert len(self.joiner) <= LIMITS.values_in_parts_max

    def teardown(self) -> None:
        """Once all is open and there is credit, everything leaves."""
        for cell, flow_key in itertools.product(CELLS[1:], FLOW_KEYS):
            self.outbox.resume(cell, flow_key)
        self.open()
        for _ in range(1_000):
            self.grant(3)
            if self.outbox.has_frames:
                self.send()
            elif not self.outbox.waiting:
                break
        assert not any(self.waiting.values())
        assert not self.replies
        assert not len(self.joiner)


OneLinkTest = OneLink.TestCase
OneLinkTest.settings = settings(max_examples=examples(200), stateful_step_count=60)


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=90), min_size=1, max_size=4),
    part_bytes=st.integers(1, 40),
)
def test_the_pieces_of_a_message_arrive_as_they_left(pieces: list[bytes], part_bytes: int) -> None:
    joiner = Joiner(LIMITS)
    transfer = Transfer(Kind.REPLY, 0, 1, Numbered(number=1))
    transfer.begin(7, pieces)
    while (part := transfer.next_part(part_bytes)) is not None:
        assert 0 < len(part) <= part_bytes
        assert joiner.add(7, transfer.total_bytes, part)
    body, buffers = joiner.take(7, transfer.layout())
    assert [bytes(body), *map(bytes, buffers)] == pieces
    assert all(buffer.readonly for buffer in buffers)
    assert not len(joiner)


def test_an_array_that_changes_on_the_way_arrives_as_it_was() -> None:
    array = bytearray(b"before")
    transfer = Transfer(Kind.REPLY, 0, 1, Numbered(number=1))
    transfer.begin(1, [b"body", array])
    array[:] = b"after!"
    parts = list(iter(lambda: transfer.next_part(4), None))
    assert b"".join(parts) == b"bodybefore"


def test_a_small_message_passes_a_large_one_for_another_actor() -> None:
    link = OneLink()
    link.post(cell=1, key=0, size=200, waits=False)
    link.post(cell=2, key=0, size=0, waits=False)
    link.send()
    assert link.waiting[1, 0]
    assert not link.waiting[2, 0]
    link.teardown()


@given(
    layout=st.binary(max_size=40), parts=st.lists(st.binary(min_size=1, max_size=20), max_size=4)
)
def test_whatever_a_peer_sends_it_is_a_value_or_lost(layout: bytes, parts: list[bytes]) -> None:
    joiner = Joiner(LIMITS)
    for part in parts:
        joiner.add(1, 40, memoryview(part))
    try:
        body, buffers = joiner.take(1, layout)
    except PayloadLost:
        return
    assert len(body) + sum(map(len, buffers)) == sum(map(len, parts)) == 40


def test_a_receiver_keeps_few_values_and_none_over_the_limit() -> None:
    joiner = Joiner(LIMITS)
    part = memoryview(b"x")
    for number in range(LIMITS.values_in_parts_max):
        assert joiner.add(number, 2, part)
    assert not joiner.add(99, 2, part)
    assert not joiner.add(98, LIMITS.payload_bytes_max + 1, part)
    assert joiner.add(0, 2, part)
    assert not joiner.add(0, 2, part)  # It is longer than it announced: it is dropped.
    assert joiner.add(99, 2, part)
    with pytest.raises(PayloadLost, match="1 of 2 bytes"):
        joiner.take(99, b"\x91\x02")
