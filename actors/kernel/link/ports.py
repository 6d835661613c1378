"""The ports of a link: its host, its recipients and its sender, for each of its parts."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeGuard

from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry
from callboard.messages.core.errors import AskError, CallboardError
from callboard.messages.core.limits import Limits
from callboard.messages.ports import LargeValueStore

from ..asks import Ask, Call
from ..dead_letters import DeadLetters
from ..deadlines import Deadlines
from ..flow_key import FlowKey

__all__ = ["FrameSender", "LinkHost", "OutboxHost", "ReceiverHost", "Recipient"]


class Recipient(Protocol):
    """A recipient of messages on this host: a cell."""

    @property
    def id(self) -> int:
        """Its number on this host."""

    @property
    def path(self) -> str:
        """Its path in the tree of its host."""

    @property
    def queued(self) -> bool:
        """Whether it will be served next."""

    @property
    def is_blocked(self) -> bool:
        """Whether a new message waits for a handler that runs now, or for the start."""

    def arrive(self, item: Any) -> bool:
        """Take a message or an `Ask`; True when the mailbox is now over its limit.

        Raises `MailboxFull` when it refuses a message.
        """

    def flow_key_of(self, message: Contract) -> FlowKey:
        """The flow key of a message."""

    def when_room(self, message: Contract, callback: Callable[[], None]) -> None:
        """Call `callback` once, when there is room for such a message."""


class FrameSender(Protocol):
    """The sender of the frames that an outbox fills: its link."""

    flush_is_scheduled: bool
    """Whether a flush in the next loop iteration is scheduled."""

    @property
    def is_connected(self) -> bool:
        """Whether the link has a carrier to a process of the slot."""

    @property
    def sends_in_parts(self) -> bool:
        """Whether large messages leave in parts, not by reference."""

    def flush(self) -> None:
        """Send as many frames as may be under way."""

    def flush_soon(self) -> None:
        """Flush in the next loop iteration."""

    def owe_ack(self) -> None:
        """Tell the peer soon what has come, and what it may send."""


class _Host(Protocol):
    """The host, for both directions of a link."""

    @property
    def codec(self) -> Codec:
        """Encodes and decodes messages."""

    @property
    def large_values(self) -> LargeValueStore:
        """The store for bodies that are too large for a frame."""

    @property
    def dead_letters(self) -> DeadLetters:
        """The messages that no handler got."""

    @property
    def limits(self) -> Limits:
        """The limits of frames, messages and backlogs."""

    def now(self) -> float:
        """The time of its event loop, in seconds."""


class OutboxHost(_Host, Protocol):
    """The host, for an outbox."""


class ReceiverHost(_Host, Protocol):
    """The host, for the receiver of a link."""

    @property
    def slot(self) -> int:
        """Its place in the cluster."""

    @property
    def name(self) -> str:
        """Its name in errors."""

    @property
    def contracts(self) -> ContractRegistry:
        """The contracts that it knows."""

    @property
    def cells(self) -> Mapping[int, Recipient]:
        """The recipients on this host, by number."""

    @property
    def pending(self) -> Mapping[int, Call]:
        """Asks to other hosts that wait for their outcome."""

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines of asks, including those from other hosts."""

    def arm_deadlines(self) -> None:
        """Set the timer: the next deadline has changed."""

    def suspect(self, ask: Ask) -> None:
        """An ask from a link waits for its actor: it may be part of a circle."""

    def take_search(self, correlation: int, body: bytes) -> bool:
        """A search for asks in a circle has come; False when it does not decode."""

    def should_bounce(self, error: CallboardError) -> TypeGuard[AskError]:
        """Whether an ask that fails so goes back to its sender, to wait there for its actor."""

    def run_task(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in the background."""


class LinkHost(OutboxHost, ReceiverHost, Protocol):
    """The host, for a link and its parts."""

    @property
    def epoch(self) -> int:
        """Which incarnation of its slot the host is."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Its event loop."""

    def receive(self, data: bytes, references: Sequence[Any] = ()) -> object:
        """Take a frame that came as the answer to one of this link."""

    def link_connected(self) -> None:
        """A link has connected to a new incarnation."""

    def link_opened(self, slot: int, epoch: int) -> None:
        """The link to that incarnation takes requests."""

    def link_lost(self, slot: int, epoch: int, error: CallboardError) -> None:
        """That incarnation is lost, with all frames under way."""

    def link_closed(self, slot: int, error: CallboardError) -> None:
        """The slot has ended for good."""
