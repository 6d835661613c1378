"""What reads behind a log: the port, and a log that another process writes.

A `Journal` is an `EventLog` as it stands. `FollowedLog` makes one of a store whose writer is
somewhere else: it looks at the head at a named interval while anybody listens.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from callboard.messages.events import Appended, EventStore, NewEvent, RecordedEvent

__all__ = ["POLL_S", "AppendLog", "Blocking", "EventLog", "FollowedLog"]

LOGGER: Final = logging.getLogger("callboard.events")
ReturnT = TypeVar("ReturnT")
Told = Callable[[int], None]

POLL_S: Final = 0.05
"""How often the head of a log is looked at that another process writes."""
POLL_RETRY_MAX_S: Final = 5.0
READERS: Final = 4


class EventLog(Protocol):
    """A log that can be read and that tells of new events. See `Journal` and `EventStore`."""

    @property
    def head(self) -> int:
        """The position of the last event that is known of."""

    async def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """See `EventStore.read`."""

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore.read_stream`."""

    def on_commit(self, listener: Told) -> Callable[[], None]:
        """Call `listener` on the loop with each new head; gives what ends that."""


class AppendLog(EventLog, Protocol):
    """A log that can be appended to as well."""

    async def append(
        self, stream: str, events: Sequence[NewEvent], expected: int = ..., *, follows: bytes = ...
    ) -> Appended:
        """See `Journal.append`."""


class Blocking:
    """Threads for calls that block: those of stores. Belongs to one event loop."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._threads = concurrent.futures.ThreadPoolExecutor(threads, f"callboard-{name}")

    async def call(self, function: Callable[..., ReturnT], *args: Any) -> ReturnT:
        """Run the function in a thread. Being cancelled does not end the call."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def close(self) -> None:
        """Take no more calls; those under way come to their end by themselves."""
        self._threads.shutdown(wait=False)


class FollowedLog:
    """A log beside its writer: reads the store, and polls its head every `poll_s`.

    Only somebody who listens costs polls. Being without the store for a while ends nothing:
    `failures` counts the polls that failed, and the next one comes later and later, up to 5 s.
    """

    def __init__(self, store: EventStore, *, poll_s: float = POLL_S) -> None:
        self.store: Final = store
        self.failures = 0
        self._poll_s = poll_s
        self._head = 0
        self._blocking = Blocking("follow", READERS)
        self._listeners: dict[int, Told] = {}
        self._number = 0
        self._polling: asyncio.Task[None] | None = None

    @property
    def head(self) -> int:
        """The head as of the last poll."""
        return self._head

    async def open(self) -> None:
        """Look at the head for the first time; raises what the store raises."""
        await self._blocking.call(self.store.open)
        self._head = await self._blocking.call(self.store.head)

    async def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """See `EventStore.read`."""
        return await self._blocking.call(lambda: self.store.read(after, limit, kinds=kinds))

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore.read_stream`."""
        return await self._blocking.call(
            lambda: self.store.read_stream(stream, after=after, limit=limit, backwards=backwards)
        )

    def on_commit(self, listener: Told) -> Callable[[], None]:
        """Call `listener` on the loop when a poll finds a new head; gives what ends that."""
        self._number = number = self._number + 1
        self._listeners[number] = listener
        if self._polling is None or self._polling.done():
            self._polling = asyncio.get_running_loop().create_task(self._poll())

        def end() -> None:
            self._listeners.pop(number, None)

        return end

    async def _poll(self) -> None:
        wait_s = self._poll_s
        while self._listeners:
            await asyncio.sleep(wait_s)
            try:
                head = await self._blocking.call(self.store.head)
            except Exception as error:  # noqa: BLE001 - whatever it was, the polls go on
                self.failures += 1
                wait_s = min(POLL_RETRY_MAX_S, 2 * wait_s)
                LOGGER.warning("The head of %s cannot be read: %s", self.store.name, error)
                continue
            wait_s = self._poll_s
            if head > self._head:
                self._head = head
                for listener in tuple(self._listeners.values()):
                    listener(head)

    async def close(self) -> None:
        """End the polls; the store is its owner's to close."""
        self._listeners.clear()
        if self._polling is not None:
            self._polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._polling
        self._blocking.close()
