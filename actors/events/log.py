"""The ports of logs, and a log with its writer in another process.

A `Journal` is an `EventLog`. `FollowedLog` makes one of a store with its writer in another
process: it polls the head while it has listeners.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, Self

from callboard.messages.control.spec import Backoff
from callboard.messages.storage.events import Appended, EventStore, NewEvent, RecordedEvent

from ..journal.position import FollowedPosition, Listener
from ..journal.stored import StoredLog

__all__ = ["POLL_S", "AppendLog", "EventLog", "FollowedLog"]

POLL_S: Final = 0.05
"""The time between two polls of a followed log's head, in seconds."""
POLL_RETRY_MAX_S: Final = 5.0


class EventLog(Protocol):
    """A log to read and to listen to. See `Journal` and `EventStore`."""

    @property
    def head(self) -> int:
        """The position of the last known event."""

    async def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """See `EventStore.read`."""

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore.read_stream`."""

    def on_commit(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on the loop with each new head; call the result to end that."""


class AppendLog(EventLog, Protocol):
    """A log to read and to append to."""

    async def append(
        self, stream: str, events: Sequence[NewEvent], expected: int = ..., *, follows: bytes = ...
    ) -> Appended:
        """See `Journal.append`."""


class FollowedLog(StoredLog):
    """A log with its writer in another process: reads the store, and polls its head.

    While it has listeners, it polls every `poll_s` seconds. A poll that fails is counted in
    `failures` and retried after a growing wait of up to 5 s.
    """

    def __init__(self, store: EventStore, *, poll_s: float = POLL_S) -> None:
        first_s = min(2 * poll_s, POLL_RETRY_MAX_S)
        self._end = FollowedPosition(
            lambda _after: self.call(store.head),
            name=store.name,
            every_s=poll_s,
            backoff=Backoff(min_s=first_s, max_s=POLL_RETRY_MAX_S),
        )
        super().__init__(store, self._end, "follow")

    @property
    def failures(self) -> int:
        """The number of polls that failed."""
        return self._end.failures

    async def open(self) -> None:
        """Open the store and read its head. Raises what the store raises."""
        await self.call(self.store.open)
        self.position.move(await self.call(self.store.head))

    async def close(self) -> None:
        """End the polls, at once. The owner of the store closes the store."""
        await self._end.close()
        self._readers.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()
