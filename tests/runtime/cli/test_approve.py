"""Decisions about steps in doubt, by the command line, with and without a running system."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

import callboard as cb
from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.messages.core.errors import ExecutionFailed
from callboard.runtime.cli.outcome import ExitCode

Run = Callable[..., Any]
DRIVER: Final = """
from callboard import Agent, Contract, Job, Request, SubTask, handler, run


class Paid(Contract):
    n: int


class Look(Request[Paid]):
    n: int


class Pay(Request[Paid]):
    n: int


class Bank(Agent):
    paid = 0

    @handler
    async def look(self, request: Look) -> Paid:
        return Paid(n=request.n)

    @handler
    async def pay(self, request: Pay) -> Paid:
        Bank.paid += 1
        if Bank.paid == 1:
            raise ValueError("the line broke")
        return Paid(n=Bank.paid)


def plan(_request):
    return [
        SubTask("look", Look(n=0)),
        SubTask("pay it", Pay(n=1), needs=("look",), non_idempotent=True),
    ]


async def main(system):
    await system.pool(Bank, size=1)
    execution = system.submit(Job(name="pay", decompose=plan), Pay(n=1))
    print([paid.n for paid in await execution.result()])


run(main, engine="inline", hosts=1, journal="j.db")
"""


class Paid(Contract, name="approve.paid"):
    """It is paid."""


class Pay(Request[Paid], name="approve.pay"):
    """Pays."""


class Bank(Agent):
    """Fails or hangs while `trouble` is set."""

    runs: ClassVar[int] = 0
    trouble: ClassVar[str] = ""
    begun: ClassVar[asyncio.Event]

    @handler
    async def pay(self, _request: Pay) -> Paid:
        Bank.runs += 1
        Bank.begun.set()
        if Bank.trouble == "hangs":
            await asyncio.Event().wait()
        if Bank.trouble == "fails":
            raise ValueError("the line broke")
        return Paid()


JOB: Final = Job[Pay, list[Paid]](
    name="paying", decompose=lambda _: (SubTask("pay", Pay(), non_idempotent=True),)
)


async def leave_in_doubt(trouble: str) -> None:
    """Run a system that ends while its step hangs, or after the step failed."""
    Bank.runs, Bank.trouble, Bank.begun = 0, trouble, asyncio.Event()
    async with cb.start(engine="inline", hosts=1, journal="j.db") as system:
        await system.spawn(Bank, offer=True, stop_timeout=cb.supervision.StopTimeout.KILL)
        execution = system.submit(JOB, Pay(), execution_id="one")
        async with asyncio.timeout(30):
            await Bank.begun.wait()
            if trouble == "fails":
                async for _ in execution.updates():
                    figures = execution.statistics().scheduler
                    if figures is not None and figures.progress.in_doubt:
                        break
    Bank.trouble = ""


async def resume() -> list[Paid]:
    async with cb.start(engine="inline", hosts=1, journal="j.db") as system:
        await system.pool(Bank, size=1)
        return await (await system.resume(JOB, "one")).result(30)


def listed(callboard: Run) -> dict[str, Any]:
    (row,) = json.loads(callboard("ls", "--journal", "j.db", "--json").out)["executions"]
    found: dict[str, Any] = row
    return found


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
@pytest.mark.parametrize("fails", [False, True])
def test_without_its_system_the_journal_records_the_decision(
    callboard: Run, trouble: str, *, fails: bool
) -> None:
    asyncio.run(leave_in_doubt(trouble))
    assert listed(callboard)["in_doubt"] == ["pay"]
    table = callboard("ls", "--journal", "j.db")
    assert "1 in doubt" in table.out
    assert "callboard approve one pay" in table.err
    assert "callboard approve one pay" in callboard("show", "one", "--journal", "j.db").out

    options = ("--fail",) if fails else ()
    ended = callboard("approve", "one", "pay", "--journal", "j.db", "--json", *options)
    assert ended.code == 0, ended.err
    wanted = "fail" if fails else "run_again"
    assert json.loads(ended.out) == {"id": "one", "step": "pay", "decision": wanted}
    assert listed(callboard)["in_doubt"] == []
    again = callboard("approve", "one", "pay", "--journal", "j.db")
    assert again.code == ExitCode.USAGE
    assert f"is {'failed' if fails else 'ready'}, not in doubt" in again.err

    if fails:
        with pytest.raises(ExecutionFailed):
            asyncio.run(resume())
    else:
        assert asyncio.run(resume()) == [Paid()]
    assert Bank.runs == (1 if fails else 2)
    assert listed(callboard)["status"] == ("failed" if fails else "completed")
    over = callboard("approve", "one", "pay", "--journal", "j.db")
    assert over.code == ExitCode.USAGE
    assert "has ended" in over.err


@pytest.fixture
def driver(folder: Path, callboard: Run) -> Iterator[subprocess.Popen[str]]:
    """A driver with one step that is done, and one in doubt."""
    (folder / "driver.py").write_text(DRIVER)
    process = subprocess.Popen(
        [sys.executable, "driver.py"], cwd=folder, text=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        wait_for_doubt(callboard, folder / "j.db")
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait(30)


def wait_for_doubt(callboard: Run, path: Path) -> None:
    ends_s, pause = time.monotonic() + 30, threading.Event()
    while time.monotonic() < ends_s:
        seen = callboard("ls", "--journal", str(path), "--json")
        if seen.code == 0 and any(row["in_doubt"] for row in json.loads(seen.out)["executions"]):
            return
        pause.wait(0.05)
    pytest.fail("nothing is in doubt")


def test_a_running_system_gets_the_decision(driver: subprocess.Popen[str], callboard: Run) -> None:
    id_ = listed(callboard)["id"]
    for step, said in (("look", "is done, not in doubt"), ("pay iy", "'pay it'"), ("x", "pay it")):
        refused = callboard("approve", id_, step, "--journal", "j.db")
        assert refused.code == ExitCode.USAGE
        assert said.strip("'") in refused.err
    shown = callboard("show", id_, "--journal", "j.db").out
    assert f"callboard approve {id_[:12]} 'pay it'" in shown
    assert "the line broke" in shown
    ended = callboard("approve", id_[:8], "pay it", "--journal", "j.db")
    assert ended.code == 0, ended.err
    assert "runs again; its system continues" in ended.out
    assert driver.stdout is not None
    assert driver.stdout.readline() == "[0, 2]\n"
    assert driver.wait(30) == 0
    assert "decided" in callboard("events", id_, "--journal", "j.db").out
