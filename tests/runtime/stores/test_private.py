"""What Callboard writes is for its owner only, whatever the umask; wider files are narrowed."""

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import callboard
from callboard import Agent, Contract, Job, Request, SubTask, System, handler
from callboard.jobs import LargeResults
from callboard.messages.storage.errors import StoreUnavailable
from callboard.runtime.cli.commands.group import group
from callboard.runtime.executions.journals import open_journal
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.stores.blobs import FileBlobStore
from callboard.runtime.stores.file_lock import FileLock
from callboard.runtime.stores.private import narrow, open_private, private_folder, write_private
from callboard.runtime.stores.sqlite.database import Database

UMASKS = [0o000, 0o002, 0o022, 0o077, 0o277]
WAIT_S = 30.0


@pytest.fixture(params=UMASKS, ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    try:
        yield request.param
    finally:
        os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def check_tree(folder: Path, *, but: frozenset[str] = frozenset()) -> list[str]:
    """Check the modes of everything below a folder; gives the names."""
    found = [path for path in sorted(folder.rglob("*")) if path.name not in but]
    wide = [
        f"{path} {mode_of(path):o}"
        for path in found
        if mode_of(path) != (0o700 if path.is_dir() else 0o600)
    ]
    assert not wide
    return [path.name for path in found]


class Blob(Contract, name="private.blob"):
    data: bytes


class Make(Request[Blob], name="private.make"):
    size: int


class Maker(Agent):
    @handler
    async def make(self, request: Make) -> Blob:
        return Blob(data=bytes(request.size))


JOB: Job[Make, Any] = Job(
    name="making",
    decompose=lambda request: [SubTask("large", request)],
    large_results=LargeResults.STORE,
    result_bytes_max=1_000,
)


async def test_a_journal_with_its_blobs_and_states_is_for_its_owner(
    umask: int, tmp_path: Path
) -> None:
    place = tmp_path / "new" / "folder" / "journal.db"
    async with callboard.start(
        engine="inline", hosts=1, journal=str(place), states=str(place.with_name("states.db"))
    ) as system:
        await system.pool(Maker, size=1)
        await system.submit(JOB, Make(size=5_000), execution_id="x").result(WAIT_S)
        names = check_tree(tmp_path)
    assert {"journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock"} <= set(names)
    assert {"states.db", "states.db-wal", "journal.db.blobs", "incoming"} <= set(names)
    assert len([name for name in names if len(name) == 64]) == 1


async def test_the_default_journal_is_for_its_owner(umask: int, tmp_path: Path) -> None:
    opened = await open_journal(Settings(), {"CALLBOARD_HOME": str(tmp_path / "home")})
    assert opened is not None
    try:
        assert "callboard.db-wal" in check_tree(tmp_path)
    finally:
        await opened.close()


@pytest.mark.parametrize("durability", ["full", "off"])
def test_each_kind_of_store_is_for_its_owner(umask: int, tmp_path: Path, durability: str) -> None:
    from callboard.runtime.stores.choose import event_store, read_model_store, state_store

    makers: tuple[Callable[..., Any], ...] = (event_store, read_model_store, state_store)
    for number, make in enumerate(makers):
        store = make(str(tmp_path / "a" / f"{number}.db"), durability=durability)
        store.open()
        assert f"{number}.db" in check_tree(tmp_path)
        store.close()


def test_a_page_of_an_execution_is_for_its_owner(umask: int, tmp_path: Path) -> None:
    journal, html = tmp_path / "journal.db", tmp_path / "page.html"

    async def main(system: System) -> None:
        await system.pool(Maker, size=1)
        await system.submit(JOB, Make(size=1), execution_id="x").result(WAIT_S)

    callboard.run(main, engine="inline", hosts=1, journal=str(journal))
    arguments = ["show", "x", "--journal", str(journal), "--html", str(html)]
    assert CliRunner().invoke(group, arguments).exit_code == 0
    assert mode_of(html) == 0o600


def test_a_folder_is_made_with_all_above_it(umask: int, tmp_path: Path) -> None:
    private_folder(tmp_path / "a" / "b" / "c")
    private_folder(tmp_path / "a" / "b" / "c")
    assert check_tree(tmp_path) == ["a", "b", "c"]


def test_a_folder_of_the_user_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    database = Database(tmp_path / "x.db")
    database.open()
    database.close()
    assert mode_of(tmp_path) == 0o755


@contextlib.contextmanager
def says(caplog: pytest.LogCaptureFixture, text: str) -> Iterator[None]:
    with caplog.at_level(logging.WARNING, "callboard"):
        yield
    assert text in caplog.text
    caplog.clear()


def test_wider_files_of_an_earlier_release_are_narrowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(tmp_path / "x.db")
    database.open()
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    again = Database(tmp_path / "x.db")
    with says(caplog, "x.db-wal was open to other users (mode 644). Now its mode is 600."):
        again.open()
    check_tree(tmp_path)
    again.close()
    database.close()


def test_wider_blobs_of_an_earlier_release_are_narrowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileBlobStore(tmp_path / "blobs")
    store.put([b"one"])
    for path in (tmp_path / "blobs").iterdir():
        path.chmod(0o755)
    with says(caplog, "incoming was open to other users (mode 755)"):
        FileBlobStore(tmp_path / "blobs").put([b"one"])
    check_tree(tmp_path)


async def test_a_wider_folder_of_journals_is_narrowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "journals"
    folder.mkdir()
    folder.chmod(0o755)
    with says(caplog, "journals was open to other users"):
        opened = await open_journal(Settings(), {"CALLBOARD_HOME": str(tmp_path)})
    assert opened is not None
    await opened.close()
    assert mode_of(folder) == 0o700


def _refuses(*_given: Any) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_a_wider_file_of_another_user_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.db"
    path.touch()
    path.chmod(0o664)
    monkeypatch.setattr(os, "chmod", _refuses)  # As for a file of another user.
    with pytest.raises(StoreUnavailable, match=r"x.db is open to other users \(mode 664\)"):
        Database(path).open()
    with pytest.raises(PermissionError, match="belongs to user"):
        narrow([path])


def test_a_narrow_file_keeps_its_mode_and_a_device_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    path.chmod(0o400)
    os.close(open_private(path, os.O_RDONLY))
    assert mode_of(path) == 0o400
    narrow([path, tmp_path / "missing"])
    before = mode_of(Path(os.devnull))
    write_private(Path(os.devnull), "text")
    assert mode_of(Path(os.devnull)) == before


def test_an_output_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("a longer text")
    path.chmod(0o644)
    write_private(path, "short")
    assert (path.read_text(), mode_of(path)) == ("short", 0o600)


def test_a_lock_is_for_its_owner(umask: int, tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "x.db")
    assert lock.take()
    assert check_tree(tmp_path) == ["x.db.lock"]
    lock.release()
