"""Opening files: of another program, full ones, and one in several processes at once."""

import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Final

import pytest

from callboard.messages.storage.errors import StoreDamaged, StoreFull
from callboard.messages.storage.event_ids import new_event_id
from callboard.messages.storage.events import NO_STREAM, Append, Appended, NewEvent
from callboard.runtime.stores.sqlite import SqliteEventStore
from callboard.runtime.stores.sqlite.schema import (
    APPLICATION_ID,
    SCHEMA,
    VERSION_1,
    bring_forward,
    create,
    version_of,
)

PROCESSES: Final = 4
WAIT_S: Final = 60.0
OPENS: Final = """
import sys
from callboard.runtime.stores.sqlite import SqliteEventStore

print("ready", flush=True)
sys.stdin.readline()
store = SqliteEventStore(sys.argv[1])
store.open()
print(store.head(), len(store.streams()), flush=True)
store.close()
"""


def group(count: int, size: int) -> list[Append]:
    return [Append("s", (NewEvent(uuid.uuid4().bytes, "k", b"x" * size),)) for _ in range(count)]


def make_version_1(path: Path, *, events: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in VERSION_1:
        connection.execute(statement)
    connection.execute("INSERT INTO streams VALUES (1, 's')")
    connection.execute("INSERT INTO kinds VALUES (1, 'k')")
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO events VALUES (?, 1, ?, ?, 1, 1, 0.0, x'', x'')",
        [(n, n, n.to_bytes(16, "big")) for n in range(1, events + 1)],
    )
    connection.execute("COMMIT")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_a_file_of_the_release_before_continues(tmp_path: Path) -> None:
    """Its ids have no order, and one stream has a name but no event."""
    path = tmp_path / "log.db"
    ids = [uuid.uuid4().bytes for _ in range(300)]
    connection = sqlite3.connect(path, isolation_level=None)
    create(connection)
    connection.execute("INSERT INTO streams VALUES (1, 's'), (2, 'empty')")
    connection.execute("INSERT INTO kinds VALUES (1, 'k')")
    connection.executemany(
        "INSERT INTO events VALUES (?, 1, ?, ?, 1, 1, 0.0, x'01', x'')",
        [(n, n, id_) for n, id_ in enumerate(ids, start=1)],
    )
    connection.close()
    store = SqliteEventStore(path)
    try:
        store.open()
        store.take_over("this release")
        old = Append("s", (NewEvent(ids[6], "k", b"\1"),))
        behind, first = (NewEvent(new_event_id(), "k", b"\2") for _ in range(2))
        assert store.commit(
            [old, Append("s", (behind,), 300, ids[-1]), Append("empty", (first,), NO_STREAM)]
        ) == [Appended(7, 7, 7, is_repeat=True), Appended(301, 301, 301), Appended(302, 302, 1)]
        assert [event.id for event in store.read_stream("s")] == [*ids, behind.id]
        store.check()
    finally:
        store.close()


def test_another_program_s_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    store = SqliteEventStore(path)
    with pytest.raises(StoreDamaged, match="another program"):
        store.open()
    store.close()
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert tables == [("theirs",)]


def test_a_file_at_its_limit_is_full_and_works_when_there_is_room(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "log.db")
    try:
        store.open()
        store.take_over("the test")
        writer = store._database.writer()
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(StoreFull) as caught:
            store.commit(group(1_000, 1_000))
        assert caught.value.advice
        assert store.head() == 0
        writer.execute(f"PRAGMA max_page_count = {2**30}")
        outcomes = store.commit(group(1_000, 1_000))
        assert outcomes[-1] == Appended(1_000, 1_000, 1_000)
        store.check()
    finally:
        store.close()


@pytest.mark.parametrize("after", range(3))
def test_tables_that_appear_while_a_file_is_opened_are_no_other_program_s(
    tmp_path: Path, after: int
) -> None:
    """Another process creates them before each statement that looks, in turn."""
    path = tmp_path / "log.db"
    looking, creating = (sqlite3.connect(path, isolation_level=None) for _ in range(2))
    seen: list[str] = []

    def before(statement: str) -> None:
        if len(seen) == after:
            creating.execute("BEGIN")
            create(creating)
            creating.execute("COMMIT")
        seen.append(statement)

    try:
        for connection in (looking, creating):
            connection.execute("PRAGMA journal_mode = WAL")
        looking.set_trace_callback(before)
        bring_forward(looking, "sqlite log.db")
        assert len(seen) > after
        assert version_of(looking, "sqlite log.db") == SCHEMA
    finally:
        looking.close()
        creating.close()


@pytest.mark.parametrize("events", [None, 2_000])
def test_several_processes_open_one_file_at_once(tmp_path: Path, events: int | None) -> None:
    path = tmp_path / "log.db"
    if events is not None:
        make_version_1(path, events=events)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENS, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        ended = [process.communicate(timeout=WAIT_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait(WAIT_S)
    expected = f"{events or 0} {int(events is not None)}\n"
    assert [out for out, _ in ended] == [expected] * PROCESSES, ended
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
