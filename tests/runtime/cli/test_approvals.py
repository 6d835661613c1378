"""Approvals on the command line: with a running system, with its store, and steps in doubt."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from callboard.actors.approvals.core import ApprovalBook
from callboard.actors.approvals.storage import read_approvals, write_approvals
from callboard.jobs import AskApproval
from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.stores.sqlite import SqliteReadModelStore

Run = Callable[..., Any]
DRIVER: Final = """
import asyncio
from callboard import Agent, Context, Contract, Job, Request, SubTask, handler, run
from callboard.jobs import start_approvals


class Paid(Contract):
    by: str = ""


class Pay(Request[Paid]):
    asks: bool


class Bank(Agent):
    failed = False

    @handler
    async def pay(self, request: Pay, ctx: Context) -> Paid:
        if request.asks:
            found = await ctx.approval("Pay 3 EUR?\\x1b[31m", deadline_s=600.0)
            return Paid(by=f"{found.state} by {found.decisions[0].by}")
        if not Bank.failed:
            Bank.failed = True
            raise ValueError("the line broke")
        return Paid(by="again")


def plan(_request):
    return [SubTask("ask", Pay(asks=True)), SubTask("pay", Pay(asks=False), non_idempotent=True)]


async def main(system):
    await start_approvals(system)
    await system.pool(Bank, size=2)
    handle = system.submit(Job(name="pay", decompose=plan), Pay(asks=True), execution_id="one")
    print("begun", flush=True)
    print(sorted(paid.by for paid in await handle.result()), flush=True)


run(main, engine="inline", hosts=1, journal="j.db")
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No system of another test answers: their sockets are in another folder."""
    with tempfile.TemporaryDirectory(prefix="cb") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture
def driver(folder: Path) -> Iterator[subprocess.Popen[str]]:
    (folder / "driver.py").write_text(DRIVER)
    process = subprocess.Popen(
        [sys.executable, "driver.py"], cwd=folder, text=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "begun\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def listed(callboard: Run, *options: str) -> list[dict[str, Any]]:
    ended = callboard("approvals", "--json", *options)
    assert ended.code == 0, ended.err
    (source,) = json.loads(ended.out)["sources"]
    found: list[dict[str, Any]] = source["items"]
    return found


def test_both_kinds_are_listed_and_decided(callboard: Run, driver: subprocess.Popen[str]) -> None:
    while len(found := listed(callboard)) < 2:
        pass
    step, question = sorted(found, key=lambda each: not each["id"].startswith("step:"))
    assert step["id"] == "step:one:pay"
    table = callboard("approvals")
    assert "2 open approvals" in table.out
    assert "\x1b" not in table.out
    assert f"callboard approve {question['id']}" in table.err

    no = callboard("approve", "none")
    assert no.code == ExitCode.USAGE
    assert "no approval" in no.err
    ended = callboard("approve", step["id"], "--reason", "it was not paid")
    assert ended.code == 0, ended.err
    ended = callboard("approve", question["id"], "--refuse", "--reason", "too much", "--json")
    assert ended.code == 0, ended.err
    after = json.loads(ended.out)
    assert (after["state"], after["decisions"][0]["reason"]) == ("refused", "too much")
    assert after["decisions"][0]["by"].startswith("local:")
    out, _ = driver.communicate(timeout=30)
    assert out.startswith("['again', 'refused by local:")
    followed = callboard("tail", "one", "--journal", "j.db").out
    assert "decided: pay: run_again, by local:" in followed
    assert ": it was not paid" in followed
    (kept,) = listed(callboard, "--all", "--store", "j.db.approvals")
    assert kept == after


def test_without_a_system_the_store_takes_the_decision(callboard: Run, folder: Path) -> None:
    nobody = callboard("approvals")
    assert (nobody.code, "you run no system" in nobody.err) == (ExitCode.FAILED, True)
    assert callboard("approve", "q").code == ExitCode.USAGE
    missing = callboard("approvals", "--store", "none.db")
    assert (missing.code, "does not exist" in missing.err) == (ExitCode.USAGE, True)
    store = SqliteReadModelStore(folder / "a.db")
    store.open()
    question = AskApproval(id="q", subject="Pay?", asked_by="ada", needed=2, deadline_s=1e6)
    position, rows = read_approvals(store)
    assert write_approvals(store, position, ApprovalBook(rows).ask(question, 1e9 * 2))
    store.close()
    ended = callboard("approve", "q", "--store", "a.db")
    assert (ended.code, "1 of 2 agree" in ended.out) == (0, True)
    again = callboard("approve", "q", "--store", "a.db", "--json")
    assert len(json.loads(again.out)["decisions"]) == 1
    (row,) = listed(callboard, "--store", "a.db")
    assert row["state"] == "asked"
