"""PyTorch Monarch: `ask` and `spawn`, with actors in another process.

It is large (about 350 MB) and has its own extra, `monarch`. The bench measures it where that is
installed. Its actors do not need PyTorch itself.
"""

import asyncio
import time
from typing import Any

from monarch.actor import Actor, endpoint, this_host

from bench.entry import serve
from bench.memory import own_bytes
from bench.outcome import Outcome, Params, check_of_each
from bench.timing import round_trip_results, timed
from bench.workload import ask_reply, ask_request

__all__: list[str] = []

IN_FLIGHT_MAX = 1_000


class Worker(Actor):
    """Answers asks, and has a number."""

    def __init__(self, number: int = 0) -> None:
        self._number = number

    @endpoint
    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        return ask_reply(**request)

    @endpoint
    async def number(self) -> int:
        """Give the number of this actor."""
        return self._number

    @endpoint
    async def own_bytes(self) -> int:
        """The private memory of this actor's process."""
        return own_bytes()


async def _ask_all(worker: Any, count: int) -> list[dict[str, Any]]:
    replies: list[dict[str, Any]] = []
    for start in range(0, count, IN_FLIGHT_MAX):
        numbers = range(start, min(start + IN_FLIGHT_MAX, count))
        # All calls are made before the first reply is awaited.
        calls = [worker.ask.call_one(ask_request(number)) for number in numbers]
        replies += [await call for call in calls]
    return replies


async def _ask(params: Params) -> Outcome:
    processes = this_host().spawn_procs()
    try:
        worker = processes.spawn("worker", Worker)
        await _ask_all(worker, params["warm_up"])
        with timed() as pipelined:
            replies = await _ask_all(worker, params["messages"])
        round_trips_ns = []
        for number in range(params["round_trips"]):
            request = ask_request(number)
            start_ns = time.perf_counter_ns()
            await worker.ask.call_one(request)
            round_trips_ns.append(time.perf_counter_ns() - start_ns)
    finally:
        await processes.stop()
    results = {"pipelined_per_s": pipelined.per_s(len(replies))}
    return Outcome(results | round_trip_results(round_trips_ns), check_of_each(replies))


async def _spawn(params: Params) -> Outcome:
    processes = this_host().spawn_procs()
    try:
        first = processes.spawn("first", Worker)
        before_bytes = await first.own_bytes.call_one()
        with timed() as stopwatch:
            workers = [
                processes.spawn(f"worker_{number}", Worker, number)
                for number in range(params["actors"])
            ]
            # A spawn returns at once. An actor exists when it answers.
            calls = [worker.number.call_one() for worker in workers]
            numbers = [await call for call in calls]
        size_bytes = await first.own_bytes.call_one() - before_bytes
    finally:
        await processes.stop()
    return Outcome(
        {
            "actors_per_s": stopwatch.per_s(len(workers)),
            "bytes_per_actor": size_bytes / len(workers),
        },
        check_of_each(numbers),
    )


def ask(params: Params) -> Outcome:
    """Asks to an actor in another process: pipelined, then one at a time."""
    return asyncio.run(_ask(params))


def spawn(params: Params) -> Outcome:
    """Actors spawned in another process, until each has answered."""
    return asyncio.run(_spawn(params))


if __name__ == "__main__":
    serve({"ask": ask, "spawn": spawn})
