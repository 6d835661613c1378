"""A file whose rows come and go stays small: its log, its free pages, and old files."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from callboard.runtime.stores.sqlite.database import (
    FREED_PAGES_MAX,
    PAGE_BYTES,
    SMALL_LOG_PAGES,
    SMALL_SHARE,
    Database,
)

MIB = 2**20


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "small.db", durability="off", stays_small=True)
    made.open()
    with made.writing() as writer:
        writer.execute("CREATE TABLE things (thing BLOB)")
    yield made
    made.close()


def fill(database: Database, mib: int) -> None:
    for _ in range(mib * 4):
        with database.writing() as writer:
            writer.execute("INSERT INTO things VALUES (?)", (os.urandom(MIB // 4),))


def log_bytes(database: Database) -> int:
    return database.path.with_name(database.path.name + "-wal").stat().st_size


def pages(database: Database, name: str) -> int:
    return int(database.rows(f"PRAGMA {name}")[0][0])


def test_the_log_is_small_and_grows_with_the_file(database: Database) -> None:
    commit = 2 * MIB  # One commit is always in the log as a whole.
    fill(database, 4)
    assert log_bytes(database) < SMALL_LOG_PAGES * PAGE_BYTES + commit
    fill(database, 60)
    assert log_bytes(database) < 64 * MIB // SMALL_SHARE + commit
    assert log_bytes(database) > SMALL_LOG_PAGES * PAGE_BYTES


def test_free_pages_are_given_back_step_by_step(database: Database) -> None:
    fill(database, 8)
    with database.writing() as writer:
        writer.execute("DELETE FROM things WHERE rowid % 8")
    steps = []
    while freed := database.shrink():
        assert freed <= FREED_PAGES_MAX + 8  # And pages that say where others are.
        steps.append(freed)
    assert len(steps) > 2
    assert pages(database, "freelist_count") <= pages(database, "page_count") // SMALL_SHARE + 1
    database.check()
    fill(database, 1)
    database.close()
    assert database.path.stat().st_size < 3 * MIB


def test_a_file_of_an_earlier_release_keeps_its_pages_and_works(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = Database(path, durability="off")
    old.open()
    with old.writing() as writer:
        writer.execute("CREATE TABLE things (thing BLOB)")
    fill(old, 2)
    old.close()
    new = Database(path, durability="off", stays_small=True)
    new.open()
    with new.writing() as writer:
        writer.execute("DELETE FROM things")
    assert new.shrink() == 0
    free = pages(new, "freelist_count")
    fill(new, 1)
    assert pages(new, "freelist_count") < free
    new.check()
    new.close()
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA auto_vacuum").fetchone() == (0,)
