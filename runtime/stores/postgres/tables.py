"""The tables of a store, and the migration of tables of earlier releases.

Each step leads from one version to the next. All missing steps run in one transaction, so that a
store is never between two versions. An advisory lock lets one process migrate while others wait.
"""

import zlib
from collections.abc import Sequence
from typing import Final

import psycopg

from callboard.messages.core.errors import SpecError
from callboard.messages.storage.errors import StoreTooNew, StoreTooOld, StoreUnavailable

from ..catalogue import CATALOGUE_TABLES
from .connection import StoreConnection
from .connections import Connections

__all__ = ["STEPS", "check_tables", "open_tables", "statement"]

# A stream's number is the position of its first event, so no sequence is needed. The writer's row
# changes with each commit; the free space next to it lets that happen in one page.
FIRST: Final = """
CREATE TABLE {s}.about (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  version integer NOT NULL
);
INSERT INTO {s}.about (version) VALUES (0);

CREATE TABLE {s}.writer (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  epoch bigint NOT NULL,
  owner text NOT NULL,
  since timestamptz NOT NULL,
  head bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO {s}.writer (epoch, owner, since, head) VALUES (0, '', now(), 0);

CREATE TABLE {s}.streams (
  number bigint PRIMARY KEY,
  name text COLLATE "C" NOT NULL,
  CONSTRAINT streams_name UNIQUE (name)
);

CREATE TABLE {s}.events (
  position bigint PRIMARY KEY,
  stream bigint NOT NULL,
  version bigint NOT NULL,
  recorded_at double precision NOT NULL,
  schema integer NOT NULL,
  id bytea NOT NULL,
  kind text NOT NULL,
  data bytea NOT NULL,
  metadata bytea NOT NULL,
  CONSTRAINT events_id UNIQUE (id),
  CONSTRAINT events_version UNIQUE (stream, version)
);

CREATE TABLE {s}.snapshots (
  stream text COLLATE "C" PRIMARY KEY,
  version bigint NOT NULL,
  schema integer NOT NULL,
  data bytea NOT NULL
);

CREATE TABLE {s}.states (
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (kind, id)
);

CREATE TABLE {s}.models (
  model text COLLATE "C" PRIMARY KEY,
  position bigint NOT NULL
);

CREATE TABLE {s}.model_items (
  model text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  value bytea NOT NULL,
  PRIMARY KEY (model, key)
);

CREATE TABLE {s}.model_names (
  name text COLLATE "C" PRIMARY KEY,
  model text COLLATE "C" NOT NULL
);
"""

WINDOWS: Final = """
CREATE TABLE {s}.window_shards (
  shard integer PRIMARY KEY,
  fence bigint NOT NULL,
  state bytea NOT NULL
);

CREATE TABLE {s}.window_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  shard integer NOT NULL,
  data bytea NOT NULL
);
CREATE INDEX window_log_by_shard ON {s}.window_log (shard, id);

CREATE TABLE {s}.window_series (
  shard integer NOT NULL,
  number integer NOT NULL,
  name text COLLATE "C" NOT NULL,
  PRIMARY KEY (shard, number)
);

CREATE TABLE {s}.window_blocks (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  width bigint NOT NULL,
  period bigint NOT NULL,
  shard integer NOT NULL,
  band integer NOT NULL,
  first_ns bigint NOT NULL,
  until_ns bigint NOT NULL,
  members integer NOT NULL,
  data bytea NOT NULL
);
ALTER TABLE {s}.window_blocks ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE INDEX window_blocks_by_time ON {s}.window_blocks (width, period, shard, band);
"""

CATALOGUE: Final = ";\n".join(each.replace("{s}", "{s}.") for each in CATALOGUE_TABLES)

STEPS: Final = (FIRST, f"{WINDOWS}\n{CATALOGUE};")
"""The step with index i leads from version i to i + 1."""

OLDEST: Final = 0
"""The oldest version that can be migrated; 0 is an empty schema."""

UNDEFINED: Final = frozenset({"3F000", "42P01"})  # no such schema, no such table


def statement(text: str, schema: str) -> bytes:
    """The statement with the name of its schema, which `Place` has checked."""
    return text.replace("{s}", f'"{schema}"').encode()


def open_tables(
    connections: Connections, *, steps: Sequence[str] = STEPS, oldest: int = OLDEST
) -> None:
    """Create the tables, or migrate them to the last step.

    Raises `StoreTooNew`, `StoreTooOld`, and what `Connections.run` raises. If the version is right,
    this only reads, so that a read-only role can open the store.
    """
    schema = connections.place.schema
    found = connections.run(lambda connection: _version(connection, schema), "opening")
    if found is not None:
        _check(connections.place.shown, found, len(steps), oldest)
    if found != len(steps):
        connections.run(
            lambda connection: _bring_forward(connections, connection, steps, oldest), "opening"
        )


def check_tables(connections: Connections) -> None:
    """Check that this release can read the tables, and change nothing.

    Raises what `open_tables` does, and `StoreUnavailable` when there are none.
    """
    schema, name = connections.place.schema, connections.place.shown
    found = connections.run(lambda connection: _version(connection, schema), "opening")
    if found is None:
        raise StoreUnavailable(
            f"{name} has no tables yet.",
            advice="Try again when its writer has started, or name another `?schema=...`.",
            may_have_run=False,
        )
    _check(name, found, len(STEPS), OLDEST)


def _version(connection: StoreConnection, schema: str) -> int | None:
    """The version of the tables; None when there are none."""
    try:
        rows = connection.execute(statement("SELECT version FROM {s}.about", schema)).fetchall()
    except psycopg.Error as error:
        if error.sqlstate in UNDEFINED:
            return None
        raise
    return int(rows[0][0]) if rows else None


def _bring_forward(
    connections: Connections, connection: StoreConnection, steps: Sequence[str], oldest: int
) -> None:
    place = connections.place
    schema = place.schema
    lock = zlib.crc32(f"callboard {schema}".encode())
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock($1)", (lock,))
        row = connection.execute(
            "SELECT to_regnamespace($1) IS NOT NULL, to_regclass($2) IS NOT NULL",
            (schema, f"{schema}.about"),
        ).fetchone()
        assert row is not None
        if not row[0]:
            connection.execute(statement("CREATE SCHEMA {s}", schema))
        # Another process may have done it while this one waited for the lock.
        version = (_version(connection, schema) or 0) if row[1] else 0
        _check(place.shown, version, len(steps), oldest)
        if version == len(steps):
            return
        try:
            for step in steps[version:]:
                connection.execute(statement(step, schema))
        except psycopg.errors.DuplicateTable:
            raise SpecError(
                f"{place.shown}: the schema has other tables of the same names.",
                advice="Name another schema: `?schema=…`.",
            ) from None
        connection.execute(statement("UPDATE {s}.about SET version = $1", schema), (len(steps),))


def _check(name: str, found: int, newest: int, oldest: int) -> None:
    if found > newest:
        raise StoreTooNew(
            f"{name} has version {found}; this release knows {newest}.",
            advice="Use the release that made it, or a later one.",
            may_have_run=False,
        )
    if found < oldest:
        raise StoreTooOld(
            f"{name} has version {found}; this release migrates {oldest} and later.",
            advice="Make a copy, then run `callboard store migrate URL` with the release of "
            "Callboard before this one.",
            may_have_run=False,
        )
