"""An event log in PostgreSQL.

A commit is one statement, and so one transaction and one round trip. It first raises the head in
the writer's row, if that row still holds the epoch and the head that the writer knows. The
positions of the events follow from that head. If the row holds anything else, the statement stores
nothing. This fences a replaced writer, however long it slept, and makes a late statement from a cut
connection harmless.

Why a reader never skips an event: the row stays locked until the transaction ends, so the next
transaction gets its positions only when these events are visible to everybody. A reader that sees a
position sees all earlier positions in the same statement. (A sequence would give out numbers before
their order of commit is known: a reader that has seen 8 may find 7 only later.)

No transaction stays open between two messages of the writer, so a writer that stops at any point
holds no lock.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import psycopg

from callboard.messages.core.errors import CallboardError
from callboard.messages.core.fences import TERM_SHIFT
from callboard.messages.storage.errors import CommitUnknown, StoreDamaged, WriterFenced
from callboard.messages.storage.events import NO_STREAM, Append, Appended, RecordedEvent, Snapshot

from ..rules import EVENT_BYTES_MAX, is_storable, replaced_writer
from .connections import Connections
from .core import Plan, Standing, Stream, plan_group
from .packed import big_integers, blobs, integers, texts
from .place import Durability, Place, PostgresTimeouts
from .statements import Statements, after_prefix
from .tables import check_tables, open_tables

__all__ = ["PostgresEventStore"]

READERS_MAX: Final = 4
STREAMS_KNOWN_MAX: Final = 10_000
"""Streams whose lengths the writer remembers, about 300 bytes each. Another costs one query."""
TRIES_MAX: Final = 4
"""Attempts of one commit: first with the writer's knowledge, then after queries."""
KINDS_WINDOW: Final = 50_000
"""Positions that one statement searches for some kinds."""

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class PostgresEventStore:
    """See `EventStore`. `durability` is `full`, or less (with `synchronous_commit` off).

    With `reads_only` the tables must exist. They are neither created nor migrated. With less than
    `full`, a crash of the server loses the commits of about the last second, in order; the log
    stays whole.
    """

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "full",
        timeouts: PostgresTimeouts | None = None,
        event_bytes_max: int = EVENT_BYTES_MAX,
        reads_only: bool = False,
    ) -> None:
        """Raises `SpecError` for a URL that names no place."""
        limits = timeouts or PostgresTimeouts()
        place = Place.of(url, limits)
        self.name = place.shown
        self.writing: Final = Connections(place, limits, durability, size=1)
        # A generic plan could join more streams than one page of events needs.
        self.reading: Final = Connections(
            place, limits, durability, size=READERS_MAX, plans="force_custom_plan"
        )
        self._event_bytes_max = event_bytes_max
        self._reads_only = reads_only
        self._sql = Statements(place.schema)
        self._one_writer = threading.Lock()
        self._epoch: int | None = None
        self._head: int | None = None
        self._streams: dict[str, Stream] = {}
        self._ask_first = False

    def open(self) -> None:
        """See `EventStore.open`."""
        self.writing.open_for(check_tables if self._reads_only else open_tables)
        self.reading.open()

    def close(self) -> None:
        """See `EventStore.close`."""
        self.writing.close()
        self.reading.close()

    # --- writing ---------------------------------------------------------------------------

    def take_over(self, owner: str, fence: int = 0) -> int:
        """See `EventStore.take_over`."""
        with self._one_writer:
            # A repetition fences only this writer.
            rows = self.writing.run(
                lambda connection: connection.rows(self._sql.take_over, owner, fence, TERM_SHIFT),
                "taking over",
            )
            if not rows:
                epoch, _, other = self.writing.run(
                    lambda connection: connection.rows(self._sql.writer)[0], "reading the writer"
                )
                raise replaced_writer(self.name, other, epoch, fence)
            self._epoch, self._head = int(rows[0][0]), int(rows[0][1])
            self._streams.clear()
            self._ask_first = False
            return self._epoch

    def commit(self, appends: Sequence[Append]) -> list[Appended | CallboardError]:
        """See `EventStore.commit`."""
        with self._one_writer:
            if self._epoch is None:
                raise WriterFenced(
                    f"{self.name}: this writer has never taken over.",
                    advice="Call `take_over` before the first commit.",
                    may_have_run=False,
                )
            for _ in range(TRIES_MAX):
                plan = self._plan(appends)
                if not plan.events or self._store(plan):
                    self._remember(plan)
                    return plan.outcomes
                # Another writer has committed, or the reply to an own commit was lost.
                self._forget()
        raise StoreDamaged(
            f"{self.name}: the writer's row and the events contradict each other.",
            advice="Stop all writers, and restore the database from its backup.",
            may_have_run=False,
        )

    def _plan(self, appends: Sequence[Append]) -> Plan:
        head = self._known_head()
        self._ask_for_streams(appends)
        asked: set[int] | None = set()
        standing: Mapping[bytes, Standing] = {}
        if self._ask_first:
            standing, asked = self._standing(appends), None
        while True:
            plan = plan_group(
                appends,
                head=head,
                streams=self._streams,
                standing=standing,
                asked=asked,
                event_bytes_max=self._event_bytes_max,
            )
            if not plan.doubtful or asked is None:
                return plan
            asked = asked | set(plan.doubtful)
            standing = self._standing([appends[index] for index in sorted(asked)])

    def _known_head(self) -> int:
        if self._head is None:
            epoch, head, owner = self.writing.run(
                lambda connection: connection.rows(self._sql.writer)[0], "reading the writer"
            )
            if epoch != self._epoch:
                raise self._fenced(epoch, owner)
            self._head = int(head)
        return self._head

    def _fenced(self, epoch: int, owner: str) -> WriterFenced:
        return WriterFenced(
            f"{self.name}: {owner!r} has taken over with epoch {epoch}; this writer has epoch "
            f"{self._epoch}.",
            advice="Stop this writer. Start another only if it should take over in turn.",
            may_have_run=False,
            epoch=epoch,
        )

    def _ask_for_streams(self, appends: Sequence[Append]) -> None:
        """Read the lengths of unknown streams.

        A stream that the append expects to be new needs no query: the constraint checks it.
        """
        known = self._streams
        unknown = {
            append.stream
            for append in appends
            if append.stream not in known
            and (append.expected != NO_STREAM or append.follows or self._ask_first)
        }
        if not unknown:
            return
        names = texts(filter(is_storable, unknown))
        rows = self.writing.run(
            lambda connection: connection.rows(self._sql.lengths, names), "reading streams"
        )
        known.update((name, Stream(*rest)) for name, *rest in rows)

    def _standing(self, appends: Sequence[Append]) -> dict[bytes, Standing]:
        ids = blobs([event.id for append in appends for event in append.events])
        rows = self.writing.run(
            lambda connection: connection.rows(self._sql.standing, ids), "reading ids"
        )
        return {id_: Standing(stream, version, place) for id_, stream, version, place in rows}

    def _store(self, plan: Plan) -> bool:
        """Store the events. False when the log differs from the writer's knowledge."""
        events = plan.events
        values = (
            plan.head,
            plan.head + len(events),
            self._epoch,
            big_integers(list(plan.new_streams.values())),
            texts(plan.new_streams),
            big_integers(plan.numbers),
            big_integers(plan.versions),
            blobs([event.id for event in events]),
            texts(event.kind for event in events),
            integers([event.schema for event in events]),
            blobs([event.data for event in events]),
            blobs([event.metadata for event in events]),
            time.time(),
        )
        try:
            ((count,),) = self.writing.run(
                lambda connection: connection.rows(self._sql.commit, *values),
                "a commit",
                repeatable=False,
            )
        except CommitUnknown:
            self._forget()
            raise
        except psycopg.errors.UniqueViolation:
            return False
        return bool(count)

    def _remember(self, plan: Plan) -> None:
        self._head = plan.head + len(plan.events)
        self._ask_first = False
        self._streams.update(plan.streams)
        if len(self._streams) > STREAMS_KNOWN_MAX:
            _drop_oldest(self._streams, len(self._streams) // 2)

    def _forget(self) -> None:
        self._head = None
        self._streams.clear()
        self._ask_first = True

    # --- reading ---------------------------------------------------------------------------

    def head(self) -> int:
        """See `EventStore.head`."""
        rows = self.reading.run(lambda connection: connection.rows(self._sql.writer), "head")
        return int(rows[0][1])

    def version_of(self, stream: str) -> int:
        """See `EventStore.version_of`."""
        rows = self.reading.run(
            lambda connection: connection.rows(self._sql.lengths, texts([stream])), "version_of"
        )
        return int(rows[0][2]) if rows else 0

    def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """See `EventStore.read`."""
        if limit <= 0:
            return []
        if kinds is not None:
            return self._read_kinds(after, limit, kinds)
        found = self._events(self._sql.read, after, limit)
        for position, event in enumerate(found, start=after + 1):
            if event.position != position:
                raise self._gap(f"the event at position {position} is missing")
        return found

    def _read_kinds(self, after: int, limit: int, kinds: Sequence[str]) -> list[RecordedEvent]:
        head, wanted = self.head(), texts(kinds)
        found: list[RecordedEvent] = []
        while after < head and len(found) < limit:
            until = min(after + max(limit, KINDS_WINDOW), head)
            found += self._events(self._sql.read_kinds, after, limit - len(found), until, wanted)
            after = until
        return found

    def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore.read_stream`."""
        if limit <= 0:
            return []
        if backwards:
            before = after or 2**62
            found = self._events(self._sql.read_stream_back, stream, before, limit)
            step = -1
        else:
            found = self._events(self._sql.read_stream, stream, after, limit)
            step = 1
        first = found[0].version if backwards and found else after + 1
        for number, event in enumerate(found):
            if event.version != first + step * number:
                raise self._gap(f"a version of the stream {stream!r} is missing")
        return found

    def _events(self, statement: bytes, *values: object) -> list[RecordedEvent]:
        rows = self.reading.run(
            lambda connection: connection.rows(statement, *values), "reading events"
        )
        return list(map(RecordedEvent._make, rows))

    def _gap(self, what: str) -> StoreDamaged:
        return StoreDamaged(
            f"{self.name}: {what}.",
            advice="Events are never deleted one by one: restore the database from its backup.",
            may_have_run=False,
        )

    def streams(self, prefix: str = "", *, after: str = "", limit: int = 1_000) -> list[str]:
        """See `EventStore.streams`."""
        end = after_prefix(prefix)
        rows = self.reading.run(
            lambda connection: connection.rows(self._sql.names, after, prefix, end, max(limit, 0)),
            "streams",
        )
        return [row[0] for row in rows]

    # --- snapshots -------------------------------------------------------------------------

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See `EventStore.save_snapshot`."""
        self.reading.run(
            lambda connection: connection.rows(self._sql.save_snapshot, *snapshot), "a snapshot"
        )

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """See `EventStore.load_snapshot`."""
        rows = self.reading.run(
            lambda connection: connection.rows(self._sql.load_snapshot, stream), "a snapshot"
        )
        return Snapshot._make(rows[0]) if rows else None

    def drop_snapshots(self, stream: str) -> None:
        """See `EventStore.drop_snapshots`."""
        self.reading.run(
            lambda connection: connection.rows(self._sql.drop_snapshots, stream), "snapshots"
        )


def _drop_oldest(known: dict[KeyT, ValueT], count: int) -> None:
    for key in list(known)[:count]:
        del known[key]
