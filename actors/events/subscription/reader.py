"""The reader of a log: page after page from a position on, then new events, despite failures.

Subscriptions, groups of consumers, projectors and the feed of states read logs by a `LogReader`.
Nothing is pushed: a reader fetches the next page when its user has taken the last one. So a slow
reader costs one page of memory and slows no other reader down.

A log's `Follower` holds the tail that live readers share: one read of each commit serves all of
them. A reader that is too slow for the tail reads from the store again. A follower without a tail
(`tail_events=0`) keeps nothing in memory: each page is one read.
"""

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from callboard.messages.core.errors import AskError, CallboardError, StoreFailed
from callboard.messages.storage.errors import StoreUnavailable
from callboard.messages.storage.events import RecordedEvent

from ...journal.position import Position
from ..log import EventLog
from .core import Filter, Page, SubscriptionCore, Tail

__all__ = ["Follower", "LogReader", "SubscriptionLimits"]

LOGGER: Final = logging.getLogger("callboard.events")
ReturnT = TypeVar("ReturnT")


@dataclass(frozen=True, slots=True)
class SubscriptionLimits:
    """The limits of readers and followers; times in seconds."""

    page_events: int = 1_000
    """The most events of one page, which a subscription holds for its reader."""
    tail_events: int = 10_000
    """The most events in the tail of a `Follower`; 0 for no tail."""
    read_timeout_s: float = 30.0
    """A longer read counts as a failure of the store, and is retried."""
    idle_s: float | None = 1.0
    """The longest wait for the notification of a commit before a live reader reads the head
    itself; None for no limit."""


class Follower:
    """The state that readers of one log share: the tail, and the notifications of commits."""

    def __init__(self, log: EventLog, limits: SubscriptionLimits | None = None) -> None:
        self.log: Final = log
        self.limits: Final = limits or SubscriptionLimits()
        self.news: Final = Position(log.head)
        """The log's head, by the notifications of its commits."""
        self.is_closed = False
        self._tail = Tail(self.limits.tail_events)
        self._filling = asyncio.Lock()
        self._open: weakref.WeakSet[LogReader] = weakref.WeakSet()
        self._end = log.on_commit(self.news.move)

    async def tail_page(self, seen: int, size: int, taken: Filter) -> Page | None:
        """The page after `seen`, after one read at most; None when the tail does not have it.

        Raises what `read` raises.
        """
        tail, head = self._tail, self.log.head
        if not tail.covers(seen) and self._is_near(seen, head):
            async with self._filling:
                if not tail.covers(seen):
                    tail.begin(seen)
        if not tail.covers(seen):
            return None
        test = taken.test()
        page = tail.page(seen, size, test)
        if page.events or tail.end >= self.log.head:
            return page
        end = tail.end
        async with self._filling:
            if tail.end == end:
                # No other reader fills the tail meanwhile.
                page_events = self.limits.page_events
                tail.add(
                    await read_in_time(
                        lambda: self.log.read(end, page_events), self.limits.read_timeout_s
                    )
                )
        return tail.page(seen, size, test) if tail.covers(seen) else None

    def _is_near(self, seen: int, head: int) -> bool:
        # A reader at most a page behind may begin a new tail, unless others use the old one.
        near = self.limits.page_events
        return head - seen <= near and (head - self._tail.end > near or seen > self._tail.end)

    def opened(self, reader: "LogReader") -> None:
        """Register a reader; called by the reader."""
        self._open.add(reader)

    def close(self) -> None:
        """Stop listening, and end all open readers. May be called twice."""
        self.is_closed = True
        self._end()
        for reader in tuple(self._open):
            reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        self.close()


class LogReader:
    """The progress of one reader in a log. One task at a time may read.

    `source` is the log, or a follower of it that readers share. For a log, the reader makes a
    follower of its own with these limits, and closes it.
    """

    def __init__(
        self,
        source: EventLog | Follower,
        taken: Filter,
        after: int,
        limits: SubscriptionLimits | None = None,
    ) -> None:
        self._is_shared = isinstance(source, Follower)
        self.follower: Final = source if isinstance(source, Follower) else Follower(source, limits)
        self._limits = limits or self.follower.limits
        self.core = SubscriptionCore(taken, after)
        self._closed = asyncio.Event()
        self._reading: asyncio.Task[Any] | None = None
        self.follower.opened(self)

    @property
    def is_closed(self) -> bool:
        """Whether it, or its follower, is closed."""
        return self._closed.is_set() or self.follower.is_closed

    @property
    def is_behind(self) -> bool:
        """Whether the log has events that it has not seen."""
        return self.follower.log.head > self.core.seen

    def restart(self, after: int) -> None:
        """Continue at another position."""
        self.core = SubscriptionCore(self.core.filter, after)

    async def next_page(self) -> Page:
        """The next page; without events when the log has none for it.

        Raises `StoreDamaged`, and `StoreUnavailable` for a failure that may pass: the store or
        the log actor does not answer, the read takes too long, or the reader is closed.
        """
        core, size = self.core, self._limits.page_events
        head = self.follower.log.head
        if core.seen >= head:
            return Page([], core.seen)
        if self.follower.limits.tail_events:
            in_tail = self.follower.tail_page(core.seen, size, core.filter)
            page = await self._until_closed(in_tail)
            core.follow(is_in_tail=page is not None)
            if page is not None:
                return Page(core.take_tail(page), core.seen)
        found = await self._until_closed(read_in_time(self._read, self._limits.read_timeout_s))
        return Page(core.take_read(found, head), core.seen)

    def _read(self) -> Awaitable[list[RecordedEvent]]:
        core, log, size = self.core, self.follower.log, self._limits.page_events
        if core.filter.stream is not None:
            return log.read_stream(core.filter.stream, after=core.version, limit=size)
        return log.read(core.seen, size, kinds=core.filter.kinds)

    async def _until_closed(self, call: Coroutine[Any, Any, ReturnT]) -> ReturnT:
        # A task of its own, which `close` can end: the log may be an actor that is silent.
        # Its result is processed out here, so a cancelled caller has seen nothing of it.
        task = asyncio.ensure_future(call)
        self._reading = task
        if self.is_closed:
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            if task.done() and not task.cancelled():
                task.exception()  # No other code retrieves it.
            waiting = asyncio.current_task()
            if not self.is_closed or (waiting is not None and waiting.cancelling()):
                raise
            raise StoreUnavailable("the reader of the log is closed.") from None
        finally:
            self._reading = None

    async def wait(self) -> None:
        """Wait for a commit that it has not seen, for its `close`, or for `idle_s` at most."""
        if not self.is_closed and not self.is_behind:
            await self.follower.news.wait(self.core.seen + 1, self._limits.idle_s)

    def wake(self) -> None:
        """End a `wait`; other readers of the log check its head, and wait again."""
        self.follower.news.wake()

    async def back_off(self, error: CallboardError) -> None:
        """Wait after a failure; each failure in a row makes the wait longer."""
        if not self.is_closed:
            wait_s = self.core.note_failure()
            LOGGER.warning("A read of a log failed, retrying in %.1f s: %s", wait_s, error)
            await self.pause(wait_s)

    async def pause(self, wait_s: float) -> None:
        """Wait `wait_s` seconds, whatever is committed, or until `close`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._closed.wait()

    def close(self) -> None:
        """End the reader and all its waits. May be called twice."""
        self._closed.set()
        if self._reading is not None:
            self._reading.cancel()
        self.wake()
        if not self._is_shared and not self.follower.is_closed:
            self.follower.close()


async def read_in_time(
    read: Callable[[], Awaitable[list[RecordedEvent]]], timeout_s: float
) -> list[RecordedEvent]:
    """One read of a log. Raises `StoreUnavailable` if a retry may help, and `StoreFailed`."""
    try:
        async with asyncio.timeout(timeout_s):
            return await read()
    except TimeoutError:
        raise StoreUnavailable(
            f"a read of the log took longer than {timeout_s} s.",
            advice="Check the load of the store; the read is retried.",
        ) from None
    except StoreFailed:
        raise
    except AskError as error:
        # A log that is an actor: it may be restarting on another host.
        raise StoreUnavailable(f"the log does not answer: {error.message}") from error
