"""The log of a killed writer, torn at every kind of place: it is cut with a warning."""

import logging
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from callboard.messages.storage.events import Append, Appended, NewEvent
from callboard.runtime.stores.sqlite import SqliteEventStore

WRITER: Final = """
import os, signal, sys, uuid
from pathlib import Path
from callboard.messages.storage.events import Append, NewEvent
from callboard.runtime.stores.sqlite import SqliteEventStore

path = Path(sys.argv[1])
store = SqliteEventStore(path)
store.open()
store.take_over("the one that is killed")
for number in range(8):
    events = tuple(NewEvent(uuid.uuid4().bytes, "k", b"x" * 3_000) for _ in range(4))
    store.commit([Append("s", events)])
    print(path.with_name(path.name + "-wal").stat().st_size, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
COMMITTED: Final = 8 * 4
FRAME: Final = 24 + 4_096
SECTOR: Final = 512


def killed(path: Path) -> tuple[int, int]:
    """Kill a writer after its commits. Gives the begin and end of its last commit in the log."""
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    *_, begin, end = map(int, done.stdout.split())
    assert end - begin >= 3 * FRAME, "the last commit has several frames"
    return begin, end


def opened(path: Path, caplog: pytest.LogCaptureFixture) -> int:
    """Open the store, check that it works, and give its head. Warnings are in `caplog`."""
    store = SqliteEventStore(path)
    try:
        with caplog.at_level(logging.WARNING, "callboard.stores"):
            store.open()
            store.take_over("the next one")
        head = store.head()
        assert [event.position for event in store.read(0, 100)] == list(range(1, head + 1))
        (outcome,) = store.commit([Append("s", (NewEvent(uuid.uuid4().bytes, "k", b"y"),))])
        assert isinstance(outcome, Appended)
        assert outcome.first == head + 1
        store.check()
    finally:
        store.close()
    return head


def test_a_complete_log_is_accepted_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed(tmp_path / "log.db")
    assert opened(tmp_path / "log.db", caplog) == COMMITTED
    assert caplog.text == ""


PLACES: Final[Mapping[str, Callable[[int, int], int]]] = {
    "before the first frame": lambda begin, _end: begin + 1,
    "in the salt of the first frame": lambda begin, _end: begin + 8,
    "in the checksum of the first frame": lambda begin, _end: begin + 20,
    "where the first page begins": lambda begin, _end: begin + 24,
    "in the first page": lambda begin, _end: begin + 24 + 2_000,
    "between two frames": lambda begin, _end: begin + FRAME,
    "in the header of the commit frame": lambda _begin, end: end - FRAME + 5,
    "in the page of the commit frame": lambda _begin, end: end - 700,
    "before the last byte": lambda _begin, end: end - 1,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", ["cut", "zeros", "garbage"])
def test_a_torn_commit_is_cut_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str, how: str
) -> None:
    path = tmp_path / "log.db"
    begin, end = killed(path)
    at = PLACES[place](begin, end)
    log = path.with_name("log.db-wal")
    if how == "cut":
        os.truncate(log, at)
    else:
        size = min(SECTOR, end - at)
        before = log.read_bytes()[at : at + size]
        # The whole sector changes. If it held only zeros, zeros change nothing.
        changed = bytes(size) if how == "zeros" else bytes(byte ^ 0x5A for byte in before)
        if changed == before:
            pytest.skip("there were zeros before")
        with log.open("r+b") as file:
            file.seek(at)
            file.write(changed)
    assert opened(path, caplog) == COMMITTED - 4, "the commit before it is the last"
    cut = (at if how == "cut" else end) - begin
    expected = f" {cut} bytes at the end of its log were not committed" if cut else ""
    assert expected in caplog.text
