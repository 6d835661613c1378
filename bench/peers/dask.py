"""Dask's distributed scheduler: `ask` (to a Dask actor) and `fanout`.

Two worker processes with one thread each, one for each core of the machine.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, LocalCluster

from bench.entry import serve
from bench.outcome import Outcome, Params, check_of, check_of_each
from bench.timing import round_trip_results, timed
from bench.workload import ask_reply, ask_request, merge_sub_tasks, sub_task_result

__all__: list[str] = []

WORKERS = 2


class Worker:
    """Answers asks, in a worker's process."""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        return ask_reply(**request)


@contextmanager
def _client() -> Iterator[Any]:
    with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def ask(params: Params) -> Outcome:
    """Calls to an actor in a worker's process: pipelined, then one at a time."""
    with _client() as client:
        worker = client.submit(Worker, actor=True).result()
        for n in range(params["warm_up"]):
            worker.ask(ask_request(n)).result()
        requests = [ask_request(n) for n in range(params["messages"])]
        with timed() as pipelined:
            futures = [worker.ask(request) for request in requests]
            replies = [future.result() for future in futures]
        round_trips_ns = []
        for n in range(params["round_trips"]):
            request = ask_request(n)
            start_ns = time.perf_counter_ns()
            worker.ask(request).result()
            round_trips_ns.append(time.perf_counter_ns() - start_ns)
        del worker
    results = {"pipelined_per_s": pipelined.per_s(len(replies))}
    return Outcome(results | round_trip_results(round_trips_ns), check_of_each(replies))


def fanout(params: Params) -> Outcome:
    """Sub-tasks mapped over the workers, gathered and merged by the client."""
    with _client() as client:
        # `pure=False`, so that no call is answered from the warm-up.
        client.gather(client.map(sub_task_result, range(params["warm_up"]), pure=False))
        with timed() as stopwatch:
            futures = client.map(sub_task_result, range(params["sub_tasks"]), pure=False)
            merged = merge_sub_tasks(client.gather(futures))
    return Outcome({"sub_tasks_per_s": stopwatch.per_s(params["sub_tasks"])}, check_of(merged))


if __name__ == "__main__":
    serve({"ask": ask, "fanout": fanout})
