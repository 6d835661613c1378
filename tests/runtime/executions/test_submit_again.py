"""One request for each execution id: submitted again, it is attached to, continued, or over."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import callboard
from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.actors.executions.submissions import Submission, check_same
from callboard.messages.core.errors import (
    Cancelled,
    ExecutionFailed,
    ExecutionIdTaken,
    UsageError,
)
from callboard.messaging import Array
from callboard.runtime.executions.executions import Executions
from callboard.updates import Finished

WAIT_S = 30.0


class Added(Contract, name="again.added"):
    total: int


class Add(Request[Added], name="again.add"):
    number: int
    note: str = ""


class Grid(Contract, name="again.grid"):
    values: Array
    inner: Add | None = None


class Adder(Agent):
    """Adds, or waits while `holds` is set."""

    ran: ClassVar[list[int]] = []
    holds: ClassVar["asyncio.Event | None"] = None
    begun: ClassVar["asyncio.Event | None"] = None
    fails: ClassVar[bool] = False

    @handler
    async def add(self, request: Add) -> Added:
        Adder.ran.append(request.number)
        if Adder.begun is not None:
            Adder.begun.set()
        if Adder.holds is not None and request.number:
            await Adder.holds.wait()
        if Adder.fails:
            raise TypeError("broken")
        return Added(total=request.number + 1)


def decompose(request: Add) -> list[SubTask]:
    return [SubTask("first", Add(number=0)), SubTask("next", request, needs=("first",))]


JOB: Job[Add, list[Added]] = Job(name="adding", decompose=decompose)


@pytest.fixture(autouse=True)
def _adder() -> None:
    Adder.ran, Adder.holds, Adder.begun, Adder.fails = [], None, asyncio.Event(), False


async def until_it_runs(number: int) -> None:
    assert Adder.begun is not None
    async with asyncio.timeout(WAIT_S):
        while number not in Adder.ran:
            await Adder.begun.wait()
            Adder.begun.clear()


@pytest.fixture(params=["file", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else str(tmp_path / "journal.db")


async def test_what_is_done_gives_its_result_once_more(journal: str) -> None:
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Adder, size=1)
        for _ in range(3):
            execution = system.submit(JOB, Add(number=5), execution_id="x")
            assert [each.total for each in await execution.result(WAIT_S)] == [1, 6]
            updates = [update async for update in execution.updates()]
            assert isinstance(updates[-1], Finished)
            assert updates[-1].status == "completed"
    assert Adder.ran == [0, 5]


async def test_what_has_failed_gives_its_error_once_more(journal: str) -> None:
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Adder, size=1)
        Adder.fails = True
        for _ in range(2):
            with pytest.raises(ExecutionFailed, match="broken"):
                await system.submit(JOB, Add(number=5), execution_id="x").result(WAIT_S)
            Adder.fails = False
    assert Adder.ran == [0]


@pytest.mark.parametrize("journal", ["memory:", "off"])
async def test_what_runs_is_attached_to(journal: str) -> None:
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Adder, size=1)
        Adder.holds = asyncio.Event()
        first = system.submit(JOB, Add(number=5), execution_id="x")
        at_once = system.submit(JOB, Add(number=5), execution_id="x")
        await until_it_runs(5)
        later = system.submit(JOB, Add(number=5), execution_id="x")
        Adder.holds.set()
        results = [await each.result(WAIT_S) for each in (first, at_once, later)]
    assert [[part.total for part in result] for result in results] == [[1, 6]] * 3
    assert Adder.ran == [0, 5]


async def test_what_was_interrupted_continues(tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.db")
    Adder.holds = asyncio.Event()
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Adder, size=1)
        system.submit(JOB, Add(number=5), execution_id="x", attributes={"by": "me"})
        await until_it_runs(5)
    Adder.holds = None
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Adder, size=1)
        again = system.submit(JOB, Add(number=5), execution_id="x", attributes={"by": "me"})
        assert [each.total for each in await again.result(WAIT_S)] == [1, 6]
    assert Adder.ran == [0, 5, 5]


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"request": Add(number=7)}, "number is 5 there and 7 here"),
        ({"request": Add(number=5, note="n")}, "note is '' there and 'n' here"),
        ({"request": Added(total=5)}, "the request is 'again.add' there and 'again.added' here"),
        ({"job": Job[Any, Any](name="other")}, "the job is 'adding' there and 'other' here"),
        ({"attributes": {"a": 1}}, "attribute a is missing there"),
    ],
)
async def test_another_request_is_refused_with_the_difference(
    journal: str, changes: dict[str, Any], said: str, is_running: bool
) -> None:
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Adder, size=1)
        Adder.holds = asyncio.Event() if is_running else None
        first = system.submit(JOB, Add(number=5), execution_id="x")
        if is_running:
            await until_it_runs(5)
        else:
            await first.result(WAIT_S)
        asked = {"job": JOB, "request": Add(number=5), **changes}
        other = system.submit(
            asked["job"], asked["request"], attributes=asked.get("attributes"), execution_id="x"
        )
        with pytest.raises(ExecutionIdTaken, match="'x'") as caught:
            await other.result(WAIT_S)
        assert said in caught.value.message
        assert caught.value.details["differences"] == [said]
        if Adder.holds is not None:
            Adder.holds.set()
        again = system.submit(JOB, Add(number=5), execution_id="x")
        assert [each.total for each in await again.result(WAIT_S)] == [1, 6]
    assert Adder.ran == [0, 5]


async def test_a_cancellation_during_the_look_up_ends_the_known_execution(tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.db")
    Adder.holds = asyncio.Event()
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Adder, size=1)
        system.submit(JOB, Add(number=5), execution_id="x")
        await until_it_runs(5)
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Adder, size=1)
        again = system.submit(JOB, Add(number=5), execution_id="x")
        await asyncio.sleep(0)
        assert again.cancel()
        with pytest.raises(Cancelled):
            await again.result(WAIT_S)
        executions = system._executions
        assert isinstance(executions, Executions)
        assert (await executions._known("x")).history.status == "cancelled"
    assert Adder.ran == [0, 5]


@pytest.mark.parametrize("execution_id", ["", "a\nb", "x\ud800", ":reserved", "x" * 2_000])
async def test_a_wrong_id_is_refused_at_once(execution_id: str) -> None:
    async with callboard.start(engine="inline", hosts=1, journal="memory:") as system:
        with pytest.raises(UsageError, match="the execution id"):
            system.submit(JOB, Add(number=1), execution_id=execution_id)


async def test_an_unknown_odd_id_is_no_execution(journal: str) -> None:
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        with pytest.raises(callboard.errors.CallboardError, match="ud800"):
            await system.resume(JOB, "x\ud800")


def test_messages_are_compared_as_messages() -> None:
    def grid(last: float, note: str = "") -> Submission:
        inner = Add(number=1, note=note)
        return Submission("j", Grid(values=np.array([1.0, last]), inner=inner), {"n": [1, (2,)]})

    check_same("x", grid(2.0), grid(2.0))
    check_same("x", grid(float("nan")), grid(float("nan")))
    for other in (grid(3.0), grid(2.0, "n")):
        with pytest.raises(ExecutionIdTaken):
            check_same("x", grid(2.0), other)


def test_many_differences_are_counted() -> None:
    one = Submission("j", Add(number=1), {})
    other = Submission("j", Add(number=1), {f"a{n}": n for n in range(9)})
    with pytest.raises(ExecutionIdTaken, match="and 4 more") as caught:
        check_same("x", one, other)
    assert len(caught.value.details["differences"]) == 5


# --- processes --------------------------------------------------------------------------------

DRIVER = """
import asyncio, sys, time
from pathlib import Path
import callboard
from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.updates import PartialResult

class Stepped(Contract, name="driver.stepped"):
    number: int

class Step(Request[Stepped], name="driver.step"):
    number: int

class Worker(Agent):
    @handler
    async def step(self, request: Step) -> Stepped:
        with open(sys.argv[2], "a") as file:
            file.write(f"{request.number}\\n")
        if request.number == 3 and not Path(sys.argv[3]).exists():
            await asyncio.Event().wait()
        return Stepped(number=request.number)

def decompose(request):
    return [SubTask(str(n), Step(number=n), needs=(str(n - 1),) if n else ()) for n in range(6)]

async def main(system):
    await system.pool(Worker, size=2)
    job = Job(name="steps", decompose=decompose)
    execution = system.submit(job, Step(number=0), execution_id="nightly")
    async for update in execution.updates():
        if isinstance(update, PartialResult) and update.results == 3:
            print("three are durable", flush=True)
    print([each.number for each in await execution.result(60)], flush=True)

callboard.run(main, engine="inline", hosts=1, journal=sys.argv[1])
"""


def test_a_plain_rerun_of_a_killed_driver_continues(tmp_path: Path) -> None:
    script, ran, free = (tmp_path / name for name in ("driver.py", "ran", "free"))
    script.write_text(DRIVER)
    command = [sys.executable, str(script), str(tmp_path / "journal.db"), str(ran), str(free)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "three are durable\n"
        os.kill(driver.pid, signal.SIGKILL)
    assert ran.read_text().split() == ["0", "1", "2", "3"]
    free.touch()
    for _ in range(2):
        again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert again.stdout.splitlines()[-1] == "[0, 1, 2, 3, 4, 5]"
    assert ran.read_text().split() == ["0", "1", "2", "3", "3", "4", "5"]
