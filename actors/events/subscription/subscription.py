"""Subscriptions to a log: asynchronous iterators over its past and future events.

A subscription stores no position: its reader must remember `after`. Delivery is exactly once
within one subscription, and at least once across restarts of the reader.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from callboard.messages.core.errors import CallboardError, DeadlineExceeded, UsageError
from callboard.messages.core.timeouts import checked_timeout
from callboard.messages.storage.errors import StoreUnavailable
from callboard.messages.storage.events import RecordedEvent

from ..codec import Event, EventCodec
from ..log import EventLog
from .core import Filter, Mode
from .reader import Follower, LogReader

__all__ = ["Subscription", "SubscriptionStatistics"]


@dataclass(frozen=True, slots=True)
class SubscriptionStatistics:
    """The figures of a subscription."""

    mode: Mode
    """Where it reads: the store, or the tail that live subscriptions share."""
    seen: int
    """All events up to this position were read."""
    head: int
    """The position of the log's last event, as far as is known."""
    lag_positions: int
    """The number of positions in the log that were not read yet."""
    buffered: int
    """Events that were read and that the reader has not taken."""
    delivered: int
    """Events that the reader has taken."""
    fallbacks: int
    """How often it fell behind the shared tail and read the store again."""
    failures: int
    """Failures of the store that were waited out."""


class Subscription:
    """The events of a log after `after`, past and future, in their order.

    It covers the whole log, one `stream`, or some `kinds`. `after` is a position of the log, or a
    version of the stream. `source` is the log, or a `Follower` of it: subscriptions that share a
    follower, and are up to date, read each commit once.

    The iteration ends when the subscription (or its follower) is closed. It raises
    `UnknownEvent` and `EventUnreadable` by the codec's policy, after all earlier events, and
    again at each further read; and `StoreDamaged`. While the store or the log actor does not
    answer, it retries after a back-off. One task may read at a time.
    """

    def __init__(
        self,
        source: EventLog | Follower,
        codec: EventCodec,
        *,
        after: int = 0,
        stream: str | None = None,
        kinds: Sequence[str] | None = None,
    ) -> None:
        taken = Filter(stream, None if kinds is None else tuple(kinds))
        self._reader = LogReader(source, taken, after)
        self._codec = codec
        self._buffer: deque[RecordedEvent] = deque()
        self._reading = False

    @property
    def position(self) -> int:
        """All events up to this position were delivered."""
        return self._buffer[0].position - 1 if self._buffer else self._reader.core.seen

    async def next_page(self, timeout_s: float | None = None) -> list[Event]:
        """The next events, at least one; none when it is closed, or after `timeout_s` seconds."""
        ends_s = _ends_s(timeout_s)
        while not self._reader.is_closed:
            if not self._buffer and not await self._fill(ends_s):
                return []
            found = self._take()
            if found:
                return found
        return []

    def _take(self) -> list[Event]:
        """The buffered events, up to one that does not decode, which stays in the buffer."""
        found: list[Event] = []
        while self._buffer:
            try:
                event = self._codec.decode(self._buffer[0])
            except CallboardError:
                if found:
                    break
                raise
            self._buffer.popleft()
            if event is not None:
                found.append(event)
        return found

    async def next(self, timeout_s: float) -> Event:
        """The next event.

        Raises `DeadlineExceeded` after `timeout_s` seconds, and `UsageError` when the
        subscription is closed.
        """
        event = await self._next(_ends_s(timeout_s))
        if event is None and self._reader.is_closed:
            raise UsageError("the subscription is closed.", advice="Make a new one.")
        if event is None:
            raise DeadlineExceeded(f"no event arrived within {timeout_s} s.")
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._next(None)
        if event is None:
            raise StopAsyncIteration
        return event

    async def _next(self, ends_s: float | None) -> Event | None:
        """The next event; None when the subscription is closed, or the time is over."""
        while not self._reader.is_closed and (self._buffer or await self._fill(ends_s)):
            event = self._codec.decode(self._buffer[0])
            self._buffer.popleft()
            if event is not None:
                return event
        return None

    async def _fill(self, ends_s: float | None) -> bool:
        """Fill the buffer; False when the subscription is closed, or the time is over."""
        if self._reading:
            raise UsageError(
                "two tasks read one subscription at the same time.",
                advice="Make a subscription for each task.",
            )
        self._reading = True
        try:
            async with asyncio.timeout_at(ends_s):
                while not self._buffer and not self._reader.is_closed:
                    await self._step()
        except TimeoutError:
            return False
        finally:
            self._reading = False
        return bool(self._buffer)

    async def _step(self) -> None:
        reader = self._reader
        try:
            page = await reader.next_page()
        except StoreUnavailable as error:
            await reader.back_off(error)
            return
        self._buffer.extend(page.events)
        if not page.events:
            await reader.wait()

    def statistics(self) -> SubscriptionStatistics:
        """The subscription's figures now."""
        core, head = self._reader.core, self._reader.follower.log.head
        return SubscriptionStatistics(
            core.mode,
            core.seen,
            head,
            max(0, head - core.seen),
            len(self._buffer),
            core.delivered - len(self._buffer),
            core.fallbacks,
            core.failures,
        )

    def close(self) -> None:
        """End the iteration; buffered events are dropped. May be called twice."""
        self._reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        self.close()


def _ends_s(timeout_s: float | None) -> float | None:
    if timeout_s is None:
        return None
    return asyncio.get_running_loop().time() + checked_timeout(timeout_s)
