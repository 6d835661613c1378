"""Faults of a file: each raises its error, and the store works again afterwards."""

import logging
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from callboard.messages.storage.errors import StoreDamaged, StoreFull, StoreTooNew, StoreUnavailable
from callboard.messages.storage.events import Append, Appended, NewEvent
from callboard.runtime.stores.sqlite import SqliteEventStore
from callboard.runtime.stores.sqlite.schema import APPLICATION_ID, SCHEMA, VERSION_1

TAKES_OVER: Final = """
import os, sys
from callboard.messages.core.errors import CallboardError
from callboard.runtime.stores.sqlite import SqliteEventStore

if os.getuid() == 0:  # whom no permission stops
    os.setuid(65534)
store = SqliteEventStore(sys.argv[1])
try:
    store.open()
    print(store.head())
    store.take_over("nobody")
except CallboardError as error:
    print(type(error).__name__)
"""


def group(size: int = 100) -> list[Append]:
    return [Append("s", (NewEvent(uuid.uuid4().bytes, "k", b"x" * size),))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteEventStore]:
    made = SqliteEventStore(path)
    made.open()
    made.take_over("the test")
    assert isinstance(made.commit(group())[0], Appended)
    yield made
    made.close()


def test_a_full_file_refuses_and_then_works_again(store: SqliteEventStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(StoreFull):
            store.commit(group(1_000_000))
        assert store.head() == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.commit(group(1_000_000)) == [Appended(2, 2, 2)]


def test_a_locked_file_refuses_and_then_works_again(
    store: SqliteEventStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    store._database.writer().execute("PRAGMA busy_timeout = 50")
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreUnavailable):
            store.commit(group())
        assert store.head() == 1, "readers do not wait for a lock"
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert store.commit(group()) == [Appended(2, 2, 2)]


def test_a_removed_file_takes_no_events_until_it_is_back(
    store: SqliteEventStore, path: Path
) -> None:
    away = path.with_name("away.db")
    path.rename(away)
    with pytest.raises(StoreUnavailable):
        store.commit(group())
    assert not path.exists(), "no empty file takes its place"
    away.rename(path)
    assert store.commit(group()) == [Appended(2, 2, 2)]


def test_a_damaged_file_is_reported(store: SqliteEventStore, path: Path) -> None:
    store.commit([each for _ in range(300) for each in group(500)])
    store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4)
        file.write(os.urandom(size // 2))
    damaged = SqliteEventStore(path)
    damaged.open()
    try:
        with pytest.raises(StoreDamaged) as caught:
            damaged.check()
        assert caught.value.advice
    finally:
        damaged.close()


def test_a_file_that_is_no_database_is_reported(path: Path) -> None:
    path.write_bytes(b"not a database, " * 1_000)
    store = SqliteEventStore(path)
    with pytest.raises(StoreDamaged):
        store.open()
    store.close()


def test_a_later_release_s_file_is_left_alone(store: SqliteEventStore, path: Path) -> None:
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1000")
    connection.close()
    before = path.read_bytes()
    later = SqliteEventStore(path)
    with pytest.raises(StoreTooNew):
        later.open()
    later.close()
    assert path.read_bytes() == before


def test_a_read_only_file_is_read_and_not_written() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        store = SqliteEventStore(path)
        try:
            store.open()
            store.take_over("the test")
            store.commit(group())
            for each in Path(folder).iterdir():
                each.chmod(0o444)
            Path(folder).chmod(0o555)
            done = subprocess.run(
                [sys.executable, "-c", TAKES_OVER, str(path)],
                check=True,
                capture_output=True,
                text=True,
                timeout=60,
            )
        finally:
            Path(folder).chmod(0o755)
            store.close()
    assert done.stdout.split() == ["1", "StoreReadOnly"]


def test_a_torn_write_is_cut_with_a_warning(
    store: SqliteEventStore, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = path.with_name(path.name + "-wal")
    before = log.stat().st_size
    store.commit(group())
    # As after a loss of power: the last commit is incomplete.
    torn = tmp_path / "torn.db"
    shutil.copy(path, torn)
    torn.with_name("torn.db-wal").write_bytes(log.read_bytes()[:-100])
    cut = log.stat().st_size - 100 - before
    again = SqliteEventStore(torn)
    try:
        with caplog.at_level(logging.WARNING, "callboard.stores"):
            again.open()
            again.take_over("after the loss")
        assert again.head() == 1
        assert "torn.db" in caplog.text
        assert f" {cut} bytes" in caplog.text
        assert again.commit(group()) == [Appended(2, 2, 2)]
        again.check()
    finally:
        again.close()


def test_a_file_of_version_1_is_migrated(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        for statement in VERSION_1:
            connection.execute(statement)
        connection.execute("INSERT INTO streams VALUES (1, 's')")
        connection.execute("INSERT INTO kinds VALUES (1, 'k')")
        connection.executemany(
            "INSERT INTO events VALUES (?, 1, ?, ?, 1, 1, 0.0, ?, ?)",
            [(n, n, n.to_bytes(16, "big"), b"x", b"") for n in range(1, 101)],
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    store = SqliteEventStore(path)
    try:
        store.open()
        store.take_over("a later release")
        assert [event.position for event in store.read(0, 1_000, kinds=["k"])] == list(
            range(1, 101)
        )
        assert store.commit(group()) == [Appended(101, 101, 101)]
        store.check()
    finally:
        store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    connection.close()
