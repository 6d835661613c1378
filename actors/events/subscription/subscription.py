"""Subscriptions to a log: an asynchronous iterator over its events, past and to come.

Nothing is pushed: a subscription reads the page behind what it has seen when its reader has
taken the last one. So a slow reader costs one page of memory and slows down nobody; when the
tail that live subscriptions share has moved on, it reads from the store again. A log's
`Follower` holds that tail: of each commit, one read serves all that are live.

A subscription keeps no position of its own: `after` is its reader's to remember. Delivery
is exactly once within one subscription, and at least once across restarts of its reader.
"""

import asyncio
import contextlib
import logging
import weakref
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from callboard.messages.errors import (
    AskError,
    CallboardError,
    DeadlineExceeded,
    StoreFailed,
    UsageError,
)
from callboard.messages.events import RecordedEvent
from callboard.messages.storage_errors import StoreUnavailable

from ..codec import Event, EventCodec
from ..log import EventLog
from .core import Filter, Mode, Page, SubscriptionCore, Tail

__all__ = ["Follower", "Subscription", "SubscriptionLimits", "SubscriptionStatistics"]

LOGGER: Final = logging.getLogger("callboard.events")


@dataclass(frozen=True, slots=True)
class SubscriptionLimits:
    """How many, and for how long."""

    page_events: int = 1_000
    """Events of one page: what a subscription holds that its reader has not taken yet."""
    tail_events: int = 10_000
    """Events that a `Follower` holds for all that are live."""
    read_timeout_s: float = 30.0
    """A read that takes longer counts as a failure of the store, and is tried again."""
    idle_s: float = 1.0
    """How long a live subscription waits at most until it looks at the head by itself."""


@dataclass(frozen=True, slots=True)
class SubscriptionStatistics:
    """A subscription now."""

    mode: Mode
    seen: int
    """No event up to this position is still to come."""
    head: int
    lag_positions: int
    """How many positions it has not looked at yet."""
    buffered: int
    """Events that it has read and its reader has not taken."""
    delivered: int
    fallbacks: int
    failures: int


class Follower:
    """What the subscriptions of one log share: the tail, and who waits for the next commit."""

    def __init__(self, log: EventLog, limits: SubscriptionLimits | None = None) -> None:
        self.log: Final = log
        self.limits: Final = limits or SubscriptionLimits()
        self.reads = 0
        """Pages read from the store, for the tail and for those that catch up."""
        self._tail = Tail(self.limits.tail_events)
        self._filling = asyncio.Lock()
        self._waiters: set[asyncio.Future[None]] = set()
        self._open: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self._end = log.on_commit(self._committed)
        self.is_closed = False

    def _committed(self, head: int) -> None:
        self.wake()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def next_page(self, core: SubscriptionCore) -> list[RecordedEvent]:
        """What comes behind what the subscription has seen; empty when there is nothing.

        Raises `StoreUnavailable`, also for a read that takes too long, and `StoreDamaged`.
        """
        head, size = self.log.head, self.limits.page_events
        if core.seen >= head:
            return []
        if not self._tail.covers(core.seen) and self._is_near(core.seen, head):
            async with self._filling:
                if not self._tail.covers(core.seen):
                    self._tail.begin(core.seen)
        if self._tail.covers(core.seen):
            page = await self._from_tail(core)
            if page is not None:
                core.follow(is_in_tail=True)
                return core.took(page)
        core.follow(is_in_tail=False)
        taken = core.filter
        async with self._deadline():
            if taken.stream is not None:
                found = await self.log.read_stream(taken.stream, after=core.version, limit=size)
            else:
                found = await self.log.read(core.seen, size, kinds=taken.kinds)
        return core.read(found, head)

    def _is_near(self, seen: int, head: int) -> bool:
        # Whoever is a page behind may begin a new tail, unless others live on the old one.
        near = self.limits.page_events
        return head - seen <= near and (head - self._tail.end > near or seen > self._tail.end)

    async def _from_tail(self, core: SubscriptionCore) -> Page | None:
        """The page behind, after one read at most; None when the tail has moved on meanwhile."""
        test, size = core.filter.test(), self.limits.page_events
        page = self._tail.page(core.seen, size, test)
        if page.events or self._tail.end >= self.log.head:
            return page
        end = self._tail.end
        async with self._filling:
            if self._tail.end == end:
                async with self._deadline():
                    found = await self.log.read(end, size)
                self._tail.add(found)  # Nobody else moves it while this one is filling.
        return self._tail.page(core.seen, size, test) if self._tail.covers(core.seen) else None

    @contextlib.asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        self.reads += 1
        try:
            async with asyncio.timeout(self.limits.read_timeout_s):
                yield
        except TimeoutError:
            raise StoreUnavailable(
                f"a page of the log has not come within {self.limits.read_timeout_s} s.",
                advice="Look at the store's load; the read is tried again.",
            ) from None

    async def wait(self, seen: int) -> None:
        """Wait for a commit behind `seen`, or `idle_s`."""
        if self.is_closed or self.log.head > seen:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(self.limits.idle_s):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)

    def close(self) -> None:
        """Listen no more; subscriptions that are open end. May be called twice."""
        self.is_closed = True
        self._end()
        for subscription in tuple(self._open):
            subscription.close()

    def opened(self, subscription: "Subscription") -> None:
        """A subscription reads this log; called by itself."""
        self._open.add(subscription)


class Subscription:
    """The events of a log behind `after`, past and to come, in their order.

    Over everything, one `stream`, or some `kinds`. `after` is a position of the log; with a
    stream, it is a version of that stream.

    An iteration ends when the subscription (or its follower) is closed. It raises
    `UnknownEvent` and `EventUnreadable` as the codec says, behind all that comes before, and
    again when it is read on; and `StoreDamaged`. A store that is unavailable, or a log whose
    actor does not answer, is asked again after a back-off. One task may read at a time.
    """

    def __init__(
        self,
        follower: Follower,
        codec: EventCodec,
        *,
        after: int = 0,
        stream: str | None = None,
        kinds: Sequence[str] | None = None,
    ) -> None:
        taken = Filter(stream, None if kinds is None else tuple(kinds))
        self._follower = follower
        self._codec = codec
        self._core = SubscriptionCore(taken, after)
        self._buffer: deque[RecordedEvent] = deque()
        self._closed = asyncio.Event()
        self._reading = False
        follower.opened(self)

    @property
    def position(self) -> int:
        """No event up to this position is still to come out of it."""
        return self._buffer[0].position - 1 if self._buffer else self._core.seen

    async def next_page(self, timeout_s: float | None = None) -> list[Event]:
        """The next events, at least one; empty when it is closed or `timeout_s` is over."""
        ends_s = _ends_s(timeout_s)
        while not self._is_closed():
            if not self._buffer and not await self._fill(ends_s):
                return []
            found = self._take()
            if found:
                return found
        return []

    def _take(self) -> list[Event]:
        """What has been read, up to one that does not decode; that one is met again."""
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
        """The next event. Raises `DeadlineExceeded`, and `UsageError` when it is closed."""
        ends_s = _ends_s(timeout_s)
        while True:
            if not self._buffer and not await self._fill(ends_s):
                if self._is_closed():
                    raise UsageError("the subscription is closed.", advice="Open another one.")
                raise DeadlineExceeded(f"no event has come within {timeout_s} s.")
            event = self._codec.decode(self._buffer[0])
            self._buffer.popleft()
            if event is not None:
                return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._is_closed():
            if self._buffer or await self._fill(None):
                event = self._codec.decode(self._buffer[0])
                self._buffer.popleft()
                if event is not None:
                    return event
        raise StopAsyncIteration

    async def _fill(self, ends_s: float | None) -> bool:
        """Read until there is something; False when it is closed, or the time is over."""
        if self._reading:
            raise UsageError(
                "two tasks read one subscription.", advice="Open a subscription for each."
            )
        self._reading = True
        try:
            async with asyncio.timeout_at(ends_s):
                while not self._buffer and not self._is_closed():
                    await self._step()
        except TimeoutError:
            return False
        finally:
            self._reading = False
        return bool(self._buffer)

    async def _step(self) -> None:
        core, follower = self._core, self._follower
        try:
            page = await follower.next_page(core)
        except AskError as error:
            if isinstance(error, StoreFailed) and not isinstance(error, StoreUnavailable):
                raise
            wait_s = core.failed()
            LOGGER.warning("A subscription waits %.1f s for its store: %s", wait_s, error)
            await self._pause(wait_s)
            return
        self._buffer.extend(page)
        if not page and core.seen >= follower.log.head:
            await follower.wait(core.seen)

    async def _pause(self, wait_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._closed.wait()

    def _is_closed(self) -> bool:
        return self._closed.is_set() or self._follower.is_closed

    def statistics(self) -> SubscriptionStatistics:
        """How it stands now."""
        core, head = self._core, self._follower.log.head
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
        """End the iteration; what was read and not taken is left. May be called twice."""
        self._closed.set()
        # Wakes a reader that waits for a commit; for the others it is one look at the head.
        self._follower.wake()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _ends_s(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
