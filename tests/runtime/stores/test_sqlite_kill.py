"""A writer is killed with -9 two hundred times on one log, at random moments of several kinds.

Every acknowledged commit is there once, and no position is missing. A commit without an
acknowledgement is there as a whole or not at all, and appending it again is safe.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from callboard.messages.storage.events import Append, Appended, NewEvent
from callboard.runtime.stores.sqlite import SqliteEventStore

KILLS: Final = 200
# One process forks all writers, so that each starts at once, with the store loaded.
WRITERS: Final = """
import json, os, random, signal, sys, time
from callboard.messages.storage.events import Append, NewEvent
from callboard.runtime.stores.sqlite import SqliteEventStore

WHEN = ("any time", "before a commit", "in a commit", "after a commit")


def group(run, number):
    return [
        Append(f"s{stream}", tuple(
            NewEvent(b"%6d%6d%2d%2d" % (run, number, stream, n), "k", b"x" * 200) for n in range(3)
        ))
        for stream in range(4)
    ]


def write(path, run, when, last, pipe):
    store = SqliteEventStore(path)
    store.open()
    store.take_over(f"run {run}")
    if when == "in a commit":
        # Its own alarm strikes somewhere in the writes and syncs of the last commit.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in range(10**9):
        if number == last and when == "before a commit":
            os.kill(os.getpid(), signal.SIGKILL)
        if number == last and when == "in a commit":
            signal.setitimer(signal.ITIMER_REAL, random.Random(run).uniform(1e-5, 2e-3))
        store.commit(group(run, number))
        if number == last and when == "after a commit":
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(pipe, b"%d\\n" % number)


for run in range(int(sys.argv[2])):
    chance = random.Random(run)
    when, last = WHEN[run % 4], chance.randrange(4)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            write(sys.argv[1], run, when, last, writing)
        finally:
            os._exit(9)
    os.close(writing)
    if when == "any time":
        time.sleep(chance.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
    printed = b""
    while piece := os.read(reading, 65_536):
        printed += piece
    os.close(reading)
    _, status = os.waitpid(child, 0)
    # An incomplete last line does not count.
    acknowledged = printed.count(b"\\n")
    print(json.dumps([run, when, acknowledged, os.WTERMSIG(status)]), flush=True)
"""


def ids_of(run: int, number: int) -> list[bytes]:
    """The ids of one commit, as the writer makes them."""
    return [b"%6d%6d%2d%2d" % (run, number, stream, n) for stream in range(4) for n in range(3)]


def killed(path: Path, kills: int) -> list[tuple[int, str, int]]:
    """For each run: its number, when its writer was killed, and its acknowledged commits."""
    done = subprocess.run(
        [sys.executable, "-c", WRITERS, str(path), str(kills)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(signal in (9, 14) for *_, signal in rows), "each was killed"
    return [(run, when, acknowledged) for run, when, acknowledged, _ in rows]


def check(store: SqliteEventStore, runs: list[tuple[int, str, int]]) -> None:
    events = store.read(0, 10**9)
    store.check()
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    versions: dict[str, int] = {}
    for event in events:
        assert event.version == versions.get(event.stream, 0) + 1
        versions[event.stream] = event.version
    found = [event.id for event in events]
    expected: list[bytes] = []
    for run, when, acknowledged in runs:
        # All acknowledged commits; one without an acknowledgement as a whole or not at all.
        commits = acknowledged
        if found[len(expected) + commits * 12 :][:1] == ids_of(run, commits)[:1]:
            commits += 1
            assert when != "before a commit"
        else:
            assert when != "after a commit", "it was durable, and nobody knew"
        expected += [each for number in range(commits) for each in ids_of(run, number)]
        assert found[: len(expected)] == expected, (run, when)
    assert found == expected


def again(store: SqliteEventStore, run: int, number: int) -> list[bool]:
    """Append a commit again. Gives for each stream whether it was there before."""
    group = [
        Append(
            f"s{stream}",
            tuple(
                NewEvent(b"%6d%6d%2d%2d" % (run, number, stream, n), "k", b"x" * 200)
                for n in range(3)
            ),
        )
        for stream in range(4)
    ]
    outcomes = store.commit(group)
    return [isinstance(outcome, Appended) and outcome.is_repeat for outcome in outcomes]


@pytest.mark.timeout(360)
def test_nothing_acknowledged_is_lost_and_nothing_is_twice(tmp_path: Path) -> None:
    runs = killed(tmp_path / "log.db", KILLS)
    assert sum(acknowledged for *_, acknowledged in runs), "every writer died before its first"
    store = SqliteEventStore(tmp_path / "log.db")
    store.open()
    try:
        check(store, runs)
        store.take_over("the test")
        head = store.head()
        after = [
            (run, acknowledged) for run, when, acknowledged in runs if when == "after a commit"
        ]
        for run, acknowledged in after:
            # Its acknowledgement was lost. The same append again is reported as a repeat.
            assert again(store, run, acknowledged) == [True] * 4
        assert store.head() == head
    finally:
        store.close()
