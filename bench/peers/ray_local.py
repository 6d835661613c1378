"""Ray for the peers: a private, quiet, local cluster, shut down at the end.

Also the loop of asks that measures both its actors and its tasks.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from bench.outcome import Outcome, Params, check_of_each
from bench.timing import round_trip_results, timed
from bench.workload import ask_request

__all__ = ["ADDRESS_ENV", "CPUS", "measure_asks", "ray_cluster"]

CPUS = 2
ADDRESS_ENV = "CALLBOARD_BENCH_RAY_ADDRESS"
"""The variable with a cluster to join instead. It saves most of the time of smoke runs. No compared
run may use it."""


@contextmanager
def ray_cluster() -> Iterator[None]:
    """A fresh local Ray for the block. `address="local"` never joins another cluster."""
    address = os.environ.get(ADDRESS_ENV)
    own: dict[str, Any] = {"address": "local", "num_cpus": CPUS, "include_dashboard": False}
    options = own if address is None else {"address": address}
    ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


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
