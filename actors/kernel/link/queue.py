"""Rows: the messages of one link that cannot be written yet, in order. Pure."""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callboard.messages.core.contract import Contract

from ..asks import Call

if TYPE_CHECKING:
    import asyncio

__all__ = ["MessageQueue", "OutgoingMessage"]

SWEEP_MIN: Final = 1_024
"""A row of so many is looked through for what has expired."""


@dataclass(slots=True, eq=False)
class OutgoingMessage:
    """A TELL or an ASK to another host, made once by whoever sends it."""

    target: int
    """The cell that it is for."""
    message: Contract
    call: Call | None = None
    """The asker's side of an ASK; None for a TELL."""
    deadline_s: float = 0.0
    """When the ASK ends, on this host's clock."""
    departure: "asyncio.Future[None] | None" = None
    """Of a TELL whose sender waits for room: done once the message has left."""

    @property
    def is_limited(self) -> bool:
        """Whether nobody waits for it, so that only a limit bounds how many there are."""
        return self.call is None and self.departure is None

    @property
    def is_abandoned(self) -> bool:
        """Whether its deadline has passed, or its sender gave up."""
        waiter = self.departure if self.call is None else self.call
        return waiter is not None and waiter.done()


class MessageQueue(deque[OutgoingMessage]):
    """Messages that wait, in order. What has expired is swept out before it piles up."""

    __slots__ = ("_sweep_at", "tells")

    def __init__(self) -> None:
        super().__init__()
        self._sweep_at = SWEEP_MIN
        self.tells = 0
        """How many have nobody who waits for them, so that only a limit bounds them."""

    def put(self, item: OutgoingMessage) -> None:
        """Add a message behind the others."""
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
