"""The tables, and their migration from earlier releases.

`user_version` holds the version, and `application_id` marks a file of Callboard. A migration is one
transaction: a file is never between two versions.

| version | what it has |
|---|---|
| 1 | everything but the index by kind |
| 2 | the index by kind, without which reading some kinds reads all events |
| 3 | the windows of metrics; the catalogue of segments |
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from callboard.messages.storage.errors import (
    StoreDamaged,
    StoreTooNew,
    StoreTooOld,
    StoreUnavailable,
)

from ..catalogue import CATALOGUE_TABLES

__all__ = ["APPLICATION_ID", "SCHEMA", "bring_forward", "check_tables", "create"]

APPLICATION_ID: Final = 0x43424F44
""""CBOD" in the header of a file."""

SCHEMA: Final = 3
OLDEST: Final = 1
"""The oldest version that is migrated on opening."""

VERSION_1: Final = (
    "CREATE TABLE writer (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER, owner TEXT)",
    "INSERT INTO writer VALUES (1, 0, '')",
    "CREATE TABLE streams (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE kinds (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE events (
        position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, version INTEGER NOT NULL,
        id BLOB NOT NULL, kind INTEGER NOT NULL, schema INTEGER NOT NULL, at REAL NOT NULL,
        data BLOB NOT NULL, metadata BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX events_by_stream ON events (stream, version)",
    "CREATE UNIQUE INDEX events_by_id ON events (id)",
    """CREATE TABLE snapshots (
        stream TEXT PRIMARY KEY, version INTEGER, schema INTEGER, data BLOB) WITHOUT ROWID""",
    """CREATE TABLE states (
        kind TEXT, id TEXT, version INTEGER, data BLOB, PRIMARY KEY (kind, id)) WITHOUT ROWID""",
    "CREATE TABLE models (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, position INTEGER)",
    """CREATE TABLE model_values (
        model INTEGER, key TEXT, value BLOB, PRIMARY KEY (model, key)) WITHOUT ROWID""",
    "CREATE TABLE meanings (name TEXT PRIMARY KEY, model TEXT) WITHOUT ROWID",
)

WINDOWS: Final = (
    "CREATE TABLE window_shards (shard INTEGER PRIMARY KEY, fence INTEGER, state BLOB)",
    "CREATE TABLE window_log (id INTEGER PRIMARY KEY, shard INTEGER, data BLOB)",
    "CREATE INDEX window_log_by_shard ON window_log (shard, id)",
    """CREATE TABLE window_series (
        shard INTEGER, number INTEGER, name TEXT, PRIMARY KEY (shard, number)) WITHOUT ROWID""",
    """CREATE TABLE window_blocks (
        id INTEGER PRIMARY KEY, width INTEGER, period INTEGER, shard INTEGER, band INTEGER,
        first_ns INTEGER, until_ns INTEGER, members INTEGER, data BLOB)""",
    """CREATE INDEX window_blocks_by_time ON window_blocks (
        width, period, shard, band, first_ns, until_ns, members)""",
)

CATALOGUE: Final = tuple(each.replace("{s}", "") for each in CATALOGUE_TABLES)

STEPS: Final[Mapping[int, Sequence[str]]] = {
    1: ("CREATE INDEX events_by_kind ON events (kind, position)",),
    2: (*WINDOWS, *CATALOGUE),
}
"""The statements that lead from each version to the next."""


def create(connection: sqlite3.Connection) -> None:
    """Create all tables in a new file, in the open transaction."""
    for statement in (*VERSION_1, *(each for step in STEPS.values() for each in step)):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA}")


def version_of(connection: sqlite3.Connection, name: str) -> int:
    """The version of the tables; 0 without tables. Raises `StoreDamaged` for a foreign file."""
    # In this order: another process may create the tables between two of these statements. What
    # it writes in one transaction is there for each later statement once an earlier one saw it.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not tables and not version:
        return 0
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise StoreDamaged(
            f"{name} is an SQLite file of another program.", advice="Name another file."
        )
    return int(version)


def bring_forward(connection: sqlite3.Connection, name: str) -> None:
    """Create or migrate the tables. Raises `StoreTooNew`, `StoreTooOld`, `StoreDamaged`."""
    if version_of(connection, name) == SCHEMA:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(connection, name)  # Another process may have been faster.
        if version == 0:
            create(connection)
        else:
            _check(version, name)
        for step in range(version or SCHEMA, SCHEMA):
            for statement in STEPS[step]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_tables(connection: sqlite3.Connection, name: str) -> None:
    """Check that this release can read the tables, and change nothing.

    Raises what `bring_forward` raises, and `StoreUnavailable` when there are none.
    """
    version = version_of(connection, name)
    if version == 0:
        raise StoreUnavailable(
            f"{name} has no tables yet.", advice="Try again when its writer has started."
        )
    _check(version, name)


def _check(version: int, name: str) -> None:
    if version > SCHEMA:
        raise StoreTooNew(
            f"{name} has tables of version {version}; this release knows {SCHEMA}.",
            advice="Use the release of Callboard that wrote it. Nothing has changed.",
        )
    if version < OLDEST:
        raise StoreTooOld(
            f"{name} has tables of version {version}; this release opens {OLDEST} and later.",
            advice="Make a copy, then run `callboard store migrate "
            f"{name.removeprefix('sqlite ')}` with the release of Callboard before this one.",
        )
