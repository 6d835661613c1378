"""An event log in an SQLite file.

The writer knows what its last commit left (the head, and the versions of the streams it has
written), because nobody else writes while its epoch stands; the epoch is checked in the same
transaction. So a group costs one statement for some hundred events, and no query.

An id that is there already shows by its unique index: the group is rolled back and planned
again, with what the log knows about its ids.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from callboard.messages.errors import CallboardError
from callboard.messages.events import (
    ANY,
    EVENT_ID_BYTES,
    Append,
    Appended,
    RecordedEvent,
    Snapshot,
)
from callboard.messages.storage_errors import WriterFenced

from ..rules import EVENT_BYTES_MAX, check_sizes, reused_id, wrong_version
from .database import Database
from .faults import fault_of, told

__all__ = ["SqliteEventStore"]

COLUMNS: Final = 9
ROWS: Final = (1, 8, 64, 512, 3_072)
"""Events of one statement: few texts of statements, which SQLite prepares once."""
INSERTS: Final = {
    count: f"INSERT INTO events VALUES {','.join(['(?,?,?,?,?,?,?,?,?)'] * count)}"  # noqa: S608 - marks only
    for count in ROWS
}
IDS_AT_ONCE: Final = 10_000
STREAMS_KNOWN: Final = 100_000
EVENT: Final = (
    "SELECT e.position, s.name, e.version, e.id, k.name, e.schema, e.data, e.metadata, e.at "
    "FROM events e JOIN streams s ON s.id = e.stream JOIN kinds k ON k.id = e.kind "
)


Place = tuple[int, str, int]
"""Where an event of a given id stands: position, stream, version in it."""


class SqliteEventStore:
    """An `EventStore`. `event_bytes_max` bounds the data and metadata of one event.

    With `reads_only` the file must be there, and nothing of it is changed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        durability: str = "full",
        event_bytes_max: int = EVENT_BYTES_MAX,
        wall_time: Callable[[], float] = time.time,
        reads_only: bool = False,
    ) -> None:
        self._database = Database(path, durability=durability, reads_only=reads_only)
        self.name: Final = self._database.name
        self._event_bytes_max = event_bytes_max
        self._wall_time = wall_time
        self._epoch = -1
        # What this writer knows while its epoch stands; None: to be read again.
        self._head: int | None = None
        self._streams: dict[str, tuple[int, int]] = {}
        self.kinds: Final[dict[str, int]] = {}

    def open(self) -> None:
        """See `EventStore.open`."""
        self._database.open()

    def take_over(self, owner: str) -> int:
        """See `EventStore.take_over`."""
        database = self._database
        database.tail()
        writer = database.begin()
        try:
            with told(self.name):
                writer.execute("UPDATE writer SET epoch = epoch + 1, owner = ?", (owner,))
                (epoch,) = writer.execute("SELECT epoch FROM writer").fetchone()
        except BaseException:
            database.roll_back(writer)
            raise
        database.commit(writer)
        self._forget()
        self._epoch = epoch
        return self._epoch

    # --- writing -------------------------------------------------------------------------------

    def commit(self, appends: Sequence[Append]) -> list[Appended | CallboardError]:
        """See `EventStore.commit`."""
        try:
            outcomes = self._commit(appends, {})
            if outcomes is None:
                outcomes = self._commit(appends, self._known(appends))
        except BaseException:
            self._forget()
            raise
        assert outcomes is not None, "an id came from nowhere"
        return outcomes

    def _commit(
        self, appends: Sequence[Append], known: Mapping[bytes, Place]
    ) -> list[Appended | CallboardError] | None:
        """What became of them; None when an id that is not among the known ones is there."""
        database = self._database
        writer = database.begin()
        try:
            self._check_epoch(writer)
            if self._head is None:
                self._head = _head(writer)
            group = _Group(self, writer, dict(known))
            outcomes = [group.add(append) for append in appends]
            if any(outcome is None for outcome in outcomes):
                database.roll_back(writer)
                self._forget()
                return None
            group.insert()
        except sqlite3.IntegrityError:
            database.roll_back(writer)
            self._forget()
            if known:
                raise
            return None
        except sqlite3.Error as error:
            database.roll_back(writer)
            raise fault_of(self.name, error) from error
        except BaseException:
            database.roll_back(writer)
            raise
        database.commit(writer)
        self._head = group.head
        if len(self._streams) > STREAMS_KNOWN:
            self._streams.clear()
        return [outcome for outcome in outcomes if outcome is not None]

    def _check_epoch(self, writer: sqlite3.Connection) -> None:
        epoch, owner = writer.execute("SELECT epoch, owner FROM writer").fetchone()
        if epoch != self._epoch:
            raise WriterFenced(
                f"{self.name}: {owner} has taken the log over (epoch {epoch}); this writer has "
                f"epoch {self._epoch}.",
                may_have_run=False,
            )

    def _forget(self) -> None:
        self._head = None
        self._streams.clear()
        self.kinds.clear()

    def _known(self, appends: Sequence[Append]) -> dict[bytes, Place]:
        ids = [event.id for append in appends for event in append.events]
        found: dict[bytes, Place] = {}
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            marks = ",".join("?" * len(some))
            for id_, *place in self._database.rows(
                "SELECT e.id, e.position, s.name, e.version FROM events e "  # noqa: S608 - marks
                f"JOIN streams s ON s.id = e.stream WHERE e.id IN ({marks})",
                some,
            ):
                found[id_] = (place[0], place[1], place[2])
        # Nothing known is told apart from nothing asked.
        return found or {b"": (0, "", 0)}

    def stream_known(self, writer: sqlite3.Connection, name: str) -> tuple[int, int]:
        """A stream's number and version, for the group that is written; 0 for a new one."""
        found = self._streams.get(name)
        if found is None:
            row = writer.execute(
                "SELECT s.id, coalesce((SELECT max(e.version) FROM events e "
                "WHERE e.stream = s.id), 0) FROM streams s WHERE s.name = ?",
                (name,),
            ).fetchone()
            found = row or (0, 0)
            if row is not None:
                self._streams[name] = row
        return found

    def stream_made(self, writer: sqlite3.Connection, name: str) -> int:
        """The number of a new stream. Not before its first event: a refused one names none."""
        number = writer.execute("INSERT INTO streams (name) VALUES (?)", (name,)).lastrowid
        assert number is not None
        return number

    def moved(self, name: str, number: int, version: int) -> None:
        """The group being written leads a stream to this version."""
        self._streams[name] = (number, version)

    def kind_number(self, writer: sqlite3.Connection, name: str) -> int:
        """A kind's number."""
        number = self.kinds.get(name)
        if number is None:
            writer.execute("INSERT OR IGNORE INTO kinds (name) VALUES (?)", (name,))
            (number,) = writer.execute("SELECT id FROM kinds WHERE name = ?", (name,)).fetchone()
            self.kinds[name] = number
        return number

    @property
    def limits(self) -> tuple[int, float, int]:
        """The largest event, the time now, and the head."""
        assert self._head is not None
        return self._event_bytes_max, self._wall_time(), self._head

    # --- reading -------------------------------------------------------------------------------

    def head(self) -> int:
        """See `EventStore.head`."""
        return int(self._database.rows("SELECT coalesce(max(position), 0) FROM events")[0][0])

    def version_of(self, stream: str) -> int:
        """See `EventStore.version_of`."""
        rows = self._database.rows(
            "SELECT coalesce(max(version), 0) FROM events "
            "WHERE stream = (SELECT id FROM streams WHERE name = ?)",
            (stream,),
        )
        return int(rows[0][0])

    def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """See `EventStore.read`."""
        if kinds is None:
            rows = self._database.rows(
                EVENT + "WHERE e.position > ? ORDER BY e.position LIMIT ?", (after, limit)
            )
        else:
            marks = ",".join("?" * len(kinds))
            rows = self._database.rows(
                f"{EVENT} WHERE e.position > ? AND e.kind IN "  # noqa: S608 - marks only
                f"(SELECT id FROM kinds WHERE name IN ({marks})) ORDER BY e.position LIMIT ?",
                (after, *kinds, limit),
            )
        return list(map(RecordedEvent._make, rows))

    def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore.read_stream`."""
        if backwards:
            where, order = "e.version < ?", "DESC"
            after = after or 2**62
        else:
            where, order = "e.version > ?", "ASC"
        rows = self._database.rows(
            f"{EVENT} WHERE e.stream = (SELECT id FROM streams WHERE name = ?) "  # noqa: S608 - ours
            f"AND {where} ORDER BY e.version {order} LIMIT ?",
            (stream, after, limit),
        )
        return list(map(RecordedEvent._make, rows))

    def streams(self, prefix: str = "", *, after: str = "", limit: int = 1_000) -> list[str]:
        """See `EventStore.streams`."""
        rows = self._database.rows(
            "SELECT name FROM streams WHERE name >= ? AND name > ? AND substr(name, 1, ?) = ? "
            "ORDER BY name LIMIT ?",
            (prefix, after, len(prefix), prefix, limit),
        )
        return [row[0] for row in rows]

    # --- snapshots -----------------------------------------------------------------------------

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See `EventStore.save_snapshot`."""
        self._write("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)", snapshot)

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """See `EventStore.load_snapshot`."""
        rows = self._database.rows("SELECT * FROM snapshots WHERE stream = ?", (stream,))
        return Snapshot(*rows[0]) if rows else None

    def drop_snapshots(self, stream: str) -> None:
        """See `EventStore.drop_snapshots`."""
        self._write("DELETE FROM snapshots WHERE stream = ?", (stream,))

    def _write(self, statement: str, parameters: Sequence[Any]) -> None:
        """Beside the writer: on a connection of its own, so by any thread."""
        with told(self.name):
            reader = self._database.reader()
            reader.execute("PRAGMA query_only = OFF")
            try:
                reader.execute(statement, parameters)
            finally:
                reader.execute("PRAGMA query_only = ON")

    def check(self) -> None:
        """Read the whole file; raises `StoreDamaged`."""
        self._database.check()

    def size_bytes(self) -> int:
        """What it takes on disk."""
        return self._database.size_bytes()

    def close(self) -> None:
        """See `EventStore.close`."""
        self._database.close()


class _Group:
    """The appends of one transaction: checked one after another, inserted together."""

    def __init__(
        self, store: SqliteEventStore, writer: sqlite3.Connection, known: dict[bytes, Place]
    ) -> None:
        self._store = store
        self._writer = writer
        self._known = known
        self._new: dict[bytes, Place] = {}
        self._kinds = store.kinds
        self._parameters: list[Any] = []
        self._event_bytes_max, self._now, self.head = store.limits

    def add(self, append: Append) -> Appended | CallboardError | None:
        """Its outcome; None when the log must be asked about its ids first."""
        # Every event of the log passes here: plain loops and locals, no objects of its own.
        stream, events, expected = append
        new, known, bytes_max = self._new, self._known, self._event_bytes_max
        is_known = False
        for id_, _, data, _, metadata in events:
            if len(id_) != EVENT_ID_BYTES or len(data) + len(metadata) > bytes_max:
                return check_sizes(append, bytes_max)
            if id_ in new or id_ in known:
                is_known = True
        if is_known:
            return _repeat(append, [new.get(event.id) or known.get(event.id) for event in events])
        if len(events) > 1 and len({event.id for event in events}) < len(events):
            return reused_id(append)
        number, version = self._store.stream_known(self._writer, stream)
        if expected not in (ANY, version):
            # It may be one that came before: then its ids are there.
            return wrong_version(append, version) if known else None
        return self._place(append, number, version)

    def _place(self, append: Append, number: int, version: int) -> Appended:
        stream = append.stream
        number = number or self._store.stream_made(self._writer, stream)
        add, new, now, kinds = self._parameters.extend, self._new, self._now, self._kinds
        head = self.head
        first = head + 1
        for id_, kind, data, schema, metadata in append.events:
            head += 1
            version += 1
            kind_number = kinds.get(kind) or self._store.kind_number(self._writer, kind)
            add((head, number, version, id_, kind_number, schema, now, data, metadata))
            new[id_] = (head, stream, version)
        self.head = head
        self._store.moved(stream, number, version)
        return Appended(first, head, version)

    def insert(self) -> None:
        """Write all of it, in few large statements."""
        parameters, at = self._parameters, 0
        for count in reversed(ROWS):
            width = count * COLUMNS
            while len(parameters) - at >= width:
                self._writer.execute(INSERTS[count], parameters[at : at + width])
                at += width


def _head(writer: sqlite3.Connection) -> int:
    return int(writer.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0])


def _repeat(append: Append, places: Sequence[Place | None]) -> Appended | CallboardError:
    first = places[0]
    if first is None:
        return reused_id(append)
    wanted = [
        (first[0] + offset, append.stream, first[2] + offset) for offset in range(len(places))
    ]
    if list(places) != wanted:
        return reused_id(append)
    return Appended(first[0], wanted[-1][0], wanted[-1][2], is_repeat=True)
