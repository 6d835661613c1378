"""An outbox over failovers: no credit is lost, no message waits without a reason, order is kept."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Final, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callboard.actors.kernel.dead_letters import DeadLetters
from callboard.actors.kernel.flow_key import WHOLE_CELL
from callboard.actors.kernel.link.core import LinkCore
from callboard.actors.kernel.link.outbox import Outbox
from callboard.actors.kernel.link.queue import OutgoingMessage
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry, describe_contract
from callboard.messages.core.errors import HostLost, MailboxFull
from callboard.messages.core.frame import FrameHeader, FrameWriter, Kind, decode_frame
from callboard.messages.core.limits import Limits
from tests.thoroughness import examples

LIMITS: Final = Limits(
    link_credit=12, frame_messages_soft=3, link_frames_in_flight=2, link_backlog_max=30
)
CELLS: Final = (7, 8)
LOST: Final = HostLost("the peer is lost.", advice="")


class Numbered(Contract, name="outbox_model.numbered"):
    number: int


BUILD: Final = ContractRegistry(LIMITS).resolve(*describe_contract(Numbered).key)


class Peer:
    """In place of the link: frames leave only when the model takes them."""

    is_connected = True
    flush_is_scheduled = False

    def flush(self) -> None:
        """Send nothing by itself."""

    def flush_soon(self) -> None:
        """Send nothing by itself."""


class OutboxModel(RuleBasedStateMachine):
    """One outbox and its peers, one after another."""

    def __init__(self) -> None:
        super().__init__()
        registry = ContractRegistry(LIMITS)
        registry.learn(Numbered)
        self.dead_letters = DeadLetters("host-1")
        host: Any = SimpleNamespace(
            codec=Codec(registry, LIMITS, lambda value: value),
            now=lambda: 0.0,
            limits=LIMITS,
            large_values=None,
            dead_letters=self.dead_letters,
        )
        self.core: LinkCore[Any] = LinkCore(LIMITS)
        self.outbox = Outbox(host, 2, self.core, cast("Any", Peer()))
        self.outbox.is_open = True
        self.number = 0
        self.posted: dict[int, list[int]] = {cell: [] for cell in CELLS}
        """What has been posted and has not left, by cell."""
        self.replies = 0
        self.replies_left = 0
        self.paused: set[int] = set()
        self.is_closed = False

    # --- what happens ---------------------------------------------------------------------------

    @rule(cell=st.sampled_from(CELLS), count=st.integers(1, 6))
    def post(self, cell: int, count: int) -> None:
        for _ in range(count):
            self.number += 1
            try:
                self.outbox.post(OutgoingMessage(cell, Numbered(number=self.number)))
            except MailboxFull:
                assert self.outbox.waiting >= LIMITS.link_backlog_max // 2
            else:
                if not self.is_closed:
                    self.posted[cell].append(self.number)

    @rule()
    def reply(self) -> None:
        self.replies += 1
        self.outbox.reply(self.replies, Numbered(number=0))

    @precondition(lambda self: self.outbox.has_frames)
    @rule()
    def send_frame(self) -> None:
        writer, credit_used = self.outbox.next_frame()
        self.core.sent += credit_used
        self.leave(writer, credit_used)
        self.outbox.write_waiting()

    def leave(self, writer: FrameWriter, credit_used: int) -> None:
        frame = decode_frame(writer.finish(FrameHeader(1, 1, 2, 1, 1, 0, 0)), LIMITS)
        tells = [envelope for envelope in frame.envelopes if envelope.kind == Kind.TELL]
        assert len(tells) == credit_used
        self.replies_left += len(frame.envelopes) - len(tells)
        decode = self.outbox._encode.__self__.decode  # type: ignore[attr-defined]
        for envelope in tells:
            number = decode(envelope.body, BUILD, ()).number
            # Not the oldest only after a failover, which loses what had been written.
            assert number in self.posted[envelope.target], "never twice, never back in time"
            place = self.posted[envelope.target].index(number)
            assert place == 0, "in order"
            del self.posted[envelope.target][0]

    @rule(count=st.integers(1, 12))
    def grant(self, count: int) -> None:
        # The peer has taken some: it never grants more than its credit over what was sent.
        self.core.granted = min(self.core.granted + count, self.core.sent + LIMITS.link_credit)
        self.outbox.write_waiting()

    @rule(cell=st.sampled_from(CELLS))
    def pause(self, cell: int) -> None:
        self.outbox.pause(cell, WHOLE_CELL)
        self.paused.add(cell)

    @rule(cell=st.sampled_from(CELLS))
    def resume(self, cell: int) -> None:
        self.outbox.resume(cell, WHOLE_CELL)
        self.paused.discard(cell)

    @rule()
    def fail_over(self) -> None:
        self.forget_written()
        self.core = LinkCore(LIMITS)
        self.outbox.reset(self.core)
        self.paused.clear()
        self.is_closed = False
        assert not self.outbox.is_open
        assert not self.outbox.has_frames, "what was written is lost with the peer"

    def forget_written(self) -> None:
        """What was written into frames is lost with the peer: messages and replies."""
        waiting = {item.message.number for item in self.waiting_items()}  # type: ignore[attr-defined]
        for cell, numbers in self.posted.items():
            self.posted[cell] = [number for number in numbers if number in waiting]
        self.replies = self.replies_left = 0

    def waiting_items(self) -> Iterator[OutgoingMessage]:
        yield from self.outbox._backlog
        for queue in self.outbox._paused._queues():
            yield from queue

    @rule()
    def open(self) -> None:
        if not self.is_closed:
            self.outbox.is_open = True
            self.outbox.write_waiting()

    @rule()
    def close(self) -> None:
        """The slot has ended; a link does this after a reset."""
        self.fail_over()
        self.outbox.close(LOST)
        self.is_closed = True
        assert not self.outbox.waiting
        self.posted = {cell: [] for cell in CELLS}

    # --- what always holds -----------------------------------------------------------------------

    @invariant()
    def all_credit_can_be_used(self) -> None:
        outbox = self.outbox
        assert outbox.credit_is_whole
        assert self.core.sent + self.written() <= self.core.granted
        assert outbox._backlog.tells == len(outbox._backlog)
        waits_for_room = [item for item in self.waiting_items() if item.target not in self.paused]
        if outbox.is_open and waits_for_room:
            written = self.written()
            no_credit = self.core.sent + written >= self.core.granted
            assert no_credit or len(outbox._sealed) >= LIMITS.link_frames_in_flight

    def written(self) -> int:
        """Messages in frames that have not left: all posted ones that do not wait."""
        return sum(map(len, self.posted.values())) - sum(1 for _ in self.waiting_items())

    def teardown(self) -> None:
        """Once it is open and has credit, everything leaves."""
        if self.is_closed:
            self.fail_over()
        for cell in CELLS:
            self.resume(cell)
        self.is_closed = False
        self.open()
        for _ in range(1_000):
            self.grant(12)
            if not self.outbox.has_frames:
                break
            self.send_frame()
        assert not any(self.posted.values())
        assert self.replies_left == self.replies
        self.all_the_credit_of_the_next_peer_can_be_used()

    def all_the_credit_of_the_next_peer_can_be_used(self) -> None:
        """After a failover exactly the credit of the new peer is there, whatever was before."""
        self.fail_over()
        self.open()
        self.post(7, LIMITS.link_credit + 3)
        while self.outbox.has_frames:
            self.send_frame()
        assert self.core.sent == LIMITS.link_credit
        assert self.outbox.waiting == len(self.posted[7]) == 3


def test_a_failover_puts_the_messages_of_a_pause_before_the_later_ones() -> None:
    model = OutboxModel()
    model.pause(7)
    model.post(7, 2)  # They wait in the queue of the pause.
    model.post(8, LIMITS.link_credit + 1)
    while model.outbox.has_frames:
        model.send_frame()
    model.post(7, 2)  # They wait behind the message to the other cell, for credit.
    model.fail_over()
    model.teardown()


TestOutboxModel = OutboxModel.TestCase
TestOutboxModel.settings = settings(max_examples=examples(600), stateful_step_count=40)
