"""The appends of one transaction: decided one after another, inserted together.

Every event of the log passes here, so this code uses plain loops and locals, and no objects per
event. It looks up no ids at first. Their unique index refuses a repeated id, also within one
group, and then the group is planned again.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from callboard.messages.core.errors import CallboardError
from callboard.messages.core.names import problem_of
from callboard.messages.storage.events import ANY, EVENT_ID_BYTES, Append, Appended

from ..rules import check_append, check_new_stream, reused_id, wrong_version

__all__ = ["Group", "Place", "Standing"]

COLUMNS: Final = 8
"""Parameters of one event, without the time, which the whole statement shares."""
ROWS: Final = (1, 8, 64, 512, 4_095)
"""Events of one statement: few statements, which SQLite prepares once. The limit is 32,766
parameters."""
STREAMS_KNOWN_MAX: Final = 10_000
"""Streams of which the writer knows the end, about 300 bytes each. Another costs one query."""

Place = tuple[int, str, int]
"""The place of an event: position, stream, version in the stream."""

Stream = tuple[int, int, bytes]
"""A stream's number and version, and the id of its last event."""

NEW: Final[Stream] = (0, 0, b"")

NONE: Final = bytearray()
"""No metadata. The `sqlite3` module searches an adapter for `bytes`, but not for `bytearray`."""


def _insert_of(count: int) -> str:
    row = f"({','.join(['?'] * (COLUMNS - 2))},?1,?,?)"
    rows = ",".join(["(?2,?,?,?,?,?,?1,?,?)", *[row] * (count - 1)])
    return f"INSERT INTO events VALUES {rows}"  # noqa: S608 - marks only


INSERTS: Final = {count: _insert_of(count) for count in ROWS}


class Standing:
    """The writer's knowledge of the log, valid while no other process writes it."""

    def __init__(self) -> None:
        self.head: int | None = None
        """None: unknown, and to be read."""
        self.streams: Final[dict[str, Stream]] = {}
        self.kinds: Final[dict[str, int]] = {}

    def forget(self) -> None:
        """Forget everything: a transaction failed, or another process has written."""
        self.head = None
        self.streams.clear()
        self.kinds.clear()

    def read_head(self, writer: sqlite3.Connection) -> int:
        """The head, read if it is unknown."""
        if self.head is None:
            (self.head,) = writer.execute(
                "SELECT coalesce(max(position), 0) FROM events"
            ).fetchone()
        assert self.head is not None
        return self.head

    def stream(self, writer: sqlite3.Connection, name: str) -> Stream:
        """Read an unknown stream; `NEW` when it does not exist."""
        try:
            row = writer.execute(
                "SELECT s.id, coalesce(e.version, 0), coalesce(e.id, x'') "
                "FROM streams s LEFT JOIN events e ON e.stream = s.id "
                "WHERE s.name = ? ORDER BY e.version DESC LIMIT 1",
                (name,),
            ).fetchone()
        except UnicodeEncodeError:
            row = None  # No stream has such a name.
        if row is None:
            return NEW
        self.streams[name] = row
        return row  # type: ignore[no-any-return] # the columns of a `Stream`

    def kind(self, writer: sqlite3.Connection, name: str) -> int:
        """Read or create the number of an unknown kind; 0 for a text that is no name."""
        if problem_of(name) is not None:
            return 0
        writer.execute("INSERT OR IGNORE INTO kinds (name) VALUES (?)", (name,))
        number: int
        (number,) = writer.execute("SELECT id FROM kinds WHERE name = ?", (name,)).fetchone()
        self.kinds[name] = number
        return number

    def commit(self, head: int) -> None:
        """Take over the head of a durable transaction."""
        self.head = head
        streams = self.streams
        if len(streams) > STREAMS_KNOWN_MAX:
            for name in list(streams)[: len(streams) // 2]:
                del streams[name]


class Group:
    """Decides about one transaction. `known` holds the places of its ids in the log, if read."""

    def __init__(
        self,
        standing: Standing,
        writer: sqlite3.Connection,
        known: Mapping[bytes, Place] | None,
        *,
        event_bytes_max: int,
        now: float,
    ) -> None:
        self.head = standing.read_head(writer)
        self._standing = standing
        self._streams = standing.streams
        self._kinds = standing.kinds
        self._writer = writer
        self._places = None if known is None else dict(known)
        self._parameters: list[Any] = []
        self._event_bytes_max = event_bytes_max
        self._now = now

    def add(self, append: Append) -> Appended | CallboardError | None:
        """The outcome of an append; None when the decision needs a lookup of its ids."""
        name, events, expected, follows = append
        places = self._places
        if places is not None and any(event.id in places for event in events):
            return _repeat(append, [places.get(event.id) for event in events])
        number, version, last = self._streams.get(name) or self._standing.stream(self._writer, name)
        if not number or not events or places is not None:
            refused = _refused(append, self._event_bytes_max, is_new=not number)
            if refused is not None:
                return refused
        if expected not in (ANY, version) or (follows and follows != last):
            # It may be a repeat. Then its ids are in the log.
            return None if places is None else wrong_version(append, version)
        number = number or self._make_stream(name)
        parameters, kinds, bytes_max = self._parameters, self._kinds, self._event_bytes_max
        first = head = self.head + 1
        for last, kind, data, schema, metadata in events:
            kind_number = kinds.get(kind) or self._standing.kind(self._writer, kind)
            if (
                len(last) != EVENT_ID_BYTES
                or len(data) + len(metadata) > bytes_max
                or not kind_number
            ):
                # Drop the earlier events of this append.
                del parameters[len(parameters) - (head - first) * COLUMNS :]
                return check_append(append, bytes_max)
            version += 1
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
        # Only for a valid append: a refused one creates no stream.
        number = self._writer.execute("INSERT INTO streams (name) VALUES (?)", (name,)).lastrowid
        assert number is not None
        return number

    def insert(self) -> None:
        """Write all events, in few large statements."""
        parameters, now, at = self._parameters, self._now, 0
        for count in reversed(ROWS):
            width = count * COLUMNS
            while len(parameters) - at >= width:
                self._writer.execute(INSERTS[count], [now, *parameters[at : at + width]])
                at += width


def _refused(append: Append, event_bytes_max: int, *, is_new: bool) -> CallboardError | None:
    refused = check_append(append, event_bytes_max)
    if refused is None and is_new:
        refused = check_new_stream(append.stream)
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
