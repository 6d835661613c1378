"""What reads behind a log: the port, and a log that another process writes.

A `Journal` is an `EventLog` as it stands. `FollowedLog` makes one of a store whose writer is
somewhere else: it looks at the head at a named interval while anybody listens.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, Self

from callboard.messages.control.spec import Backoff
from callboard.messages.storage.events import Appended, EventStore, NewEvent, RecordedEvent

from ..journal.position import FollowedPosition, Listener
from ..journal.stored import StoredLog

__all__ = ["POLL_S", "AppendLog", "EventLog", "FollowedLog"]

POLL_S: Final = 0.05
"""How often the head of a log is looked at that another process writes."""
POLL_RETRY_MAX_S: Final = 5.0


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

    def on_commit(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on the loop with each new head; gives what ends that."""


class AppendLog(EventLog, Protocol):
    """A log that can be appended to as well."""

    async def append(
        self, stream: str, events: Sequence[NewEvent], expected: int = ..., *, follows: bytes = ...
    ) -> Appended:
        """See `Journal.append`."""


class FollowedLog(StoredLog):
    """A log beside its writer: reads the store, and polls its head every `poll_s`.

    Only somebody who listens costs polls. Being without the store for a while ends nothing:
    `failures` counts the polls that failed, and the next one comes later and later, up to 5 s.
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
        """Polls that failed."""
        return self._end.failures

    async def open(self) -> None:
        """Look at the head for the first time; raises what the store raises."""
        await self.call(self.store.open)
        self.position.move(await self.call(self.store.head))

    async def close(self) -> None:
        """End the polls, at once; the store is its owner's to close."""
        await self._end.close()
        self._readers.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()
