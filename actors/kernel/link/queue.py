"""Message queues: the messages of one link that cannot be written yet, in order. Pure."""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callboard.messages.core.contract import Contract

from ..asks import Call

if TYPE_CHECKING:
    import asyncio

__all__ = ["MessageQueue", "OutgoingMessage"]

SWEEP_MIN: Final = 1_024
"""A queue of so many messages is swept of expired ones."""


@dataclass(slots=True, eq=False)
class OutgoingMessage:
    """A TELL or an ASK to another host."""

    target: int
    """The number of its cell."""
    message: Contract
    call: Call | None = None
    """The asker's side of an ASK; None for a TELL."""
    deadline_s: float = 0.0
    """The deadline of the ASK, on this host's clock."""
    departure: "asyncio.Future[None] | None" = None
    """For a TELL whose sender waits for room: done once the message has left."""

    @property
    def is_limited(self) -> bool:
        """Whether no sender waits for it, so that only a limit bounds their number."""
        return self.call is None and self.departure is None

    @property
    def is_abandoned(self) -> bool:
        """Whether its deadline has passed, or its sender gave up."""
        waiter = self.departure if self.call is None else self.call
        return waiter is not None and waiter.done()


class MessageQueue(deque[OutgoingMessage]):
    """Waiting messages, in order. Expired ones are swept out before they pile up."""

    __slots__ = ("_sweep_at", "tells")

    def __init__(self) -> None:
        super().__init__()
        self._sweep_at = SWEEP_MIN
        self.tells = 0
        """How many of them no sender waits for."""

    def put(self, item: OutgoingMessage) -> None:
        """Add a message after the others."""
        self.append(item)
        if item.is_limited:
            self.tells += 1
        elif len(self) >= self._sweep_at:
            living = [old for old in self if not old.is_abandoned]
            self.clear()
            self.extend(living)
            self._sweep_at = max(SWEEP_MIN, 2 * len(living))

    def take(self) -> OutgoingMessage:
        """The message that has waited longest."""
        item = self.popleft()
        if item.is_limited:
            self.tells -= 1
        return item

    def put_first(self, queue: "MessageQueue") -> None:
        """Add messages before the others, in their order."""
        self.extendleft(reversed(queue))
        self.tells += queue.tells
