"""Processes that keep approvals, or wait for them, are killed with -9 on one store."""

import asyncio
import random
import sys
from pathlib import Path
from typing import Final

from callboard.actors.approvals.core import ApprovalBook
from callboard.actors.approvals.storage import read_approvals, write_approvals
from callboard.messages.control.approvals import Approval, DecideApproval
from callboard.runtime.stores.sqlite import SqliteReadModelStore
from tests.runtime.delivery.http_server import until
from tests.thoroughness import examples

KILLS: Final = 12
"""In `make soak`; a quarter of them in `make test`."""
DEADLINE_S: Final = 60.0
DECIDING: Final = """
import asyncio, sys
import callboard as cb
from callboard.jobs import AskApproval, DecideApproval, start_approvals

async def main(system):
    ref = await start_approvals(system, store=sys.argv[1])
    number = int(sys.argv[2])
    while True:
        for gives, by in ((True, "ada"), (number % 3 > 0, "bob"), (True, "ada")):
            await ref.ask(AskApproval(id=f"q{number}", subject="?", asked_by="me", needed=2))
            try:
                await ref.ask(DecideApproval(id=f"q{number}", gives=gives, by=by))
            except cb.errors.UsageError:
                continue  # It has its answer, from before the kill.
            print(number, by, gives, flush=True)
        number += 1

cb.run(main, engine="inline", hosts=1)
"""
WAITING: Final = """
import asyncio, sys
import callboard as cb
from callboard.jobs import start_approvals

class Paid(cb.Contract):
    by: str
    asked_at: float

class Pay(cb.Request[Paid]):
    pass

class Bank(cb.Agent):
    @cb.handler
    async def pay(self, request: Pay, ctx: cb.Context) -> Paid:
        found = await ctx.approval("Pay?")
        return Paid(by=found.decisions[0].by, asked_at=found.asked_at)

JOB = cb.Job(name="pay", decompose=lambda _: (cb.SubTask("pay", Pay()),))

async def main(system):
    await start_approvals(system)
    await system.pool(Bank, size=1)
    if sys.argv[1] == "first":
        handle = system.submit(JOB, Pay(), execution_id="one")
    else:
        handle = await system.resume(JOB, "one")
    (paid,) = await handle.result()
    print(paid.by, repr(paid.asked_at), flush=True)

cb.run(main, engine="inline", hosts=1, journal="j.db")
"""


def stored(path: Path) -> dict[str, Approval]:
    store = SqliteReadModelStore(path)
    store.open()
    rows = {each.id: each for each in read_approvals(store)[1]}
    store.close()
    return rows


async def test_kill_9_loses_no_confirmed_decision_and_doubles_none(tmp_path: Path) -> None:
    chance, path = random.Random(5), tmp_path / "a.db"
    confirmed: list[tuple[str, str, bool]] = []
    for _ in range(examples(KILLS)):
        first = int(confirmed[-1][0]) if confirmed else 0
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", DECIDING, str(path), str(first), stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(chance.randint(1, 30)):
                number, by, gives = (await child.stdout.readline()).decode().split()
                confirmed.append((number, by, gives == "True"))
        child.kill()
        await child.wait()
        rest = (await child.stdout.read()).decode().splitlines(keepends=True)
        confirmed += [
            (number, by, gives == "True")
            for number, by, gives in (line.split() for line in rest if line.endswith("\n"))
        ]
    rows = stored(path)
    decided = [(each.id[1:], one.by, one.gives) for each in rows.values() for one in each.decisions]
    assert len(decided) == len(set(decided)), "no decision is there twice"
    assert set(confirmed) <= set(decided)
    assert len(set(decided) - set(confirmed)) <= examples(KILLS), "only what was under way"
    for each in rows.values():
        if len(each.decisions) > 1:
            assert each.is_given == (int(each.id[1:]) % 3 > 0)


async def test_a_resumed_execution_waits_for_the_same_approval(tmp_path: Path) -> None:
    path = tmp_path / "j.db.approvals"

    async def started(how: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", WAITING, how, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )

    child = await started("first")
    async with asyncio.timeout(DEADLINE_S):
        await until(lambda: path.exists() and bool(stored(path)))
    child.kill()
    await child.wait()
    (asked,) = stored(path).values()
    store = SqliteReadModelStore(path)
    store.open()
    position, rows = read_approvals(store)
    command = DecideApproval(id=asked.id, gives=True, by="bob")
    assert write_approvals(store, position, ApprovalBook(rows).decide(command, asked.asked_at + 1))
    store.close()
    child = await started("again")
    async with asyncio.timeout(DEADLINE_S):
        out, _ = await child.communicate()
    assert out.decode() == f"bob {asked.asked_at!r}\n"
    assert len(stored(path)) == 1, "nobody is asked twice"
