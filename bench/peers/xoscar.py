"""xoscar: `ask` (main pool and sub pool, two processes), `tell_local` and `spawn`."""

import asyncio
import time
from typing import Any

import xoscar

from bench.entry import serve
from bench.loop import run_on_fastest_loop
from bench.memory import own_bytes
from bench.outcome import Outcome, Params, check_of, check_of_each
from bench.timing import round_trip_results, timed
from bench.workload import ask_reply, ask_request

__all__: list[str] = []

IN_FLIGHT_MAX = 1_000
"""Calls in flight at once. More were not faster."""
ANY_PORT = "127.0.0.1:0"


class Worker(xoscar.Actor):
    """Answers asks, counts tells, and has a number."""

    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self._number = number
        self._tally = {"count": 0, "total": 0}

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return ask_reply(**request)

    async def tell(self, message: dict[str, Any]) -> None:
        self._tally["count"] += 1
        self._tally["total"] += message["number"]

    async def tally(self) -> dict[str, int]:
        # Reading starts a new count without the warm-up.
        tally, self._tally = self._tally, {"count": 0, "total": 0}
        return tally

    async def number(self) -> int:
        return self._number


async def _ask_all(worker: Any, count: int) -> list[dict[str, Any]]:
    replies: list[dict[str, Any]] = []
    for start in range(0, count, IN_FLIGHT_MAX):
        numbers = range(start, min(start + IN_FLIGHT_MAX, count))
        replies += await asyncio.gather(*(worker.ask(ask_request(n)) for n in numbers))
    return replies


async def _ask(params: Params) -> Outcome:
    pool = await xoscar.create_actor_pool(ANY_PORT, n_process=1)
    async with pool:
        # The first process is this one, of the main pool; the second is of the sub pool.
        config = await xoscar.get_pool_config(pool.external_address)
        address = config.get_external_addresses()[1]
        worker = await xoscar.create_actor(Worker, address=address)
        await _ask_all(worker, params["warm_up"])
        with timed() as pipelined:
            replies = await _ask_all(worker, params["messages"])
        round_trips_ns = []
        for n in range(params["round_trips"]):
            request = ask_request(n)
            start_ns = time.perf_counter_ns()
            await worker.ask(request)
            round_trips_ns.append(time.perf_counter_ns() - start_ns)
    results = {"pipelined_per_s": pipelined.per_s(len(replies))}
    return Outcome(results | round_trip_results(round_trips_ns), check_of_each(replies))


async def _tell_all(worker: Any, count: int) -> Any:
    for n in range(count):
        await worker.tell.tell(ask_request(n))
    return await worker.tally()


async def _tell_local(params: Params) -> Outcome:
    async with await xoscar.create_actor_pool(ANY_PORT, n_process=0) as pool:
        worker = await xoscar.create_actor(Worker, address=pool.external_address)
        await _tell_all(worker, params["warm_up"])
        with timed() as stopwatch:
            tally = await _tell_all(worker, params["messages"])
    return Outcome({"messages_per_s": stopwatch.per_s(params["messages"])}, check_of(tally))


async def _spawn(params: Params) -> Outcome:
    async with await xoscar.create_actor_pool(ANY_PORT, n_process=0) as pool:
        address = pool.external_address
        # One extra actor first, so that one-time costs do not count.
        await xoscar.create_actor(Worker, address=address)
        before_bytes = own_bytes()
        with timed() as stopwatch:
            workers = [
                await xoscar.create_actor(Worker, number, address=address)
                for number in range(params["actors"])
            ]
        size_bytes = own_bytes() - before_bytes
        numbers = [await worker.number() for worker in workers]
    return Outcome(
        {
            "actors_per_s": stopwatch.per_s(len(workers)),
            "bytes_per_actor": size_bytes / len(workers),
        },
        check_of_each(numbers),
    )


def ask(params: Params) -> Outcome:
    """Asks from the main pool's process to an actor in the sub pool's."""
    return run_on_fastest_loop(_ask(params))


def tell_local(params: Params) -> Outcome:
    """Tells within the main pool's process."""
    return run_on_fastest_loop(_tell_local(params))


def spawn(params: Params) -> Outcome:
    """Actors created in the main pool's process."""
    return run_on_fastest_loop(_spawn(params))


if __name__ == "__main__":
    serve({"ask": ask, "tell_local": tell_local, "spawn": spawn})
