"""Events as a log keeps them: appends, recorded events, and the port of a store.

A log is a list of events with positions from 1 on, without gaps, in the order of their commits.
Each event belongs to one stream and has a version there, also from 1 on and without gaps.
`data` and `metadata` are bytes that a store does not interpret.

An append states the version that it expects of its stream:

| `expected` | the append succeeds when |
|---|---|
| `ANY` | always |
| `NO_STREAM`, which is 0 | the stream has no event |
| n | the stream's last event has the version n |

An append may also name the event that it `follows`, whatever it expects: then it succeeds only
when this event is the last one of the stream. So a writer that does not wait for the outcome of
its last append names the last event of that append. If that append is refused, all later ones are
refused too, even if another writer has appended the same number of events meanwhile.

An append is idempotent by the ids of its events, whatever it expects: if the stream already has
exactly these events, in this order, the result is their place.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from ..core.errors import CallboardError

__all__ = [
    "ANY",
    "EVENT_ID_BYTES",
    "NO_STREAM",
    "Append",
    "Appended",
    "EventStore",
    "NewEvent",
    "RecordedEvent",
    "Snapshot",
    "pages",
]

ANY: Final = -1
"""Expect any version of the stream."""

NO_STREAM: Final = 0
"""Expect that the stream has no event."""

EVENT_ID_BYTES: Final = 16


class NewEvent(NamedTuple):
    """An event to append."""

    id: bytes
    """16 bytes (a UUID) that no other event of the log has."""
    kind: str
    """The kind of the event: usually the name of a contract."""
    data: bytes
    """Its fields, encoded."""
    schema: int = 1
    """The version of the kind in `data`."""
    metadata: bytes = b""
    """Further encoded values that do not belong to the event itself."""


class Append(NamedTuple):
    """Events to append to one stream, all of them or none."""

    stream: str
    """The name of the stream."""
    events: tuple[NewEvent, ...]
    """The events, in their order."""
    expected: int = ANY
    """The expected version of the stream, `NO_STREAM`, or `ANY`."""
    follows: bytes = b""
    """The id that the stream's last event must have; empty for any."""


class Appended(NamedTuple):
    """The place of appended events in the log."""

    first: int
    """The position of the first event."""
    last: int
    """The position of the last event; all events between belong to the same append."""
    version: int
    """The version of the last event in its stream."""
    is_repeat: bool = False
    """Whether the log had these events before: the append is a repetition."""


class RecordedEvent(NamedTuple):
    """An event in the log."""

    position: int
    """Its number in the log, from 1, without gaps."""
    stream: str
    """The name of its stream."""
    version: int
    """Its number in the stream, from 1."""
    id: bytes
    """Its own id, 16 bytes."""
    kind: str
    """Its kind: usually the name of a contract."""
    schema: int
    """The version of the kind in `data`."""
    data: bytes
    """Its fields, encoded."""
    metadata: bytes
    """Further encoded values."""
    recorded_at: float
    """When it was committed, in seconds since 1970 by the writer's wall clock."""


class Snapshot(NamedTuple):
    """The state of a stream at a version. It may be dropped at any time."""

    stream: str
    version: int
    """The version of the last event that is in it."""
    schema: int
    """The version of the fold that made it; other folds do not use it."""
    data: bytes


class EventStore(Protocol):
    """A store of one log. Every method blocks: call it in a thread.

    One thread at a time calls `commit`; any number of threads call the other methods, even
    during a commit.

    Every method raises `StoreUnavailable` when the store cannot be reached or is locked (waiting
    may help), `StoreFull` when it has no room, `StoreReadOnly`, and `StoreDamaged`. It has
    changed nothing then, with the one exception that `commit` names.
    """

    @property
    def name(self) -> str:
        """The kind of the store (`sqlite`, `postgres` or `memory`) and its place, for people."""

    def open(self) -> None:
        """Make the store's tables, or upgrade those of an earlier release.

        Raises `StoreTooOld` when the upgrade needs a command, and `StoreTooNew` for a store of a
        later release.
        """

    def take_over(self, owner: str, fence: int = 0) -> int:
        """Become the one writer; gives the writer's epoch. The writer before is fenced.

        An actor gives its fencing token, and its epoch is at least that. Raises `WriterFenced`
        when the log has had a writer of a newer term: this one has been replaced.
        """

    def commit(self, appends: Sequence[Append]) -> list[Appended | CallboardError]:
        """Append in one transaction that is durable on return; gives the outcome of each append.

        A refused append (`WrongExpectedVersion`, `EventIdReused`, `EventTooLarge`) does not
        affect the others. Raises `WriterFenced` when another writer has taken over, and
        `CommitUnknown` when the outcome of the transaction is not known: appending the same
        events again is safe.
        """

    def head(self) -> int:
        """The position of the last event; 0 for an empty log."""

    def version_of(self, stream: str) -> int:
        """The version of the stream's last event; 0 when it has none."""

    def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """Events of all streams with positions above `after`, at most `limit`.

        With `kinds`, only events of these kinds.
        """

    def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """Events of one stream with versions above `after`, at most `limit`.

        With `backwards`, events with versions below `after`, the newest first; then an `after`
        of 0 starts at the end of the stream.
        """

    def streams(self, prefix: str = "", *, after: str = "", limit: int = 1_000) -> list[str]:
        """Names of streams with the prefix, sorted, those after `after`, at most `limit`."""

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Store a snapshot in place of the stream's earlier one."""

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """The stream's latest snapshot; None when it has none."""

    def drop_snapshots(self, stream: str) -> None:
        """Delete the stream's snapshots."""

    def close(self) -> None:
        """Release the store; may be called twice. Calls of other threads under way go on."""


def pages(store: EventStore, stream: str, *, size: int = 1_000) -> Iterator[list[RecordedEvent]]:
    """All events of a stream, in lists of at most `size`. Blocks, like the store."""
    after = 0
    while found := store.read_stream(stream, after=after, limit=size):
        yield found
        after = found[-1].version
