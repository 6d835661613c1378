"""What the parts of a link need of their host, and of each other."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeGuard

from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry
from callboard.messages.core.errors import AskError, CallboardError
from callboard.messages.core.limits import Limits
from callboard.messages.ports import LargeValueStore

from ..asks import Call
from ..dead_letters import DeadLetters
from ..deadlines import Deadlines
from ..flow_key import FlowKey

__all__ = ["FrameSender", "LinkHost", "OutboxHost", "ReceiverHost", "Recipient"]


class Recipient(Protocol):
    """What has an address on this host: a cell."""

    @property
    def id(self) -> int:
        """Its number on this host."""

    @property
    def path(self) -> str:
        """Where it is in the tree of its host."""

    def arrive(self, item: Any) -> bool:
        """Take a message or an `Ask`; True when its mailbox is over its limit now.

        Raises `MailboxFull` when it refuses a message.
        """

    def flow_key_of(self, message: Contract) -> FlowKey:
        """Which of its messages have to wait when there is no room for this one."""

    def when_room(self, message: Contract, callback: Callable[[], None]) -> None:
        """Call `callback` once, when there is room for such a message."""


class FrameSender(Protocol):
    """What sends the frames that an outbox fills: its link."""

    flush_is_scheduled: bool
    """Whether frames leave in the next loop iteration anyway."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a process behind the slot."""

    def flush(self) -> None:
        """Send as many frames as may be under way."""

    def flush_soon(self) -> None:
        """Do the same in the next loop iteration."""


class _Host(Protocol):
    """What both directions need."""

    @property
    def codec(self) -> Codec:
        """Its messages as bytes, and back."""

    @property
    def large_values(self) -> LargeValueStore:
        """Where bodies go that are too large for a frame."""

    @property
    def dead_letters(self) -> DeadLetters:
        """Where messages end that reach nobody."""

    def now(self) -> float:
        """The time of its event loop, in seconds."""


class OutboxHost(_Host, Protocol):
    """What an outbox needs of its host."""

    @property
    def limits(self) -> Limits:
        """How large a frame, a message and a backlog may be."""


class ReceiverHost(_Host, Protocol):
    """What a host lends to the receiver of a link."""

    @property
    def slot(self) -> int:
        """Its place in the cluster."""

    @property
    def name(self) -> str:
        """How errors call it."""

    @property
    def contracts(self) -> ContractRegistry:
        """The contracts that it knows."""

    @property
    def cells(self) -> Mapping[int, Recipient]:
        """Who has an address here."""

    @property
    def pending(self) -> Mapping[int, Call]:
        """Asks to other hosts that wait for their outcome."""

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines of asks, also of those from elsewhere."""

    def arm_deadlines(self) -> None:
        """Set the timer: a deadline has become the next one."""

    def should_bounce(self, error: CallboardError) -> TypeGuard[AskError]:
        """Whether an ask that fails so goes back to its sender, to wait for its actor there."""

    def run_task(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run something in the background."""


class LinkHost(OutboxHost, ReceiverHost, Protocol):
    """What a link needs of its host, for itself and its parts."""

    @property
    def epoch(self) -> int:
        """Which incarnation of its slot the host is."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that everything of a host runs on."""

    def receive(self, data: bytes, references: Sequence[Any] = ()) -> object:
        """Take a frame that came as the answer to one of this link's."""

    def link_connected(self) -> None:
        """A link has learnt of a new incarnation."""

    def link_opened(self, slot: int, epoch: int) -> None:
        """The actors of that incarnation can be reached."""

    def link_lost(self, slot: int, epoch: int, error: CallboardError) -> None:
        """That incarnation is gone, and with it what was under way."""

    def link_closed(self, slot: int, error: CallboardError) -> None:
        """The slot is gone for good."""
