"""Commands on executions that no system runs, while another system writes their journal."""

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

from callboard.runtime.cli.outcome import ExitCode

Run = Callable[..., Any]
DRIVER: Final = """
import asyncio
import sys

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
        if request.n == 5:
            raise ValueError("it may have been paid")
        return Part(n=request.n)


def plan(request):
    return [
        SubTask(f"s{n}", Step(n=n), needs=(f"s{n - 1}",) if n else (), non_idempotent=n == 5)
        for n in range(request.count)
    ]


def grows(sub_task, _part):
    return [SubTask("more", Step(n=9))] if sub_task.id == "s1" else []


STEPS = Job(name="steps", decompose=plan, expand=grows)


async def main(system):
    await system.pool(Worker, size=2)
    print("up", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        execution_id, count = line.split()
        execution = system.submit(STEPS, All(count=int(count)), execution_id=execution_id)
        print(len(await execution.result()), flush=True)


run(main, engine="inline", hosts=1, name="demo", journal="j.db")
"""


class Driver:
    """A driver that submits executions on request, and keeps running."""

    def __init__(self, folder: Path) -> None:
        (folder / "driver.py").write_text(DRIVER)
        self.process = subprocess.Popen(
            [sys.executable, "driver.py"],
            cwd=folder,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    def submit(self, execution_id: str, count: int = 4) -> int:
        """Submit an execution, and give the number of its results."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{execution_id} {count}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def begin(folder: Path) -> Iterator[Callable[[], Driver]]:
    started: list[Driver] = []

    def begin() -> Driver:
        started.append(Driver(folder))
        return started[-1]

    yield begin
    for driver in started:
        driver.close()


@pytest.fixture
def json_of(callboard: Run) -> Callable[..., Any]:
    """Runs a command with --json, and gives its output as data."""

    def run(*arguments: str) -> Any:
        ended = callboard(*arguments, "--journal", "j.db", "--json")
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    return run


def listed(json_of: Run) -> dict[str, Any]:
    return {row["id"]: row for row in json_of("ls")["executions"]}


def test_a_running_system_records_a_fork_and_runs_it(
    begin: Callable[[], Driver], callboard: Run, json_of: Run, folder: Path
) -> None:
    driver = begin()
    assert driver.submit("origin") == 5
    fork = json_of("fork", "origin", "--from", "s2")
    assert (fork["shared"], fork["sub_tasks"]) == (3, 5)
    row = listed(json_of)[fork["id"]]
    assert (row["done"], row["sub_tasks"], row["shared"]) == (3, 5, 3)
    assert (row["job"], row["interrupted"]) == ("steps", True)
    assert driver.submit("after") == 5, "its writer was not fenced"

    (folder / "runs.txt").write_text("")
    ended = json_of("resume", fork["id"])
    assert ended == {"id": fork["id"], "status": "completed", "exit_code": 0}
    assert (folder / "runs.txt").read_text().split() == ["2", "3"]
    row = listed(json_of)[fork["id"]]
    assert (row["done"], row["sub_tasks"], row["interrupted"]) == (5, 5, False)
    shown = json_of("show", fork["id"])
    assert shown["owners"][-1]["owner"] == f"demo/{driver.process.pid}"
    assert driver.submit("again") == 5


def test_a_fork_that_grows_again_counts_the_added_sub_tasks(
    begin: Callable[[], Driver], json_of: Run
) -> None:
    driver = begin()
    driver.submit("origin")
    fork = json_of("fork", "origin", "--from", "s1")
    assert (fork["shared"], fork["sub_tasks"]) == (1, 4)
    second = json_of("fork", fork["id"], "--from", "s0")
    rows = listed(json_of)
    assert (rows[fork["id"]]["done"], rows[fork["id"]]["sub_tasks"]) == (1, 4)
    assert (rows[second["id"]]["done"], rows[second["id"]]["sub_tasks"]) == (0, 4)
    json_of("resume", second["id"])
    json_of("resume", fork["id"])
    rows = listed(json_of)
    for each in (fork["id"], second["id"], "origin"):
        assert (rows[each]["done"], rows[each]["sub_tasks"]) == (5, 5)


def test_an_execution_without_a_driver_is_cancelled_and_decided_through_the_system(
    begin: Callable[[], Driver], callboard: Run, json_of: Run
) -> None:
    first = begin()
    assert first.process.stdin is not None
    first.process.stdin.write("doubtful 7\n")
    first.process.stdin.flush()
    wait_for_doubt(callboard)
    first.kill()

    second = begin()
    second.submit("other")
    fork = json_of("fork", "other", "--from", "s3")
    assert json_of("cancel", fork["id"])["status"] == "cancelled"
    decided = json_of("approve", "doubtful", "s5", "--fail")
    assert decided["decision"] == "fail"
    assert listed(json_of)["doubtful"]["in_doubt"] == []
    assert listed(json_of)["doubtful"]["status"] == "running"
    ended = callboard("resume", "doubtful", "--journal", "j.db", "--json")
    assert ended.code == ExitCode.FAILED
    assert json.loads(ended.out)["status"] == "failed"
    assert second.submit("after") == 5


def wait_for_doubt(callboard: Run) -> None:
    ends_s, pause = time.monotonic() + 30, threading.Event()
    while time.monotonic() < ends_s:
        seen = callboard("ls", "--journal", "j.db", "--json")
        if any(row["in_doubt"] for row in json.loads(seen.out)["executions"]):
            return
        pause.wait(0.05)
    pytest.fail("nothing is in doubt")


def test_a_system_that_does_not_know_the_job_says_so(
    begin: Callable[[], Driver], callboard: Run, json_of: Run
) -> None:
    first = begin()
    first.submit("origin")
    fork = json_of("fork", "origin", "--from", "s3")
    first.kill()
    begin()
    ended = callboard("resume", fork["id"], "--journal", "j.db", "--json")
    assert ended.code == ExitCode.USAGE
    assert "no request of job 'steps'" in ended.err


@pytest.mark.soak
def test_a_fork_does_not_wait_for_a_system_that_hangs(
    begin: Callable[[], Driver], callboard: Run
) -> None:
    driver = begin()
    driver.submit("origin")
    os.kill(driver.process.pid, signal.SIGSTOP)
    try:
        ended = callboard("fork", "origin", "--from", "s1", "--journal", "j.db")
    finally:
        os.kill(driver.process.pid, signal.SIGCONT)
    assert ended.code == ExitCode.USAGE
    assert f"process {driver.process.pid}, which does not answer" in ended.err
