"""Snapshots of executions on a whole system: written during the work, used by a resume."""

import asyncio
import functools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

import callboard
from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.actors.executions.history.snapshots import HistorySnapshots
from callboard.runtime.executions import journals
from callboard.runtime.executions.executions import Executions

STEPS = 30
WAIT_S = 30.0
ID = "long"


class Counted(Contract, name="snapshots.counted"):
    number: int


class Count(Request[Counted], name="snapshots.count"):
    number: int


class Counter(Agent):
    counted: ClassVar[list[int]] = []
    waits_at: ClassVar[int] = STEPS - 1

    @handler
    async def count(self, request: Count) -> Counted:
        if request.number == Counter.waits_at:
            await asyncio.Event().wait()
        Counter.counted.append(request.number)
        return Counted(number=request.number)


@pytest.fixture(autouse=True)
def _counter(monkeypatch: pytest.MonkeyPatch) -> None:
    Counter.counted, Counter.waits_at = [], STEPS - 1
    # A thousand events would take long here.
    monkeypatch.setattr(journals, "HistorySnapshots", functools.partial(HistorySnapshots, every=4))


def chain(_request: Count) -> list[SubTask]:
    """One after the other: each is a turn of its own, and so an event."""
    return [
        SubTask(str(n), Count(number=n), needs=(str(n - 1),) if n else ()) for n in range(STEPS)
    ]


JOB: Job[Count, list[Counted]] = Job(name="long", decompose=chain)


def snapshots_of(executions: object) -> Any:
    assert isinstance(executions, Executions)
    assert executions._snapshots is not None
    return executions._snapshots.statistics


async def first_run(path: Path) -> int:
    """Run until the last step waits; return the number of snapshots."""
    async with callboard.start(engine="inline", hosts=1, journal=str(path)) as system:
        await system.pool(Counter, size=2)
        execution = system.submit(JOB, Count(number=0), execution_id=ID)
        async with asyncio.timeout(WAIT_S):
            async for _ in execution.updates():
                if execution.state().intermediate_results == STEPS - 1:
                    break
        statistics = snapshots_of(system._executions)
    assert statistics.failures == 0
    return int(statistics.saved)


async def second_run(path: Path) -> tuple[int, int, int]:
    """Resume, check the result, and return the numbers of used, missing and damaged snapshots."""
    Counter.waits_at = -1
    async with callboard.start(engine="inline", hosts=1, journal=str(path)) as system:
        await system.pool(Counter, size=2)
        execution = await system.resume(JOB, ID)
        used = snapshots_of(system._executions)
        found = (used.used, used.missing, used.damaged)
        assert [one.number for one in await execution.result(WAIT_S)] == list(range(STEPS))
    assert Counter.counted == list(range(STEPS))
    return found


async def test_a_resume_reads_the_snapshot_and_what_is_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    assert await first_run(path) >= 1
    assert await second_run(path) == (1, 0, 0)


def deleted(file: sqlite3.Connection) -> None:
    file.execute("DELETE FROM snapshots")


def damaged(file: sqlite3.Connection) -> None:
    ((data,),) = file.execute("SELECT data FROM snapshots").fetchall()
    file.execute("UPDATE snapshots SET data = ?", (data[:-1] + bytes([data[-1] ^ 1]),))


@pytest.mark.parametrize(("change", "found"), [(deleted, (0, 1, 0)), (damaged, (0, 0, 1))])
async def test_without_a_snapshot_that_can_be_used_it_is_the_same(
    change: Callable[[sqlite3.Connection], None], found: tuple[int, int, int], tmp_path: Path
) -> None:
    path = tmp_path / "j.db"
    assert await first_run(path) >= 1
    with sqlite3.connect(path) as file:
        change(file)
    file.close()
    assert await second_run(path) == found
