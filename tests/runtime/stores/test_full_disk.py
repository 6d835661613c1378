"""A disk that is really full: a small one in memory, which root can mount."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import StoreFull
from callboard.messages.storage.events import Append, Appended, EventStore, NewEvent
from callboard.runtime.stores.postgres import PostgresEventStore
from callboard.runtime.stores.sqlite import SqliteEventStore
from tests.servers.postgres_server import PostgresServer

DISK_BYTES: Final = 8 * 2**20
COMMITS_MAX: Final = 1_000


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder on its own disk of 8 MiB, which the server's user can enter too."""
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="callboard-disk-"))
    folder.chmod(0o755)
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=777", "tmpfs", folder],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    folder.rmdir()


def group() -> list[Append]:
    return [Append("s", tuple(NewEvent(uuid.uuid4().bytes, "k", b"x" * 7_000) for _ in range(8)))]


def fill(store: EventStore) -> tuple[int, list[Append]]:
    """Commit until the disk is full. Gives the head before, and the group that found no room."""
    head = store.head()
    for _ in range(COMMITS_MAX):
        one = group()
        try:
            (outcome,) = store.commit(one)
        except StoreFull:
            return head, one
        assert isinstance(outcome, Appended)
        head = outcome.last
    pytest.fail("the disk does not become full")


def check(store: EventStore, head: int, refused: list[Append], ballast: Path) -> None:
    """Check that all acknowledged events are there, and that with room the group is stored once."""
    positions = [event.position for event in store.read(0, 10_000)]
    assert positions == list(range(1, head + 1)), "nothing of the refused commit is there"
    with pytest.raises(StoreFull) as full:
        store.commit(refused)
    assert not full.value.may_have_run
    assert "room" in full.value.advice
    ballast.unlink()
    (outcome,) = store.commit(refused)
    assert outcome == Appended(head + 1, head + 8, head + 8)
    assert [event.position for event in store.read(head, 100)] == list(range(head + 1, head + 9))


def test_sqlite_continues_when_there_is_room(disk: Path) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * (DISK_BYTES // 2))
    store = SqliteEventStore(disk / "log.db")
    store.open()
    store.take_over("the test")
    try:
        head, refused = fill(store)
        assert head > 0
        check(store, head, refused, ballast)
        store.check()
    finally:
        store.close()
    again = SqliteEventStore(disk / "log.db")
    again.open()
    try:
        assert again.head() == head + 8
    finally:
        again.close()


def test_a_file_cannot_be_made_on_a_full_disk(disk: Path) -> None:
    (disk / "ballast").write_bytes(b"x" * (DISK_BYTES - 4_096))
    store = SqliteEventStore(disk / "log.db")
    try:
        with pytest.raises(CallboardError) as refused:
            store.open()
    finally:
        store.close()
    assert isinstance(refused.value, StoreFull)


def test_postgres_continues_when_there_is_room(
    disk: Path, postgres_server: PostgresServer, postgres_url: str, postgres_schema: str
) -> None:
    """The table of the events is on its own disk, which becomes full."""
    kept = disk / "tables"
    kept.mkdir()
    shutil.chown(kept, pwd.getpwnam("nobody").pw_uid)
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * (DISK_BYTES // 2))
    store = PostgresEventStore(postgres_url)
    store.open()
    space = f"small_{postgres_schema}"
    try:
        postgres_server.execute(f"CREATE TABLESPACE {space} LOCATION '{kept}'")
        postgres_server.execute(f"ALTER TABLE {postgres_schema}.events SET TABLESPACE {space}")
        # Without compression the data stays in the table itself.
        postgres_server.execute(
            f"ALTER TABLE {postgres_schema}.events ALTER COLUMN data SET STORAGE PLAIN"
        )
        store.take_over("the test")
        head, refused = fill(store)
        assert head > 0
        check(store, head, refused, ballast)
    finally:
        store.close()
        postgres_server.execute(f"DROP SCHEMA {postgres_schema} CASCADE")
        postgres_server.execute(f"DROP TABLESPACE IF EXISTS {space}")
