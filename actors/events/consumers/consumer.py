"""One consumer of a group: an iterator over what it is given, and how it answers."""

import asyncio
from collections import deque
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from callboard.messages.core.errors import CallboardError

from ..codec import Event

__all__ = ["Answers", "Consumer", "Delivery"]


class Answers(Protocol):
    """What takes the answers of consumers: their group."""

    def has(self, delivery: "Delivery", /) -> bool:
        """Whether a delivery may still be answered."""

    def ack(self, delivery: "Delivery", /) -> bool:
        """See `Delivery.ack`."""

    def nack(self, delivery: "Delivery", reason: str, /) -> bool:
        """See `Delivery.nack`."""

    def left(self, name: str, /) -> None:
        """A consumer is gone."""


class Delivery(NamedTuple):
    """An event that this consumer has, until it answers or its time is over."""

    group: Answers
    consumer: str
    event: Event
    attempt: int
    """1 for the first time anybody gets it."""

    def ack(self) -> bool:
        """It is done. False when this comes too late: somebody else has it, or it is parked."""
        return self.group.ack(self)

    def nack(self, reason: str) -> bool:
        """It could not be done: it is tried again, or parked. False when this comes too late."""
        return self.group.nack(self, reason)


class Consumer:
    """What `ConsumerGroup.consumer` gives; one task may read it at a time.

    What it has not answered when it is closed goes to others, as a failed attempt.
    """

    def __init__(self, group: Answers, name: str) -> None:
        self.name = name
        self._group = group
        self._given: deque[Delivery] = deque()
        self._changed = asyncio.Event()
        self._error: CallboardError | None = None
        self._is_closed = False

    def give(self, delivery: Delivery) -> None:
        """The group has an event for it."""
        while self._given and not self._group.has(self._given[0]):
            self._given.popleft()
        self._given.append(delivery)
        self._changed.set()

    def end(self, error: CallboardError) -> None:
        """The group has stopped."""
        self._error = error
        self._changed.set()

    async def next(self, timeout_s: float | None = None) -> Delivery | None:
        """The next event; None when the consumer is closed or `timeout_s` is over.

        One that has waited here until its time for the ack was over is left out.
        Raises why the group has stopped, if it has.
        """
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
        """Take no more. May be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._changed.set()
            self._group.left(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
