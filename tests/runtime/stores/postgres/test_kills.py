"""A writer's process is killed with -9 while it commits, again and again."""

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from callboard.messages.storage.events import Append, Appended
from tests.runtime.stores.postgres.drive import check_log, opened
from tests.runtime.stores.postgres.writing_child import event

CHILD = "tests.runtime.stores.postgres.writing_child"


def killed(root: Path, url: str, run: int, chance: random.Random) -> int:
    """Start a child that writes, and kill it at some moment. Gives its last acknowledged number."""
    child = subprocess.Popen(
        [sys.executable, "-m", CHILD, url, str(run)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    limit = threading.Timer(60, child.kill)
    limit.start()
    try:
        last = int(child.stdout.readline())
        threading.Event().wait(chance.uniform(0, 0.05))
        child.kill()
        for line in child.stdout:
            if line.endswith("\n"):
                last = int(line)
    finally:
        limit.cancel()
        child.kill()
        child.wait(30)
        child.stdout.close()
    return last


def check_kills(root: Path, url: str, runs: int, seed: int) -> None:
    chance = random.Random(seed)
    expected: list[bytes] = []
    for run in range(runs):
        last = killed(root, url, run, chance)
        with opened(url) as store:
            data = check_log(store)
            assert data[: len(expected)] == expected
            written = data[len(expected) :]
            # Whole groups, in order: all acknowledged ones, and at most one more.
            assert written == [event(run, number).data for number in range(len(written))]
            assert len(written) in {last + 1, last + 4}
            # Append that group again, as a writer without an answer does.
            group = [Append(f"s{n % 5}", (event(run, n),)) for n in range(last + 1, last + 4)]
            results = [result for result in store.commit(group) if isinstance(result, Appended)]
            assert [result.is_repeat for result in results] == [len(written) == last + 4] * 3
            expected += [event(run, number).data for number in range(last + 4)]
            assert check_log(store) == expected


def test_a_killed_writer_loses_and_doubles_nothing(root: Path, postgres_url: str) -> None:
    check_kills(root, postgres_url, runs=8, seed=1)


@pytest.mark.soak
def test_a_writer_killed_two_hundred_times(root: Path, postgres_url: str) -> None:
    check_kills(root, postgres_url, runs=200, seed=2)
