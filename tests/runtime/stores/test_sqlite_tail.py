"""The log of a file, cut or overwritten anywhere: earlier commits stay."""

import logging
import random
import shutil
import uuid
from pathlib import Path
from typing import Final

import pytest

from callboard.messages.storage.events import Append, Appended, NewEvent
from callboard.runtime.stores.sqlite import SqliteEventStore

GROUPS: Final = 12
CUTS: Final = 40
Ends = list[tuple[int, int]]


def group(size: int) -> list[Append]:
    return [Append("s", tuple(NewEvent(uuid.uuid4().bytes, "k", b"x" * size) for _ in range(3)))]


@pytest.fixture
def crashed(tmp_path: Path) -> tuple[Path, Ends]:
    """A file and its log as a killed process leaves them: copied while they are open.

    With them, for each commit: its end in the log, and the head after it.
    """
    path = tmp_path / "live.db"
    store = SqliteEventStore(path)
    store.open()
    store.take_over("the one that crashes")
    log = path.with_name("live.db-wal")
    ends = [(log.stat().st_size, 0)]
    for number in range(GROUPS):
        (outcome,) = store.commit(group(400 * number))
        assert isinstance(outcome, Appended)
        ends.append((log.stat().st_size, outcome.last))
    left = tmp_path / "left.db"
    shutil.copy(path, left)
    shutil.copy(log, tmp_path / "left.db-wal")
    store.close()
    return left, ends


def opened_again(path: Path) -> list[int]:
    """Open a file, check that it takes further events, and give its positions."""
    store = SqliteEventStore(path)
    try:
        store.open()
        store.take_over("the next one")
        found = [event.position for event in store.read(0, 1_000)]
        (outcome,) = store.commit(group(10))
        assert isinstance(outcome, Appended)
        assert outcome.first == len(found) + 1
        store.check()
    finally:
        store.close()
    return found


@pytest.mark.parametrize("is_garbage", [False, True])
def test_nothing_before_a_cut_is_lost(
    crashed: tuple[Path, Ends],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    is_garbage: bool,
) -> None:
    left, ends = crashed
    log = left.with_name("left.db-wal").read_bytes()
    draw = random.Random(4)
    for number in range(CUTS):
        at = draw.randrange(ends[0][0], len(log))
        copy = tmp_path / f"cut-{number}.db"
        shutil.copy(left, copy)
        rest = draw.randbytes(len(log) - at) if is_garbage else b""
        copy.with_name(f"{copy.name}-wal").write_bytes(log[:at] + rest)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "callboard.stores"):
            found = opened_again(copy)
        end, head = max((end, head) for end, head in ends if end <= at)
        assert found == list(range(1, head + 1)), at
        if not is_garbage:
            assert (f" {at - end} bytes" in caplog.text) == (at > end), at
