"""Named limits of everything that enters or leaves a host, in one place.

Each number is a default. A host gets its `Limits` at its start, so that tests and users
can tighten them. The docstring of each limit says why it has its value.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_LIMITS", "Limits"]

KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one host; sizes in bytes, counts in messages."""

    payload_bytes_max: int = 64 * KIB * KIB
    """The size of one message. Put a larger value into a store, and send a reference."""

    inline_bytes_max: int = 64 * KIB
    """A larger message travels in parts on a link with a stream, and by object reference on
    others: Ray inlines call arguments below 100 KB, and a frame must stay below that together
    with its other messages."""

    partial_bytes_max: int = 64 * KIB
    """The size of one partial result: it never travels in parts or apart."""

    part_bytes: int = 64 * KIB
    """A larger message travels in parts of this size on a link with a stream: a part takes
    some 0.1 ms of each side, which is how long it delays a small message."""

    values_in_parts_max: int = 4
    """Messages that one link sends in parts at a time; a receiver keeps no more."""

    frame_bytes_soft: int = 80 * KIB
    """A frame is closed at this size: Ray still inlines it with its last message."""

    frame_bytes_max: int = 80 * KIB + 2 * 64 * KIB * KIB
    """A larger frame is refused unread."""

    frame_messages_soft: int = 128
    """A frame is closed at this number of messages: few enough that the receiver works on
    one frame while the sender writes the next, and enough that the fixed cost of a frame,
    some 6 µs, is under 1 % of the cost of its messages."""

    frame_messages_max: int = 4_096
    """Envelopes in one frame: bounds the time for which a frame blocks the receiver's loop."""

    depth_max: int = 64
    """Levels of nesting in one message. msgpack stops only at 511 or 1,024, near the end of
    the C stack."""

    items_max: int = 10_000_000
    """Items in one list or map: a header may claim 4 billion."""

    buffers_max: int = 1_024
    """Arrays in one message: each is an item of the frame."""

    contracts_max: int = 4_096
    """Distinct contracts in one frame."""

    link_credit: int = 16_384
    """Messages that a peer may have under way before they reach a mailbox; as many again
    may have arrived and wait for full mailboxes."""

    link_control_credit: int = 4_096
    """Messages of the control plane that may leave beyond the credit of a link: so many spawns and
    stops pass a link that is full of data, and the next ones wait for the peer."""

    link_backlog_max: int = 32_768
    """Messages that wait for a link; with more, `tell` raises `MailboxFull` and `send` waits."""

    link_frames_in_flight: int = 4
    """Frames under way on one link; more would only move the queue into Ray."""

    reorder_frames_max: int = 1_024
    """Frames that arrived before a missing one; more means that the peer is broken."""

    asks_open_max: int = 1_000_000
    """Asks of one host or driver that wait for their replies; each holds 1 to 2 KB. One more
    is refused at once."""

    mailbox_messages: int = 4_096
    """Messages in an actor's mailbox, unless its class sets its own limit."""


DEFAULT_LIMITS: Final = Limits()
