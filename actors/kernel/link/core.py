"""The decisions of a link: numbers, order, repeats, acknowledgement, credit. Pure.

Each direction numbers its frames from 1. The sender keeps a frame until the other side
acknowledges it, and sends it again when its arrival is in doubt. The receiver delivers
frames in order, exactly once, whatever the transport does to them.

Credit counts envelopes that go into mailboxes (TELL and ASK). A grant is a running total, so
a lost or repeated grant does no harm. Replies need no credit: otherwise two hosts with full
mailboxes could wait for each other's replies for ever.

The control plane has a reserve beyond the grant (`control_credit`): it never waits for the credit
that data has used up, and is bounded all the same.

An envelope whose mailbox is full is held: the receiver pauses its flow key at the sender,
and grants credit for other messages in its place. The first full credit of held envelopes
costs the other messages nothing; only what is held beyond it reduces their credit. So a
burst to one slow actor blocks no other actor, and at most two credits of envelopes are in no
mailbox.

Invariants:
- every frame up to `received` was delivered once, and none twice;
- `sent` envelopes never exceed `granted` by more than the reserve of the control plane, and data
  never leaves beyond `granted`;
- at most two credits of envelopes, and that reserve, have been sent and are in no mailbox;
- `_ahead` holds only numbers above `received`, by at most `reorder_frames_max`.
"""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from callboard.messages.core.errors import FrameError
from callboard.messages.core.frame import FrameHeader
from callboard.messages.core.limits import Limits

__all__ = ["LinkCore"]

FrameT = TypeVar("FrameT")


class LinkCore(Generic[FrameT]):
    """The state of one link, seen from one side."""

    __slots__ = (
        "_ahead",
        "_limits",
        "admitted",
        "duplicates",
        "granted",
        "held",
        "received",
        "sent",
        "sequence",
        "unacknowledged",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ahead: dict[int, FrameT] = {}
        self.sequence = 0
        """The number of the newest frame sent."""
        self.sent = 0
        """Envelopes sent that need credit."""
        self.granted = limits.link_credit
        """Envelopes this side may send in all."""
        self.received = 0
        """All frames up to this number have been delivered."""
        self.admitted = 0
        """Envelopes that have arrived in mailboxes here."""
        self.held = 0
        """Envelopes that have arrived here and wait for room in their mailboxes."""
        self.duplicates = 0
        self.unacknowledged: dict[int, Any] = {}
        """Sent frames that may have to be sent again, oldest first."""

    @property
    def credit(self) -> int:
        """How many more envelopes may be sent now."""
        return self.granted - self.sent

    @property
    def control_credit(self) -> int:
        """How many more envelopes of the control plane may be sent now."""
        return self.granted + self._limits.link_control_credit - self.sent

    def grant(self) -> int:
        """How many envelopes the other side may send in all."""
        credit = self._limits.link_credit
        return self.admitted + min(self.held, credit) + credit

    def number(self, frame: Any) -> int:
        """Number a new frame and keep it until it is acknowledged."""
        self.sequence += 1
        self.unacknowledged[self.sequence] = frame
        return self.sequence

    def read_header(self, header: FrameHeader) -> None:
        """Take the acknowledgement and the grant from a frame of the other side."""
        if header.received > self.sequence:
            raise FrameError(
                f"host {header.source} acknowledges frame {header.received}, "
                f"but only {self.sequence} were sent.",
                advice="This is a defect: please report it.",
            )
        self.granted = max(self.granted, header.granted)
        for number in list(self.unacknowledged):
            if number > header.received:
                break
            del self.unacknowledged[number]

    def receive(self, sequence: int, frame: FrameT) -> Iterator[FrameT]:
        """The frames to deliver now, in order; none for a repeat or before a gap.

        Raises `FrameError` when the frame is too far ahead of a missing one.
        """
        if sequence <= self.received or sequence in self._ahead:
            self.duplicates += 1
            return iter(())
        if sequence == self.received + 1 and not self._ahead:
            self.received = sequence
            return iter((frame,))
        # By distance, not by count: so there is always room for the missing frame.
        if sequence - self.received > self._limits.reorder_frames_max:
            raise FrameError(
                f"frame {sequence} is {sequence - self.received} ahead of the last one in order.",
                advice="The transport loses frames: check the network between the hosts.",
            )
        self._ahead[sequence] = frame
        return self._in_order()

    def _in_order(self) -> Iterator[FrameT]:
        ready: list[FrameT] = []
        while (following := self.received + 1) in self._ahead:
            ready.append(self._ahead.pop(following))
            self.received = following
        return iter(ready)

    def validate_state(self) -> None:
        """Assert the invariants of this class."""
        assert self.sent <= self.granted + self._limits.link_control_credit
        assert self.held >= 0
        assert all(number > self.received + 1 for number in self._ahead)
        assert all(
            number <= self.received + self._limits.reorder_frames_max for number in self._ahead
        )
        numbers = list(self.unacknowledged)
        assert numbers == sorted(numbers)
        assert not numbers or numbers[-1] <= self.sequence
