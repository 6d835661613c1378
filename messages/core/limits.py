"""Named limits of everything that crosses a host's edge, in one place.

Each number is a default; `Limits` is handed to a host at its start, so that tests
and users can tighten them. Why each is what it is stands beside it.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_LIMITS", "Limits"]

KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a host accepts and keeps; sizes in bytes, counts in messages."""

    payload_bytes_max: int = 64 * KIB * KIB
    """One message. Larger things belong into a store, with a reference in the message."""

    inline_bytes_max: int = 64 * KIB
    """A larger message travels by object reference: Ray inlines call arguments below
    100 KB, and a frame must stay below that together with its other messages."""

    frame_bytes_soft: int = 80 * KIB
    """A frame is closed once it is this full: still inlined by Ray with its last message."""

    frame_bytes_max: int = 80 * KIB + 2 * 64 * KIB * KIB
    """A frame over this is refused unread."""

    frame_messages_soft: int = 128
    """A frame is closed once it holds so many: few enough that the receiver works on one
    while the sender writes the next, and enough that writing and
    decoding a frame by itself, some 6 µs, is under 1 % of what its messages cost."""

    frame_messages_max: int = 4_096
    """Envelopes in one frame: bounds how long one frame occupies the receiver's loop."""

    depth_max: int = 64
    """Nesting of one message. msgpack itself stops at 511 or 1,024, close to the C stack."""

    items_max: int = 10_000_000
    """Items in one list or map: a header may claim 4 billion, memory may not follow."""

    buffers_max: int = 1_024
    """Arrays in one message: each is an item of its own in the frame."""

    contracts_max: int = 4_096
    """Distinct contracts in one frame."""

    link_credit: int = 16_384
    """Messages a peer may have under way that are not yet in a mailbox; as many again may
    have come and wait for mailboxes that are full."""

    link_backlog_max: int = 32_768
    """Messages waiting for a link before `tell` refuses and `send` waits."""

    link_frames_in_flight: int = 4
    """Frames under way on one link; more would only move waiting from us into Ray."""

    reorder_frames_max: int = 1_024
    """Frames that arrived ahead of a missing one; more means a broken peer."""

    mailbox_messages: int = 4_096
    """An actor's mailbox, unless its class says otherwise."""


DEFAULT_LIMITS: Final = Limits()
