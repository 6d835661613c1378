"""A file that several processes have open: lasting locks, and readers that change nothing."""

import concurrent.futures
import contextlib
import sqlite3
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Final

import pytest

from callboard.messages.storage.errors import StoreReadOnly, StoreTooNew, StoreUnavailable
from callboard.messages.storage.events import Append, Appended, NewEvent
from callboard.runtime.stores.sqlite import SqliteEventStore
from callboard.runtime.stores.sqlite.database import Database
from callboard.runtime.stores.sqlite.schema import APPLICATION_ID, SCHEMA, VERSION_1

DEADLINE_S: Final = 10.0

# Every connection has a lock on this byte of the index. A process that gets it exclusively takes
# itself for the first one, and empties the index.
IS_ALONE: Final = """
import fcntl, sys

with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
    except OSError:
        print("others have it")
    else:
        print("alone")
"""


# What a connection does when it closes: if no other one is there, it removes the log.
IS_LAST: Final = """
import fcntl, sys

with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
    except OSError:
        print("others have it")
    else:
        print("last")
"""
OPENS_AND_CLOSES: Final = """
import sys
from callboard.runtime.stores.sqlite import SqliteEventStore

store = SqliteEventStore(sys.argv[1])
store.open()
store.head()
store.take_over("another")
store.close()
"""


def ran(program: str, path: Path) -> str:
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def group() -> list[Append]:
    return [Append("s", (NewEvent(uuid.uuid4().bytes, "k", b"x"),))]


def is_alone(path: Path) -> str:
    return ran(IS_ALONE, path.with_name(path.name + "-shm"))


def test_a_writer_keeps_its_lock_on_the_index(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    first, second = SqliteEventStore(path), SqliteEventStore(path)
    try:
        first.open()
        first.take_over("the first")
        first.commit(group())
        assert is_alone(path) == "others have it"
        second.open()
        second.take_over("the second")  # This reads the first one's log.
        second.commit(group())
        assert is_alone(path) == "others have it"
    finally:
        first.close()
        second.close()


def test_a_writer_keeps_its_log_when_another_process_closes(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    first, second = SqliteEventStore(path), SqliteEventStore(path)
    try:
        first.open()
        first.take_over("the first")
        first.commit(group())
        second.open()  # In the same process, as the catalogue and the windows of a metrics store.
        assert ran(IS_LAST, path) == "others have it"
        log = path.with_name(path.name + "-wal")
        inode = log.stat().st_ino
        ran(OPENS_AND_CLOSES, path)
        assert log.stat().st_ino == inode
        first.take_over("the first again")
        first.commit(group())
        with contextlib.closing(sqlite3.connect(path)) as fresh:
            assert fresh.execute("SELECT count(*) FROM events").fetchone() == (2,)
            assert fresh.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        first.close()
        second.close()


def test_a_reader_sees_each_commit_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "log?mode=rwc#.db"  # The name must be escaped in a URI.
    writer, reader = SqliteEventStore(path), SqliteEventStore(path, reads_only=True)
    try:
        writer.open()
        writer.take_over("the writer")
        reader.open()
        for head in range(1, 4):
            assert isinstance(writer.commit(group())[0], Appended)
            assert reader.head() == head
        with pytest.raises(StoreReadOnly):
            reader.take_over("the reader")
        assert reader.streams() == ["s"]
        assert isinstance(writer.commit(group())[0], Appended)
    finally:
        reader.close()
        writer.close()
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".db")] == [path.name]


def test_a_reader_creates_no_file_and_no_tables(tmp_path: Path) -> None:
    missing, empty = tmp_path / "a" / "missing.db", tmp_path / "empty.db"
    empty.touch()
    for path, said in ((missing, "no such file"), (empty, "no tables")):
        reader = SqliteEventStore(path, reads_only=True)
        with pytest.raises(StoreUnavailable, match=said):
            reader.open()
        reader.close()
    assert not missing.parent.exists()
    assert empty.stat().st_size == 0


@pytest.mark.parametrize("version", [1, SCHEMA + 1])
def test_a_reader_migrates_no_tables(tmp_path: Path, version: int) -> None:
    path = tmp_path / "log.db"
    connection = sqlite3.connect(path)
    for statement in VERSION_1:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    reader = SqliteEventStore(path, reads_only=True)
    if version > SCHEMA:
        with pytest.raises(StoreTooNew):
            reader.open()
    else:
        reader.open()
        assert reader.read(0, 10, kinds=["k"]) == []
    reader.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("use", ["read", "write"])
def test_connection_in_use_is_closed_after_its_use(tmp_path: Path, use: str) -> None:
    """`sqlite3` takes the process down when another thread closes it meanwhile."""
    database = Database(tmp_path / "log.db")
    database.open()
    used, has_begun, may_end = list[sqlite3.Connection](), threading.Event(), threading.Event()

    def wait() -> int:
        has_begun.set()
        return int(may_end.wait(DEADLINE_S))

    def read() -> int:
        with database.reading() as reader:
            used.append(reader)
            reader.create_function("wait", 0, wait)
        return int(database.rows("SELECT wait()")[0][0])

    def write() -> int:
        writer = database.begin()
        used.append(writer)
        writer.execute("INSERT INTO streams (name) VALUES ('s')")
        ended = wait()
        database.commit(writer)
        return ended

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        call = threads.submit(read if use == "read" else write)
        assert has_begun.wait(DEADLINE_S)
        database.close()
        may_end.set()
        assert call.result(DEADLINE_S) == 1
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        used[0].execute("SELECT 1")
    with pytest.raises(StoreUnavailable, match="is closed"):
        database.rows("SELECT 1")
    with pytest.raises(StoreUnavailable, match="is closed"):
        database.begin()
    again = Database(tmp_path / "log.db")
    assert again.rows("SELECT count(*) FROM streams") == [(int(use == "write"),)]
    again.close()
