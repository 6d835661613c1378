"""`fanout`: one request split into sub-tasks, run on a pool, merged into one result.

It covers a whole execution: a plan, the scheduler with retries and credits, contracts checked at
both ends, and results collected in the order of the plan. It runs in memory, as the peers do;
`durable` is the same with a journal.
"""

from collections.abc import Iterator, Sequence

import callboard
from bench.outcome import Outcome, Params, check_of
from bench.timing import timed
from bench.workload import merge_sub_tasks, sub_task_result
from callboard import Agent, Contract, Job, Request, SubTask, System, handler

__all__ = [
    "AGENTS",
    "JOB",
    "Merged",
    "Square",
    "SquareNumber",
    "SquareNumbers",
    "Squarer",
    "measure_fanout",
    "merge_squares",
    "run",
]

HOSTS = 1
"""On 2 cores: one for the driver's scheduler and one for a host. More hosts were slower."""
AGENTS = 8


class Square(Contract):
    """The result of one sub-task."""

    number: int
    text: str


class SquareNumber(Request[Square]):
    """One sub-task."""

    number: int


class Merged(Contract):
    """The merged result of all sub-tasks."""

    sum: int
    texts: tuple[str, ...]


class SquareNumbers(Request[Merged]):
    """The whole request: all numbers below `count`."""

    count: int


class Squarer(Agent):
    """Computes sub-tasks."""

    @handler
    async def square(self, request: SquareNumber) -> Square:
        """Give the result that the workload defines."""
        return Square(**sub_task_result(request.number))


def _decompose(request: SquareNumbers) -> Iterator[SubTask]:
    return (SubTask(str(number), SquareNumber(number=number)) for number in range(request.count))


def merge_squares(squares: Sequence[Square]) -> Merged:
    """Merge all results."""
    return Merged(**merge_sub_tasks({"number": s.number, "text": s.text} for s in squares))


JOB: Job[SquareNumbers, Merged] = Job(name="squares", decompose=_decompose, transform=merge_squares)


async def measure_fanout(system: System, params: Params, *, agents: int) -> Outcome:
    """One execution on a pool over all hosts of a system."""
    await system.pool(Squarer, size=agents)
    await system.submit(JOB, SquareNumbers(count=params["warm_up"])).result()
    with timed() as stopwatch:
        request = SquareNumbers(count=params["sub_tasks"])
        merged = await system.submit(JOB, request).result()
    return Outcome(
        {"sub_tasks_per_s": stopwatch.per_s(params["sub_tasks"])},
        check_of({"sum": merged.sum, "texts": list(merged.texts)}),
    )


def run(params: Params) -> Outcome:
    """One execution on a pool."""

    async def main(system: System) -> Outcome:
        return await measure_fanout(system, params, agents=params.get("agents", AGENTS))

    return callboard.run(main, hosts=params.get("hosts", HOSTS), standbys=0, journal="off")
