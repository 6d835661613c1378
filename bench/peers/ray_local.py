"""Ray for the peers: a private, quiet, local cluster, shut down at the end.

Also the loop of asks that measures both its actors and its tasks, and two nodes for `nodes`.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench.large import measure_values, send_values
from bench.nodes import PATHS, VALUES, VALUES_WARM_UP, Places, Tally, places
from bench.outcome import Outcome, Params, check_of_each
from bench.timing import round_trip_results, timed
from bench.workload import ask_request

__all__ = [
    "ADDRESS_ENV",
    "CPUS",
    "measure_asks",
    "measure_paths",
    "on_node",
    "ray_cluster",
    "two_nodes",
]

CPUS = 2
ADDRESS_ENV = "CALLBOARD_BENCH_RAY_ADDRESS"
"""The variable with a cluster to join instead. It saves most of the time of smoke runs. No compared
run may use it."""


@contextmanager
def ray_cluster() -> Iterator[None]:
    """A fresh local Ray for the block. `address="local"` never joins another cluster."""
    address = os.environ.get(ADDRESS_ENV)
    own: dict[str, Any] = {"address": "local", "num_cpus": CPUS, "include_dashboard": False}
    with _joined(own if address is None else {"address": address}):
        yield


@contextmanager
def two_nodes(params: Params) -> Iterator[Places]:
    """Two nodes, with this process as a driver on the near one."""
    with places(params) as where, _joined({"address": where.address}):
        yield where


@contextmanager
def _joined(options: Mapping[str, Any]) -> Iterator[None]:
    ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def on_node(node_id: str, *, soft: bool = False) -> dict[str, Any]:
    """Ray's options for an actor or a task on a node; `soft` lets it go on elsewhere."""
    strategy = NodeAffinitySchedulingStrategy(node_id, soft=soft)
    return {"num_cpus": 0, "scheduling_strategy": strategy}


def measure_asks(call: Callable[[dict[str, Any]], "ray.ObjectRef[Any]"], params: Params) -> Outcome:
    """Pipelined calls (all submitted, then all taken), then one at a time."""
    ray.get([call(ask_request(number)) for number in range(params["warm_up"])])
    requests = [ask_request(number) for number in range(params["messages"])]
    with timed() as pipelined:
        replies = ray.get([call(request) for request in requests])
    round_trips_ns = []
    for number in range(params["round_trips"]):
        request = ask_request(number)
        start_ns = time.perf_counter_ns()
        ray.get(call(request))
        round_trips_ns.append(time.perf_counter_ns() - start_ns)
    results = {"pipelined_per_s": pipelined.per_s(len(replies))}
    return Outcome(results | round_trip_results(round_trips_ns), check_of_each(replies))


def measure_paths(
    where: Places, params: Params, callers: Callable[[dict[str, Any]], tuple[Any, Any]]
) -> Tally:
    """The calls with a request, and those with a value, to both nodes.

    `callers` gives both, for Ray's options of a node.
    """
    tally = Tally()
    for path, node in zip(PATHS, (where.near, where.far), strict=True):
        call, receive = callers(on_node(node))

        async def ask(number: int, value: bytes, receive: Any = receive) -> dict[str, Any]:
            reply: dict[str, Any] = await receive(number, value)
            return reply

        async def values(ask: Any = ask) -> Outcome:
            await send_values(ask, VALUES[0], VALUES_WARM_UP)
            return await measure_values(ask, params, VALUES)

        tally.add(path, "asks", measure_asks(call, params))
        tally.add(path, "values", asyncio.run(values()))
    where.note(tally)
    return tally
