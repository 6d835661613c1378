"""`callboard store`: a store is checked and migrated from the command line."""

import json
import os
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.executions.history.events import Kind, pack
from callboard.messages.storage.events import Append, NewEvent
from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.stores.blobs import FileBlobStore
from callboard.runtime.stores.sqlite import SqliteEventStore
from callboard.runtime.stores.sqlite.schema import APPLICATION_ID, SCHEMA, VERSION_1

Run = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of 600 events in 3 streams."""
    made = tmp_path / "log.db"
    store = SqliteEventStore(made, durability="off")
    store.open()
    store.take_over("the test")
    store.commit(
        [Append(f"s{n % 3}", (NewEvent(uuid.uuid4().bytes, "k", b"x" * 300),)) for n in range(600)]
    )
    store.close()
    return made


def test_an_intact_store(callboard: Run, path: Path) -> None:
    ended = callboard("store", "check", str(path))
    assert ended.code == ExitCode.OK
    assert "600 events in 3 streams" in ended.out
    ended = callboard("store", "check", f"sqlite:///{path}", "--json")
    assert json.loads(ended.out) == {"url": f"sqlite:///{path}", "events": 600, "streams": 3}


def test_a_damaged_store_fails_with_advice(callboard: Run, path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4)
        file.write(os.urandom(size // 2))
    ended = callboard("store", "check", str(path))
    assert ended.code == ExitCode.FAILED
    assert str(path) in ended.err
    assert "backup" in ended.err


def test_a_gap_that_sqlite_does_not_see_is_found(callboard: Run, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM events WHERE position = 300")
    connection.close()
    ended = callboard("store", "check", str(path))
    assert ended.code == ExitCode.FAILED
    assert "position 299" in " ".join(ended.err.split())


@pytest.mark.parametrize("command", ["check", "migrate"])
def test_a_file_that_is_not_there_is_not_made(callboard: Run, tmp_path: Path, command: str) -> None:
    ended = callboard("store", command, str(tmp_path / "none.db"))
    assert ended.code == ExitCode.USAGE
    assert not (tmp_path / "none.db").exists()


def test_a_file_of_an_earlier_release_is_checked_unchanged_and_migrated(
    callboard: Run, tmp_path: Path
) -> None:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in VERSION_1:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    assert callboard("store", "check", str(path)).code == ExitCode.OK
    assert version(path) == 1
    assert callboard("store", "migrate", str(path)).code == ExitCode.OK
    assert version(path) == SCHEMA


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(found)


def test_blobs_that_nothing_refers_to_are_found_and_deleted(callboard: Run, path: Path) -> None:
    blobs = FileBlobStore(path.with_name(path.name + ".blobs"))
    needed, unused, young, gone = (blobs.put((text,))[0] for text in (b"n", b"un", b"you", b"gone"))
    refers = [[0, 1, 0, 0, 0, 0, b"", [], list(ref)] for ref in (needed, gone)]
    plain = [[1, 1, 0, 0, 0, 0, b"small"], [2, 1, 0, 0, 0, 0, b"", [b"buffer"]]]
    store = SqliteEventStore(path, durability="off")
    store.open()
    store.take_over("the test")
    names = ("lanes", "troubled", "failed", "cancelled", "skipped", "doubtful")
    turn = {"at": 1.0, "contracts": [["x", 1, 1]], "done": [*plain, *refers]}
    fields = turn | {name: [] for name in names} | {"lanes": ["1/1"]}
    moved = NewEvent(uuid.uuid4().bytes, Kind.MOVED, pack(fields))
    store.commit([Append("execution/x", (moved,))])
    store.close()
    blobs.drop([gone.digest])
    for blob in (needed, unused):
        name = blob.digest.hex()
        os.utime(path.with_name(path.name + ".blobs") / name[:2] / name, (1.0, 1.0))
    found = json.loads(callboard("store", "blobs", str(path), "--json").out)
    assert (found["blobs"], found["unused"], found["missing"], found["dropped"]) == (3, 1, 1, False)
    assert (found["bytes"], found["unused_bytes"]) == (6, 2)
    assert len(list(blobs.blobs())) == 3, "nothing is deleted without --drop"
    ended = callboard("store", "blobs", str(path), "--drop")
    assert "1 of them, 2 bytes: deleted" in " ".join(ended.out.split())
    assert {blob.digest for blob in blobs.blobs()} == {needed.digest, young.digest}
    callboard("store", "blobs", str(path), "--drop", "--older-than", "0")
    assert {blob.digest for blob in blobs.blobs()} == {needed.digest}


def test_a_store_without_a_blob_folder_is_an_error(callboard: Run) -> None:
    ended = callboard("store", "blobs", "postgresql://x/y")
    assert ended.code != ExitCode.OK
    assert "--blobs" in ended.err
