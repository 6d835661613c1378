"""Ray's tasks: `ask` (a stateless call), `fanout`, and both in `nodes`."""

from typing import Any

import ray

from bench.entry import serve
from bench.large import large_reply
from bench.outcome import Outcome, Params, check_of
from bench.peers.ray_local import measure_asks, measure_paths, ray_cluster, two_nodes
from bench.timing import timed
from bench.workload import ask_reply, merge_sub_tasks, sub_task_result

__all__: list[str] = []


@ray.remote
def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    return ask_reply(**request)


@ray.remote
def sub_task(number: int) -> dict[str, Any]:
    """Compute one sub-task."""
    return sub_task_result(number)


def ask(params: Params) -> Outcome:
    """Calls pipelined, then one at a time."""
    with ray_cluster():
        return measure_asks(answer.remote, params)


@ray.remote
def receive(number: int, value: bytes) -> dict[str, Any]:
    """Answer one value."""
    return large_reply(number, value)


def fanout(params: Params) -> Outcome:
    """All sub-tasks submitted at once, their results merged by the driver."""
    with ray_cluster():
        return _fan_out(sub_task, params)


def _fan_out(task: Any, params: Params) -> Outcome:
    ray.get([task.remote(n) for n in range(params["warm_up"])])
    with timed() as stopwatch:
        merged = merge_sub_tasks(ray.get([task.remote(n) for n in range(params["sub_tasks"])]))
    return Outcome({"sub_tasks_per_s": stopwatch.per_s(params["sub_tasks"])}, check_of(merged))


def nodes(params: Params) -> Outcome:
    """Tasks on one node and on another, and sub-tasks over both."""

    def callers(there: dict[str, Any]) -> tuple[Any, Any]:
        # Each takes a processor: without a limit Ray would start more and more workers.
        options = {**there, "num_cpus": 1}
        return answer.options(**options).remote, receive.options(**options).remote

    with two_nodes(params) as where:
        tally = measure_paths(where, params, callers)
        tally.add_fanout(_fan_out(sub_task.options(scheduling_strategy="SPREAD"), params))
    return tally.outcome()


if __name__ == "__main__":
    serve({"ask": ask, "fanout": fanout, "nodes": nodes})
