"""A writer is killed with -9 at a random moment, again and again, on one log.

What it acknowledged over its pipe is there, nothing is there twice, no position is missing.
"""

import random
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from callboard.runtime.stores.sqlite import SqliteEventStore

RUN_S_MAX: Final = 30.0
LIFE_S_MAX: Final = 0.08
WRITER: Final = """
import os, sys, uuid
from callboard.messages.events import Append, NewEvent
from callboard.runtime.stores.sqlite import SqliteEventStore

store = SqliteEventStore(sys.argv[1])
store.open()
store.take_over(f"process {os.getpid()}")
os.write(1, b"ready\\n")
while True:
    group = [
        Append(f"s{stream}", tuple(NewEvent(uuid.uuid4().bytes, "k", b"x" * 200) for _ in range(3)))
        for stream in range(4)
    ]
    store.commit(group)
    ids = "".join(event.id.hex() for append in group for event in append.events)
    os.write(1, ids.encode() + b"\\n")
"""
ID_CHARS: Final = 32


def acknowledged_before_kill(path: Path, seed: int) -> list[bytes]:
    """Run a writer, kill it, and give the ids of the events it was sure of."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        try:
            assert select.select([writer.stdout], [], [], RUN_S_MAX)[0], "the writer hangs"
            assert writer.stdout.readline() == b"ready\n"
            # The moment of death is random; nothing else is there to wait for.
            time.sleep(random.Random(seed).uniform(0, LIFE_S_MAX))
        finally:
            writer.kill()
        lines = writer.stdout.read().split(b"\n")
    # The last piece is empty, or a line that the kill has cut: then nobody was told.
    return [
        bytes.fromhex(line[at : at + ID_CHARS].decode())
        for line in lines[:-1]
        for at in range(0, len(line), ID_CHARS)
    ]


def check(path: Path, acknowledged: list[bytes]) -> None:
    store = SqliteEventStore(path)
    store.open()
    try:
        events = store.read(0, 10**9)
        store.check()
    finally:
        store.close()
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    ids = [event.id for event in events]
    assert len(set(ids)) == len(ids)
    assert set(acknowledged) <= set(ids)
    versions: dict[str, int] = {}
    for event in events:
        assert event.version == versions.get(event.stream, 0) + 1
        versions[event.stream] = event.version


def kill_again_and_again(path: Path, runs: int) -> None:
    acknowledged: list[bytes] = []
    for seed in range(runs):
        acknowledged += acknowledged_before_kill(path, seed)
        check(path, acknowledged)
    assert acknowledged, "every writer died before its first commit"


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path / "log.db", runs=40)


@pytest.mark.soak
def test_nothing_acknowledged_is_lost_by_kill_9_for_long(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path / "log.db", runs=200)
