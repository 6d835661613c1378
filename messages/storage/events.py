"""Events as a log keeps them: what is appended, what is read, and the port of a store.

A log is a list of events with gapless positions from 1 on, in the order of their commits. Each
event belongs to one stream, where it has a version: the first one 1, and so on without a gap.
`data` and `metadata` are bytes: a store never looks into them.

What is expected of a stream when something is appended to it:

| `expected` | the append succeeds when |
|---|---|
| `ANY` | always |
| `NO_STREAM`, which is 0 | the stream has no event |
| n | the stream's last event has the version n |

An append may also name the event that it `follows`, whatever it expects: then it succeeds only
when this is the stream's last one. So who appends on before the append before has its outcome
names the last event of that one: when it is refused, everything behind it is refused too, even if
somebody else has appended meanwhile as many events as were refused.

An append is idempotent by the ids of its events, whatever it expects: when exactly these
events stand in the stream already, in this order, the answer is where they stand.
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
"""Whatever the stream holds."""

NO_STREAM: Final = 0
"""The stream has no event."""

EVENT_ID_BYTES: Final = 16


class NewEvent(NamedTuple):
    """An event that is to be appended."""

    id: bytes
    """16 bytes (a UUID) that no other event of the log has."""
    kind: str
    """The name of what has happened: a contract's name, usually."""
    data: bytes
    schema: int = 1
    """The version of the kind that `data` has."""
    metadata: bytes = b""


class Append(NamedTuple):
    """Events that are appended to one stream together, or not at all."""

    stream: str
    events: tuple[NewEvent, ...]
    expected: int = ANY
    follows: bytes = b""
    """The id of the event that must be the stream's last one; empty: whichever is."""


class Appended(NamedTuple):
    """Where the events of an append stand."""

    first: int
    """The position of the first of them in the log."""
    last: int
    """The position of the last of them; what lies between belongs to the same append."""
    version: int
    """The version that the last of them has in its stream."""
    is_repeat: bool = False
    """Whether they stood there before: the append came a second time."""


class RecordedEvent(NamedTuple):
    """An event of the log."""

    position: int
    stream: str
    version: int
    id: bytes
    kind: str
    schema: int
    data: bytes
    metadata: bytes
    recorded_at: float
    """When it was committed, by the writer's wall clock: seconds since 1970."""


class Snapshot(NamedTuple):
    """What the events of a stream amount to, up to a version. It may be thrown away."""

    stream: str
    version: int
    """The version of the last event that is in it."""
    schema: int
    """The version of the fold that made it; another one's is not used."""
    data: bytes


class EventStore(Protocol):
    """Keeps one log. Every method blocks: it is called in a thread.

    `commit` is called by one thread at a time; all others by any number, also beside it.

    Raises, everywhere: `StoreUnavailable` when it cannot be reached or is locked by others
    (waiting may help), `StoreFull` when there is no room, `StoreReadOnly`, `StoreDamaged`.
    None of them has changed anything, with the one exception that `commit` names.
    """

    @property
    def name(self) -> str:
        """What it is, for people: `sqlite`, `postgres` or `memory`, and where."""

    def open(self) -> None:
        """Make its tables, or bring those of an earlier release forward.

        Raises `StoreTooOld` when that needs a command, `StoreTooNew` for a later release's.
        """

    def take_over(self, owner: str) -> int:
        """Become its one writer; gives the writer's epoch. Whoever was it before is fenced."""

    def commit(self, appends: Sequence[Append]) -> list[Appended | CallboardError]:
        """Append all that can be, in one transaction that is durable on return.

        An append that is refused (`WrongExpectedVersion`, `EventIdReused`, `EventTooLarge`)
        does not touch the others. Raises `WriterFenced` when somebody else has taken over,
        and `CommitUnknown` when it cannot be known whether the transaction was committed:
        appending the same events again is safe.
        """

    def head(self) -> int:
        """The position of the last event; 0 for an empty log."""

    def version_of(self, stream: str) -> int:
        """The version of the stream's last event; 0 when it has none."""

    def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """Events of all streams from the position behind `after` on, at most `limit`.

        With `kinds`, only those.
        """

    def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """Events of one stream behind the version `after`; backwards, those before it.

        Backwards, an `after` of 0 begins at the end.
        """

    def streams(self, prefix: str = "", *, after: str = "", limit: int = 1_000) -> list[str]:
        """Names of streams in the order of their text, behind `after`."""

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep it instead of the stream's earlier one."""

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """The stream's latest one."""

    def drop_snapshots(self, stream: str) -> None:
        """Throw the stream's snapshots away."""

    def close(self) -> None:
        """Let go of it; may be called twice."""


def pages(store: EventStore, stream: str, *, size: int = 1_000) -> Iterator[list[RecordedEvent]]:
    """All events of a stream, in lists of at most `size`. Blocks, as the store does."""
    after = 0
    while found := store.read_stream(stream, after=after, limit=size):
        yield found
        after = found[-1].version
