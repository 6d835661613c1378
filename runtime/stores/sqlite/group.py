"""The appends of one transaction: decided one after another, inserted together.

Every event of the log passes here, so there are plain loops and locals, and no objects of its
own. As long as nothing is known about ids, none is looked at: the index over them refuses what
is there already, also twice within one group, and then the group is planned again.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.events import ANY, EVENT_ID_BYTES, Append, Appended

from ..rules import check_sizes, reused_id, wrong_version

__all__ = ["Group", "Place", "Standing"]

COLUMNS: Final = 8
"""Of one event, besides the time that it shares with the whole statement."""
ROWS: Final = (1, 8, 64, 512, 4_095)
"""Events of one statement: few texts of statements, which SQLite prepares once. It takes 32,766
parameters."""
STREAMS_KNOWN: Final = 100_000

Place = tuple[int, str, int]
"""Where an event of a given id stands: position, stream, version in it."""

Stream = tuple[int, int, bytes]
"""A stream's number and version, and the id of its last event."""

NEW: Final[Stream] = (0, 0, b"")

NONE: Final = bytearray()
"""No metadata. Python's module looks for an adapter of each `bytes`, and of no `bytearray`."""


def _insert_of(count: int) -> str:
    row = f"({','.join(['?'] * (COLUMNS - 2))},?1,?,?)"
    rows = ",".join(["(?2,?,?,?,?,?,?1,?,?)", *[row] * (count - 1)])
    return f"INSERT INTO events VALUES {rows}"  # noqa: S608 - marks only


INSERTS: Final = {count: _insert_of(count) for count in ROWS}


class Standing:
    """What the writer knows of the log, while nobody else writes it."""

    def __init__(self) -> None:
        self.head: int | None = None
        """None: to be read again."""
        self.streams: Final[dict[str, Stream]] = {}
        self.kinds: Final[dict[str, int]] = {}

    def forget(self) -> None:
        """The last transaction did not happen, or somebody else has written."""
        self.head = None
        self.streams.clear()
        self.kinds.clear()

    def look(self, writer: sqlite3.Connection) -> int:
        """The head."""
        if self.head is None:
            (self.head,) = writer.execute(
                "SELECT coalesce(max(position), 0) FROM events"
            ).fetchone()
        assert self.head is not None
        return self.head

    def stream(self, writer: sqlite3.Connection, name: str) -> Stream:
        """A stream that was not known so far; `NEW` when there is none."""
        row = writer.execute(
            "SELECT s.id, coalesce(e.version, 0), coalesce(e.id, x'') "
            "FROM streams s LEFT JOIN events e ON e.stream = s.id "
            "WHERE s.name = ? ORDER BY e.version DESC LIMIT 1",
            (name,),
        ).fetchone()
        if row is None:
            return NEW
        self.streams[name] = row
        return row  # type: ignore[no-any-return] # the columns of a `Stream`

    def kind(self, writer: sqlite3.Connection, name: str) -> int:
        """The number of a kind that was not known so far."""
        writer.execute("INSERT OR IGNORE INTO kinds (name) VALUES (?)", (name,))
        number: int
        (number,) = writer.execute("SELECT id FROM kinds WHERE name = ?", (name,)).fetchone()
        self.kinds[name] = number
        return number

    def moved(self, head: int) -> None:
        """A transaction is durable."""
        self.head = head
        if len(self.streams) > STREAMS_KNOWN:
            self.streams.clear()


class Group:
    """Decides for one transaction. `known` holds the log's places of its ids, once asked for."""

    def __init__(
        self,
        standing: Standing,
        writer: sqlite3.Connection,
        known: Mapping[bytes, Place] | None,
        *,
        event_bytes_max: int,
        now: float,
    ) -> None:
        self.head = standing.look(writer)
        self._standing = standing
        self._streams = standing.streams
        self._kinds = standing.kinds
        self._writer = writer
        self._places = None if known is None else dict(known)
        self._parameters: list[Any] = []
        self._event_bytes_max = event_bytes_max
        self._now = now

    def add(self, append: Append) -> Appended | CallboardError | None:
        """Its outcome; None when the log must be asked about its ids first."""
        name, events, expected, follows = append
        places = self._places
        if places is not None and any(event.id in places for event in events):
            return _repeat(append, [places.get(event.id) for event in events])
        number, version, last = self._streams.get(name) or self._standing.stream(self._writer, name)
        if not number or not events or places is not None:
            refused = _refused(append, self._event_bytes_max)
            if refused is not None:
                return refused
        if expected not in (ANY, version) or (follows and follows != last):
            # It may be one that came before: then its ids are there.
            return None if places is None else wrong_version(append, version)
        number = number or self._make_stream(name)
        parameters, kinds, bytes_max = self._parameters, self._kinds, self._event_bytes_max
        first = head = self.head + 1
        for last, kind, data, schema, metadata in events:
            if len(last) != EVENT_ID_BYTES or len(data) + len(metadata) > bytes_max:
                # Those of its events before this one are no more.
                del parameters[len(parameters) - (head - first) * COLUMNS :]
                return check_sizes(append, bytes_max)
            version += 1
            kind_number = kinds.get(kind) or self._standing.kind(self._writer, kind)
            meta = metadata or NONE
            parameters += (head, number, version, last, kind_number, schema, data, meta)
            head += 1
        self.head = head = head - 1
        self._streams[name] = (number, version, last)
        if places is not None:
            before = version - head
            for position, event in enumerate(events, first):
                places[event.id] = (position, name, before + position)
        return Appended(first, head, version)

    def _make_stream(self, name: str) -> int:
        # Not before its first event is sure to come: a refused one names none.
        number = self._writer.execute("INSERT INTO streams (name) VALUES (?)", (name,)).lastrowid
        assert number is not None
        return number

    def insert(self) -> None:
        """Write all of it, in few large statements."""
        parameters, now, at = self._parameters, self._now, 0
        for count in reversed(ROWS):
            width = count * COLUMNS
            while len(parameters) - at >= width:
                self._writer.execute(INSERTS[count], [now, *parameters[at : at + width]])
                at += width


def _refused(append: Append, event_bytes_max: int) -> CallboardError | None:
    refused = check_sizes(append, event_bytes_max)
    if refused is None and len({event.id for event in append.events}) < len(append.events):
        return reused_id(append)
    return refused


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
