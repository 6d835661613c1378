"""Executions are shown, cancelled, forked and resumed from the command line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.executions.history.events import Kind, pack
from callboard.actors.executions.history.fold import fold
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.events import RecordedEvent
from callboard.runtime.admin.reports import Live
from callboard.runtime.cli.chart import timeline
from callboard.runtime.cli.events import line_of, to_data
from callboard.runtime.cli.execution_report import draw
from callboard.runtime.cli.execution_report import to_data as history_data
from callboard.runtime.cli.listing import count_done, rows_of
from callboard.runtime.cli.logs import open_logs
from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.cli.resume import script_of
from callboard.runtime.web.export import exported_history

DRIVER: Final = """
import asyncio
from pathlib import Path

from callboard import Agent, Contract, Job, Request, SubTask, handler, run


class Part(Contract):
    n: int


class Step(Request[Part]):
    n: int


class All(Contract):
    count: int


class Worker(Agent):
    @handler
    async def step(self, request: Step) -> Part:
        with open("runs.txt", "a") as file:
            file.write(f"{request.n}\\n")
        if request.n >= 5 and not Path("go").exists():
            print("halfway", flush=True)
            await asyncio.sleep(60)
        return Part(n=request.n)


def plan(request):
    return [
        SubTask(f"s{n}", Step(n=n), needs=(f"s{n - 1}",) if n else ())
        for n in range(request.count)
    ]


async def main(system):
    await system.pool(Worker, size=2)
    result = await system.submit(Job(name="steps", decompose=plan), All(count=8)).result()
    print([part.n for part in result], flush=True)


run(main, engine="inline", hosts=1, name="demo")
"""
Run = Callable[..., Any]


@pytest.fixture
def driver(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A driver that has finished five of its eight sub-tasks, and hangs in the sixth."""
    (folder / "driver.py").write_text(DRIVER)
    monkeypatch.setenv("CALLBOARD_JOURNAL", str(folder / "j.db"))
    process = subprocess.Popen(
        [sys.executable, "driver.py"], cwd=folder, text=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "halfway\n"
        wait_for_five(str(folder / "j.db"))
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait(30)


def wait_for_five(url: str) -> None:
    """Wait until five results are durable: work runs ahead of its commits."""
    ends_s, pause = time.monotonic() + 20, threading.Event()
    while time.monotonic() < ends_s:
        with open_logs(url) as (log,):
            for row in rows_of(log):
                count_done(log, row)
                if row.done == 5:
                    return
        pause.wait(0.02)
    pytest.fail("its five results are not in the journal")


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)


def listed(callboard: Run) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(callboard("ls", "--journal", "j.db", "--json").out)[
        "executions"
    ]
    return rows


def test_a_killed_driver_is_interrupted_and_resumed_without_running_twice(
    driver: subprocess.Popen[str], callboard: Run, folder: Path
) -> None:
    (row,) = listed(callboard)
    assert (row["status"], row["interrupted"], row["job"]) == ("running", False, "steps")
    kill(driver)
    (row,) = listed(callboard)
    assert (row["interrupted"], row["done"], row["sub_tasks"]) == (True, 5, 8)
    prefix = row["id"][:8]
    shown = callboard("show", prefix, "--journal", "j.db").out
    assert "interrupted" in shown
    assert "s5  driver.Step  waiting" in shown

    (folder / "go").touch()
    ended = callboard("resume", prefix, "--journal", "j.db")
    assert (ended.code, ended.out) == (0, "[0, 1, 2, 3, 4, 5, 6, 7]\n"), ended.err
    runs = (folder / "runs.txt").read_text().split()
    assert sorted(runs) == ["0", "1", "2", "3", "4", "5", "5", "6", "7"]
    again = callboard("resume", prefix, "--journal", "j.db")
    assert again.code == ExitCode.USAGE
    assert "is over: completed" in again.err


def test_a_fork_runs_the_step_and_its_dependents(
    driver: subprocess.Popen[str], callboard: Run, folder: Path
) -> None:
    kill(driver)
    (folder / "go").touch()
    (row,) = listed(callboard)
    assert callboard("resume", row["id"], "--journal", "j.db").code == 0
    fork = json.loads(
        callboard("fork", row["id"], "--from", "s6", "--journal", "j.db", "--json").out
    )
    assert (fork["shared"], fork["sub_tasks"]) == (6, 8)
    second = json.loads(
        callboard("fork", fork["id"], "--from", "s4", "--journal", "j.db", "--json").out
    )
    assert second["shared"] == 4
    for one, wanted in ((fork, ["6", "7"]), (second, ["4", "5", "6", "7"])):
        (folder / "runs.txt").write_text("")
        ended = callboard("resume", one["id"], "--journal", "j.db")
        assert (ended.code, ended.out) == (0, "[0, 1, 2, 3, 4, 5, 6, 7]\n"), ended.err
        assert (folder / "runs.txt").read_text().split() == wanted
    wrong = callboard("fork", row["id"], "--from", "nix", "--journal", "j.db")
    assert wrong.code == ExitCode.USAGE


def test_a_running_execution_is_cancelled_by_its_system(
    driver: subprocess.Popen[str], callboard: Run
) -> None:
    (row,) = listed(callboard)
    refused = callboard("resume", row["id"], "--journal", "j.db")
    assert refused.code == ExitCode.USAGE
    assert f"process {driver.pid}" in refused.err
    ended = callboard("cancel", row["id"][:6], "--journal", "j.db", "--json")
    assert (ended.code, json.loads(ended.out)["status"]) == (0, "cancelled"), ended.err
    driver.wait(30)
    ended = callboard("tail", row["id"], "--journal", "j.db", "--for", "5")
    assert ended.code == 0
    assert "running → cancelled" in ended.out


def test_an_interrupted_execution_is_cancelled_in_the_journal(
    driver: subprocess.Popen[str], callboard: Run
) -> None:
    kill(driver)
    (row,) = listed(callboard)
    late = callboard("tail", row["id"], "--journal", "j.db", "--for", "0.1")
    assert late.code == ExitCode.TIMEOUT
    assert callboard("cancel", row["id"], "--journal", "j.db").code == 0
    (row,) = listed(callboard)
    assert (row["status"], row["interrupted"]) == ("cancelled", False)
    again = callboard("cancel", row["id"], "--journal", "j.db")
    assert again.code == ExitCode.USAGE


def test_a_driver_whose_script_is_gone_is_named(
    driver: subprocess.Popen[str], callboard: Run, folder: Path
) -> None:
    kill(driver)
    (folder / "driver.py").unlink()
    (row,) = listed(callboard)
    ended = callboard("resume", row["id"], "--journal", "j.db")
    assert ended.code == ExitCode.USAGE
    assert "driver.py" in ended.err


def test_an_unknown_name_is_a_usage_error(callboard: Run, folder: Path) -> None:
    assert callboard("show", "abc", "--journal", "nix.db").code == ExitCode.USAGE
    assert callboard("events").code == ExitCode.USAGE


def test_the_script_is_found_among_pythons_options() -> None:
    assert script_of(["-W", "error", "driver.py", "-m"]) == "driver.py"
    assert script_of(["-m", "jobs"]) is None


# --- whatever a journal holds ---------------------------------------------------------------

VALUES: Final = st.recursive(
    st.none() | st.integers(-3, 9) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NAMES: Final = ("id", "job", "request", "at", "by", "rows", "parent", "contracts", "policies",
                "done", "lanes", "from", "to", "phases", "metadata")  # fmt: skip
FIELDS: Final = st.dictionaries(st.sampled_from(NAMES), VALUES)


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), FIELDS.map(pack) | st.binary()), max_size=6))
def test_damaged_events_are_reported_and_never_crash(events: list[tuple[Kind, bytes]]) -> None:
    recorded = [
        RecordedEvent(n, "execution/x", n, b"0" * 16, str(kind), 1, data, b"", 1.0)
        for n, (kind, data) in enumerate(events, 1)
    ]
    for event in recorded:
        json.dumps(to_data(event))
        assert "\n" not in line_of(event)
    with contextlib.suppress(CallboardError):  # Anything else is a crash.
        history = fold("x", recorded)
        assert history.version == len(recorded)


@given(st.text(max_size=20))
def test_a_page_holds_no_markup_of_an_id(text: str) -> None:
    name = f"<script>{text}</script>"
    grown: dict[str, Any] = {
        "parent": None,
        "contracts": [["<b>", 1, 1]],
        "policies": [],
        "rows": [[name, 0, b""]],
    }
    moved: dict[str, Any] = {"at": 2.0, "lanes": [name], "contracts": [["", 0, 0]],
             "done": [[0, 1, 0, 1_000_000, 1_000_000, 0, b""]], "troubled": [], "failed": [],
             "cancelled": [], "skipped": [], "doubtful": []}  # fmt: skip
    kinds: tuple[tuple[Kind, dict[str, Any]], ...] = (
        (Kind.SUBMITTED, {"job": name, "by": name, "at": 1.0}),
        (Kind.PLANNED, {"agents": {}, "plan_maker": None, "sub_tasks": 1}),
        (Kind.GROWN, grown),
        (Kind.MOVED, moved),
    )
    history = fold("x", [
        RecordedEvent(n, "execution/x", n, b"0" * 16, str(kind), 1, pack(fields), b"", 1.0)
        for n, (kind, fields) in enumerate(kinds, 1)
    ])  # fmt: skip
    html = exported_history(history, Live())
    assert html.count("<script") == 2, "the data of the file, and its script"
    assert html.count("</script") == 2
    assert "<b>" not in html
    assert html.count("<!--") == 0
    draw(history, is_running=True)
    timeline(history, 80)
    assert history_data(history, is_running=True)["counts"] == {"done": 1}
