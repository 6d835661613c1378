"""The statements of an event log. The server prepares each at its first use."""

from typing import Final

from .tables import statement

__all__ = ["Statements", "after_prefix"]

EVENT: Final = (
    "e.position, s.name, e.version, e.id, e.kind, e.schema, e.data, e.metadata, e.recorded_at"
)

# The parts of one WITH see the same snapshot. `raised` gives a row, and so lets the others insert,
# only if the locked row of the writer still holds what the writer knows.
COMMIT: Final = """
WITH raised AS (
  UPDATE {s}.writer SET head = $2::bigint
  WHERE epoch = $3::bigint AND head = $1::bigint RETURNING 1
), born AS (
  INSERT INTO {s}.streams (number, name)
  SELECT b.number, b.name FROM raised, unnest($4::bigint[], $5::text[]) AS b (number, name)
), kept AS (
  INSERT INTO {s}.events
    (position, stream, version, recorded_at, schema, id, kind, data, metadata)
  SELECT $1::bigint + e.ordinality, e.stream, e.version, $13::float8, e.schema, e.id, e.kind,
         e.data, e.metadata
  FROM raised, unnest($6::bigint[], $7::bigint[], $8::bytea[], $9::text[], $10::int[],
                      $11::bytea[], $12::bytea[])
    WITH ORDINALITY AS e (stream, version, id, kind, schema, data, metadata, ordinality)
)
SELECT count(*) FROM raised
"""


class Statements:
    """The statements for one schema."""

    def __init__(self, schema: str) -> None:
        def text(words: str) -> bytes:
            return statement(words.replace("{event}", EVENT), schema)

        self.commit: Final = text(COMMIT)
        self.take_over: Final = text(
            "UPDATE {s}.writer SET epoch = GREATEST(epoch + 1, $2::bigint), owner = $1, "
            "since = now() WHERE $2::bigint = 0 OR epoch >> $3::int <= $2::bigint >> $3::int "
            "RETURNING epoch, head"
        )
        self.writer: Final = text("SELECT epoch, head, owner FROM {s}.writer")
        self.lengths: Final = text(
            "SELECT s.name, s.number, e.version, e.id FROM {s}.streams s, LATERAL ("
            "  SELECT version, id FROM {s}.events WHERE stream = s.number "
            "  ORDER BY version DESC LIMIT 1) e WHERE s.name = ANY ($1::text[])"
        )
        self.standing: Final = text(
            "SELECT e.id, s.name, e.version, e.position FROM {s}.events e "
            "JOIN {s}.streams s ON s.number = e.stream WHERE e.id = ANY ($1::bytea[])"
        )
        self.read: Final = text(
            "SELECT {event} FROM ("
            "  SELECT * FROM {s}.events WHERE position > $1 ORDER BY position LIMIT $2) e "
            "JOIN {s}.streams s ON s.number = e.stream ORDER BY e.position"
        )
        self.read_kinds: Final = text(
            "SELECT {event} FROM ("
            "  SELECT * FROM {s}.events WHERE position > $1 AND position <= $3 "
            "  AND kind = ANY ($4::text[]) ORDER BY position LIMIT $2) e "
            "JOIN {s}.streams s ON s.number = e.stream ORDER BY e.position"
        )
        self.read_stream: Final = text(
            "SELECT {event} FROM {s}.streams s JOIN {s}.events e ON e.stream = s.number "
            "WHERE s.name = $1 AND e.version > $2 ORDER BY e.version LIMIT $3"
        )
        self.read_stream_back: Final = text(
            "SELECT {event} FROM {s}.streams s JOIN {s}.events e ON e.stream = s.number "
            "WHERE s.name = $1 AND e.version < $2 ORDER BY e.version DESC LIMIT $3"
        )
        self.names: Final = text(
            "SELECT name FROM {s}.streams WHERE name > $1 AND name >= $2 "
            "AND ($3::text IS NULL OR name < $3) ORDER BY name LIMIT $4"
        )
        self.save_snapshot: Final = text(
            "INSERT INTO {s}.snapshots (stream, version, schema, data) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (stream) DO UPDATE SET version = excluded.version, "
            "schema = excluded.schema, data = excluded.data"
        )
        self.load_snapshot: Final = text(
            "SELECT stream, version, schema, data FROM {s}.snapshots WHERE stream = $1"
        )
        self.drop_snapshots: Final = text("DELETE FROM {s}.snapshots WHERE stream = $1")


def after_prefix(prefix: str) -> str | None:
    """The least text after all texts that begin with `prefix`; None when there is none.

    It has no half surrogate pairs, which PostgreSQL cannot store.
    """
    while prefix:
        last = ord(prefix[-1]) + 1
        if last <= 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if 0xD800 <= last <= 0xDFFF else last)
        prefix = prefix[:-1]
    return None
