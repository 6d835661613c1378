"""A consumer of a group: an iterator over its deliveries, and their acknowledgement."""

import asyncio
from collections import deque
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from callboard.messages.core.errors import CallboardError
from callboard.messages.core.timeouts import checked_timeout

from ..codec import Event

__all__ = ["Answers", "Consumer", "Delivery"]


class Answers(Protocol):
    """Takes the acknowledgements of consumers: their group."""

    def has(self, delivery: "Delivery", /) -> bool:
        """Whether a delivery may still be acknowledged."""

    def ack(self, delivery: "Delivery", /) -> bool:
        """See `Delivery.ack`."""

    def nack(self, delivery: "Delivery", reason: str, /) -> bool:
        """See `Delivery.nack`."""

    def remove_consumer(self, name: str, /) -> None:
        """Report that a consumer is closed."""


class Delivery(NamedTuple):
    """An event for one consumer, until it acknowledges the event or the time for that is over."""

    group: Answers
    consumer: str
    event: Event
    attempt: int
    """The number of this delivery of the event, from 1."""

    def ack(self) -> bool:
        """Mark the event as done. Gives False if too late: it was delivered again, or parked."""
        return self.group.ack(self)

    def nack(self, reason: str) -> bool:
        """Give the event back: it is retried, or parked. Gives False if this is too late."""
        return self.group.nack(self, reason)


class Consumer:
    """An iterator over the deliveries of one consumer; one task may read it at a time.

    `ConsumerGroup.consumer` makes it. Events that it has not acknowledged when it is closed go
    to other consumers, and count as failed attempts.
    """

    def __init__(self, group: Answers, name: str) -> None:
        self.name = name
        self._group = group
        self._given: deque[Delivery] = deque()
        self._changed = asyncio.Event()
        self._error: CallboardError | None = None
        self._is_closed = False

    def give(self, delivery: Delivery) -> None:
        """Add a delivery; called by the group."""
        while self._given and not self._group.has(self._given[0]):
            self._given.popleft()
        self._given.append(delivery)
        self._changed.set()

    def end(self, error: CallboardError) -> None:
        """Report that the group has stopped; called by the group."""
        self._error = error
        self._changed.set()

    async def next(self, timeout_s: float | None = None) -> Delivery | None:
        """The next delivery; None when the consumer is closed or `timeout_s` seconds have passed.

        Skips deliveries whose time for the acknowledgement has passed here. Raises the error
        that stopped the group, if it has stopped, and `UsageError` for a timeout of 0 or below.
        """
        if timeout_s is not None:
            checked_timeout(timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                while not self._is_closed:
                    if self._error is not None:
                        raise self._error
                    while self._given:
                        delivery = self._given.popleft()
                        if self._group.has(delivery):
                            return delivery
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        found = await self.next()
        if found is None:
            raise StopAsyncIteration
        return found

    def close(self) -> None:
        """Take no more deliveries. May be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._changed.set()
            self._group.remove_consumer(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
