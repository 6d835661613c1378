"""The link's core: over any transport, every frame is delivered once and in order."""

from typing import Any, Final, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callboard.actors.kernel.link.core import LinkCore
from callboard.messages.core.errors import FrameError
from callboard.messages.core.frame import FrameHeader
from callboard.messages.core.limits import Limits
from tests.thoroughness import examples

LIMITS: Final = Limits(link_credit=12, link_control_credit=5, reorder_frames_max=6)


class Packet(NamedTuple):
    """A frame under way: its header when it was last sent, and its content."""

    header: FrameHeader
    content: tuple[int, ...]


class End:
    """One side of a link: its core, the sent frames, and the delivered ones."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.core: LinkCore[tuple[int, ...]] = LinkCore(LIMITS)
        self.sent: list[tuple[int, ...]] = []
        self.handed: list[tuple[int, ...]] = []
        self.in_mailboxes = 0
        """Handed on here and in their mailboxes, or read since."""
        self.envelopes = 0

    def header(self, sequence: int) -> FrameHeader:
        core = self.core
        return FrameHeader(self.slot, 0, 1 - self.slot, 0, sequence, core.received, core.grant())

    def send(self, count: int) -> Packet:
        content = tuple(range(self.envelopes, self.envelopes + count))
        self.envelopes += count
        self.core.sent += count
        sequence = self.core.number(content)
        self.sent.append(content)
        return Packet(self.header(sequence), content)

    def resend(self) -> list[Packet]:
        kept = self.core.unacknowledged.items()
        return [Packet(self.header(number), content) for number, content in kept]

    def take(self, packet: Packet) -> None:
        self.core.read_header(packet.header)
        if packet.header.sequence:
            self.handed += self.core.receive(packet.header.sequence, packet.content)

    @property
    def waiting(self) -> int:
        """Delivered envelopes that are in no mailbox yet."""
        return sum(len(content) for content in self.handed) - self.in_mailboxes

    def admit(self, count: int) -> None:
        self.in_mailboxes += count
        self.core.admitted += count

    def hold(self, count: int) -> None:
        self.core.held += count

    def release(self, count: int) -> None:
        self.core.held -= count
        self.admit(count)


class LinkModel(RuleBasedStateMachine):
    """Two ends and a transport that loses, doubles, delays and reorders."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = (End(0), End(1))
        self.flying: list[Packet] = []

    @rule(side=st.integers(0, 1), count=st.integers(0, 5))
    def send(self, side: int, count: int) -> None:
        end = self.ends[side]
        if len(end.core.unacknowledged) < LIMITS.reorder_frames_max:
            self.flying.append(end.send(max(0, min(count, end.core.credit))))

    @rule(side=st.integers(0, 1))
    def acknowledge(self, side: int) -> None:
        self.flying.append(Packet(self.ends[side].header(0), ()))

    @rule(side=st.integers(0, 1))
    def resend(self, side: int) -> None:
        self.flying += self.ends[side].resend()

    @rule(side=st.integers(0, 1), count=st.integers(1, 9))
    def send_control(self, side: int, count: int) -> None:
        end = self.ends[side]
        if len(end.core.unacknowledged) < LIMITS.reorder_frames_max:
            self.flying.append(end.send(min(count, end.core.control_credit)))

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), kept=st.booleans())
    def deliver_any(self, data: st.DataObject, kept: bool) -> None:
        packet = data.draw(st.sampled_from(self.flying))
        if not kept:
            self.flying.remove(packet)
        self.ends[packet.header.target].take(packet)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.flying.remove(data.draw(st.sampled_from(self.flying)))

    @rule(side=st.integers(0, 1), count=st.integers(1, 20))
    def mailboxes_take(self, side: int, count: int) -> None:
        end = self.ends[side]
        end.admit(min(count, end.waiting - end.core.held))

    @rule(side=st.integers(0, 1), count=st.integers(1, 20))
    def mailboxes_are_full(self, side: int, count: int) -> None:
        end = self.ends[side]
        end.hold(min(count, end.waiting - end.core.held))

    @rule(side=st.integers(0, 1), count=st.integers(1, 20))
    def mailboxes_have_room(self, side: int, count: int) -> None:
        end = self.ends[side]
        end.release(min(count, end.core.held))

    @invariant()
    def frames_are_delivered_once_and_in_order(self) -> None:
        for end, other in (self.ends, self.ends[::-1]):
            assert end.handed == other.sent[: len(end.handed)]
            assert end.core.received == len(end.handed)

    @invariant()
    def credit_is_never_exceeded(self) -> None:
        for end in self.ends:
            assert end.core.control_credit >= 0
            credit, reserve = LIMITS.link_credit, LIMITS.link_control_credit
            assert end.waiting - end.core.held <= credit + reserve
            assert end.waiting <= 2 * credit + reserve

    @invariant()
    def each_core_is_valid(self) -> None:
        for end in self.ends:
            end.core.validate_state()

    def teardown(self) -> None:
        """The transport heals: everything arrives, is acknowledged, and credit is whole again."""
        self.flying.clear()
        for _ in range(2):
            for end, other in (self.ends, self.ends[::-1]):
                for packet in end.resend():
                    other.take(packet)
                other.release(other.core.held)
                other.admit(other.waiting)
                end.take(Packet(other.header(0), ()))
        for end, other in (self.ends, self.ends[::-1]):
            assert end.handed == other.sent
            assert end.core.unacknowledged == {}
            assert end.core.credit == LIMITS.link_credit
            end.core.validate_state()


TestLinkModel = LinkModel.TestCase
TestLinkModel.settings = settings(max_examples=examples(300), stateful_step_count=60)


# --- single decisions ----------------------------------------------------------------------------


def header(received: int = 0, granted: int = 0) -> FrameHeader:
    return FrameHeader(1, 0, 0, 0, 0, received, granted)


def core() -> LinkCore[Any]:
    return LinkCore(LIMITS)


def test_frames_are_numbered_from_one_and_kept_until_acknowledged() -> None:
    link = core()
    assert [link.number(name) for name in "abc"] == [1, 2, 3]
    link.read_header(header(received=2))
    assert link.unacknowledged == {3: "c"}
    link.read_header(header(received=1))
    assert link.unacknowledged == {3: "c"}, "an acknowledgement that was overtaken says nothing"


def test_acknowledgement_of_a_frame_never_sent_is_a_frame_error_that_changes_nothing() -> None:
    link = core()
    link.number("a")
    with pytest.raises(FrameError, match="acknowledges frame 2"):
        link.read_header(header(received=2, granted=10**6))
    assert link.unacknowledged == {1: "a"}
    assert link.credit == LIMITS.link_credit


def test_grant_is_a_running_total_so_repeats_and_losses_do_no_harm() -> None:
    link = core()
    link.sent = 10
    for granted in (20, 15, 20):
        link.read_header(header(granted=granted))
    assert link.credit == 10


def test_held_envelopes_cost_others_nothing_until_a_whole_credit_is_held() -> None:
    link, credit = core(), LIMITS.link_credit
    link.held = credit
    assert link.grant() == 2 * credit
    link.held = 2 * credit
    assert link.grant() == 2 * credit
    link.held, link.admitted = 0, 2 * credit
    assert link.grant() == 3 * credit


def test_gap_is_filled_and_everything_behind_it_follows() -> None:
    link = core()
    assert list(link.receive(3, "c")) == []
    assert list(link.receive(2, "b")) == []
    assert list(link.receive(1, "a")) == ["a", "b", "c"]
    assert link.received == 3


@pytest.mark.parametrize("repeated", [1, 3])
def test_repeat_is_counted_and_not_delivered(repeated: int) -> None:
    link = core()
    list(link.receive(1, "a"))
    list(link.receive(3, "c"))
    assert list(link.receive(repeated, "again")) == []
    assert link.duplicates == 1


def test_frame_too_far_ahead_is_a_frame_error_and_the_missing_one_still_finds_room() -> None:
    link = core()
    last = LIMITS.reorder_frames_max
    for sequence in range(2, last + 1):
        assert list(link.receive(sequence, str(sequence))) == []
    for sequence in (last + 1, 10**12):
        with pytest.raises(FrameError, match="ahead of the last one in order"):
            link.receive(sequence, "too far")
    link.validate_state()
    assert list(link.receive(1, "1")) == [str(number) for number in range(1, last + 1)]
    assert list(link.receive(last + 1, "next")) == ["next"]


def test_order_holds_also_when_the_caller_does_not_consume_the_frames() -> None:
    link = core()
    link.receive(2, "b")
    link.receive(1, "a")
    assert list(link.receive(3, "c")) == ["c"]
