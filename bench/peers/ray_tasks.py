"""Ray's tasks: `ask` (a stateless call) and `fanout`."""

from typing import Any

import ray

from bench.entry import serve
from bench.outcome import Outcome, Params, check_of
from bench.peers.ray_local import measure_asks, ray_cluster
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


def fanout(params: Params) -> Outcome:
    """All sub-tasks submitted at once, their results merged by the driver."""
    with ray_cluster():
        ray.get([sub_task.remote(n) for n in range(params["warm_up"])])
        with timed() as stopwatch:
            merged = merge_sub_tasks(
                ray.get([sub_task.remote(n) for n in range(params["sub_tasks"])])
            )
    return Outcome({"sub_tasks_per_s": stopwatch.per_s(params["sub_tasks"])}, check_of(merged))


if __name__ == "__main__":
    serve({"ask": ask, "fanout": fanout})
