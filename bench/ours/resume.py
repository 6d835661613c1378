"""`resume`: an execution with all but one sub-task finished continues in another system.

The first system ends while the last sub-task runs. The time is from the call of `resume` to the
merged result, with the system and its pool running, as after `callboard resume`.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import callboard
from bench.outcome import Outcome, Params, check_of
from bench.stores import store_for
from bench.timing import timed
from callboard import Agent, Job, Request, SubTask, System, handler
from callboard.actors.kernel.props import props
from callboard.messages.jobs.job import LEFT_OUT

from .fanout import HOSTS, Merged, Square, SquareNumber, SquareNumbers, Squarer, merge_squares

__all__ = ["run"]

EXECUTION = "bench-resume"
TIMEOUT_S = 120.0


class Gate(Request[Square]):
    """The sub-task that is running when the first system ends."""

    number: int


class GateAgent(Agent):
    """Answers, or waits for ever."""

    def __init__(self, *, is_open: bool) -> None:
        self._is_open = is_open

    @handler
    async def pass_gate(self, request: Gate) -> Square:
        """Give the result when the gate is open."""
        if not self._is_open:
            await asyncio.Event().wait()
        return Square(number=request.number, text="gate")


def _decompose(request: SquareNumbers) -> Iterator[SubTask]:
    yield SubTask("gate", Gate(number=0), priority=1)
    for number in range(request.count):
        yield SubTask(str(number), SquareNumber(number=number))


JOB: Job[SquareNumbers, Merged] = Job(
    name="resumed",
    decompose=_decompose,
    collect=lambda task, result: LEFT_OUT if task.id == "gate" else result,
    transform=merge_squares,
)


def run(params: Params) -> Outcome:
    """Finish all sub-tasks but one, end the system, resume in another."""
    count = params["sub_tasks"]

    async def first(system: System) -> None:
        await system.pool(Squarer, size=8)
        await system.pool(props(GateAgent, is_open=False), size=1)
        execution = system.submit(JOB, SquareNumbers(count=count), execution_id=EXECUTION)
        async with asyncio.timeout(TIMEOUT_S):
            async for _ in execution.updates():
                if execution.state().intermediate_results >= count:
                    return

    async def second(system: System) -> Outcome:
        await system.pool(Squarer, size=8)
        await system.pool(props(GateAgent, is_open=True), size=1)
        with timed() as stopwatch:
            execution = await system.resume(JOB, EXECUTION)
            merged = await execution.result(TIMEOUT_S)
        attempts = execution.statistics().scheduler
        assert attempts is not None
        return Outcome(
            {"resume_s": stopwatch.elapsed_s, "run_again": float(attempts.attempts_started)},
            check_of({"sum": merged.sum, "texts": list(merged.texts)}),
        )

    with (
        tempfile.TemporaryDirectory(prefix="callboard-resume-") as folder,
        store_for(params, Path(folder)) as (url, _),
    ):
        hosts = params.get("hosts", HOSTS)
        callboard.run(first, hosts=hosts, standbys=0, journal=url)
        return callboard.run(second, hosts=hosts, standbys=0, journal=url)
