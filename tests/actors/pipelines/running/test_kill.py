"""A process with a pipeline is killed with -9 at random moments: nothing is lost or repeated."""

import json
import random
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from callboard.actors.pipelines.running.figures import RunState
from callboard.actors.pipelines.running.sinks import read_table
from callboard.actors.pipelines.running.stored import PipelineStore
from callboard.runtime.stores.sqlite import SqliteReadModelStore

from ..parts import lines
from .killed import running

KILLS: Final = 3
KILLS_SOAK: Final = 50
ROWS: Final = 6_000
RUN_S_MAX: Final = 0.12
DEADLINE_S: Final = 60.0


def incarnation(folder: Path, sink: str, root: Path, seed: int) -> None:
    """Let a process work for a while, and kill it."""
    command = [sys.executable, "-m", "tests.actors.pipelines.running.killed", str(folder), sink]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        try:
            assert select.select([process.stdout], [], [], DEADLINE_S)[0], "it hangs"
            assert process.stdout.readline() == b"ready\n"
            # The moment of death is random; nothing else is there to wait for.
            time.sleep(random.Random(seed).uniform(0, RUN_S_MAX))
        finally:
            process.kill()


def outputs(folder: Path, sink: str, store: SqliteReadModelStore) -> list[Any]:
    if sink == "table":
        return [row for _, row in read_table(store, "orders", limit=100_000)]
    files = sorted((folder / "out").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


@pytest.mark.parametrize("sink", ["table", "files"])
async def test_kill_9_loses_and_repeats_nothing(sink: str, tmp_path: Path, root: Path) -> None:
    await kills(sink, tmp_path, root, KILLS, ROWS)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sink", ["table", "files"])
async def test_fifty_kills(sink: str, tmp_path: Path, root: Path) -> None:
    await kills(sink, tmp_path, root, KILLS_SOAK, ROWS * 10)


async def kills(sink: str, tmp_path: Path, root: Path, count: int, rows_in: int) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines(rows_in)) + b"\n")
    store = SqliteReadModelStore(tmp_path / "pipelines.db")
    stored = PipelineStore(store, "orders")
    for seed in range(count):
        incarnation(tmp_path, sink, root, seed)
        stored.open()
        account = stored.load().account
        assert account is not None
        assert list(account.problems()) == []
    async with running(tmp_path, sink) as last:
        await last.wait(lambda now: now.state is RunState.ENDED, DEADLINE_S)
    account = stored.load().account
    assert account is not None
    assert list(account.problems()) == []
    expected = [n for n in range(rows_in) if n % 10 != 5 and n % 7 != 3]
    rows = outputs(tmp_path, sink, store)
    assert sum(row["rows"] for row in rows) == len(expected)
    assert sum(row["sum"] for row in rows) == sum(expected)
    assert len({row["first"] for row in rows}) == len(rows)
    letters = stored.letters(limit=100_000)
    assert [letter.position for _, letter in letters] == sorted(
        {letter.position for _, letter in letters}
    )
    assert len(letters) == rows_in // 10
    assert account.read == rows_in
    store.close()
