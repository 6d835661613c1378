"""An event log in an SQLite file.

The writer knows the log after its last commit (the head, and the versions of the streams that it
wrote), because no other process writes while its epoch stands. Each transaction checks the epoch.
So a group costs one statement for some thousand events, and no query.

A repeated id violates its unique index. The group is then rolled back and planned again, with the
places of its ids in the log.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from callboard.messages.core.errors import CallboardError
from callboard.messages.core.fences import is_replaced
from callboard.messages.storage.errors import WriterFenced
from callboard.messages.storage.events import Append, Appended, RecordedEvent, Snapshot

from ..rules import EVENT_BYTES_MAX, replaced_writer
from .database import Database
from .faults import fault_of, translate_errors
from .group import Group, Place, Standing

__all__ = ["SqliteEventStore"]

IDS_AT_ONCE: Final = 10_000
EVENT: Final = (
    "SELECT e.position, s.name, e.version, e.id, k.name, e.schema, e.data, e.metadata, e.at "
    "FROM events e JOIN streams s ON s.id = e.stream JOIN kinds k ON k.id = e.kind "
)


class SqliteEventStore:
    """An `EventStore`. `event_bytes_max` bounds the data and metadata of one event.

    With `reads_only` the file must exist, and stays unchanged.
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
        self._standing: Final = Standing()

    def open(self) -> None:
        """See `EventStore.open`."""
        self._database.open()

    def take_over(self, owner: str, fence: int = 0) -> int:
        """See `EventStore.take_over`."""
        database = self._database
        database.tail()
        writer = database.begin()
        try:
            with translate_errors(self.name):
                before, other = writer.execute("SELECT epoch, owner FROM writer").fetchone()
                if is_replaced(fence, before):
                    raise replaced_writer(self.name, other, before, fence)  # noqa: TRY301 - one way out
                epoch = max(before + 1, fence)
                writer.execute("UPDATE writer SET epoch = ?, owner = ?", (epoch, owner))
        except BaseException:
            database.roll_back(writer)
            raise
        database.commit(writer)
        self._standing.forget()
        self._epoch = epoch
        return self._epoch

    # --- writing -------------------------------------------------------------------------------

    def commit(self, appends: Sequence[Append]) -> list[Appended | CallboardError]:
        """See `EventStore.commit`."""
        try:
            outcomes = self._commit(appends, None)
            if outcomes is None:
                outcomes = self._commit(appends, self._known(appends))
        except BaseException:
            self._standing.forget()
            raise
        assert outcomes is not None, "all ids are known here"
        return outcomes

    def _commit(
        self, appends: Sequence[Append], known: Mapping[bytes, Place] | None
    ) -> list[Appended | CallboardError] | None:
        """The outcomes; None when the decision needs the places of the ids in the log."""
        database = self._database
        writer = database.begin()
        try:
            self._check_epoch(writer)
            group = Group(
                self._standing,
                writer,
                known,
                event_bytes_max=self._event_bytes_max,
                now=self._wall_time(),
            )
            outcomes = list(map(group.add, appends))
            if None in outcomes:
                database.roll_back(writer)
                self._standing.forget()
                return None
            group.insert()
        except sqlite3.IntegrityError:
            database.roll_back(writer)
            self._standing.forget()
            if known is not None:
                raise
            return None
        except sqlite3.Error as error:
            database.roll_back(writer)
            raise fault_of(self.name, error) from error
        except BaseException:
            database.roll_back(writer)
            raise
        database.commit(writer)
        self._standing.commit(group.head)
        return cast("list[Appended | CallboardError]", outcomes)

    def _check_epoch(self, writer: sqlite3.Connection) -> None:
        epoch, owner = writer.execute("SELECT epoch, owner FROM writer").fetchone()
        if epoch != self._epoch:
            raise WriterFenced(
                f"{self.name}: {owner} has taken the log over (epoch {epoch}); this writer has "
                f"epoch {self._epoch}.",
                may_have_run=False,
                epoch=epoch,
            )

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
        return found

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
        """Write on this thread's own connection, next to the writer. Any thread may call it."""
        with translate_errors(self.name), self._database.reading() as reader:
            reader.execute("PRAGMA query_only = OFF")
            try:
                reader.execute(statement, parameters)
            finally:
                reader.execute("PRAGMA query_only = ON")

    def check(self) -> None:
        """Read the whole file. Raises `StoreDamaged`."""
        self._database.check()

    def size_bytes(self) -> int:
        """Its size on disk."""
        return self._database.size_bytes()

    def close(self) -> None:
        """See `EventStore.close`."""
        self._database.close()
