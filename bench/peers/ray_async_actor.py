"""Ray's async actors: `ask`, `large`, `tell_local`, `spawn`, `fanout`, failures, and `nodes`.

The driver calls an actor in another process. Where Ray has no counterpart, the bench measures the
nearest honest equivalent, with a note: Ray has no actors within one process, and loses one actor
with one process.
"""

import asyncio
import contextlib
import os
import signal
import time
from typing import Any

import ray
from ray.exceptions import RayActorError

from bench.cluster import Node
from bench.entry import serve
from bench.large import large_reply, measure_large
from bench.memory import own_bytes
from bench.nodes import Places, Tally
from bench.outcome import Outcome, Params, check_of, check_of_each
from bench.peers.ray_local import (
    CPUS,
    measure_asks,
    measure_paths,
    on_node,
    ray_cluster,
    two_nodes,
)
from bench.timing import median_and_p99, median_and_worst, timed
from bench.workload import ask_reply, ask_request, merge_sub_tasks, sub_task_result

__all__: list[str] = []

FAILOVER_TIMEOUT_S = 60.0


class Worker:
    """Answers asks, counts tells, computes sub-tasks, and has a number."""

    def __init__(self, number: int = 0) -> None:
        self._number = number
        self._tally = {"count": 0, "total": 0}

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return ask_reply(**request)

    async def tell(self, message: dict[str, Any]) -> None:
        self._tally["count"] += 1
        self._tally["total"] += message["number"]

    async def receive(self, number: int, value: bytes) -> dict[str, Any]:
        return large_reply(number, value)

    async def tally(self, count: int) -> dict[str, int]:
        # Ray starts the calls of an async actor in any order: without the wait this one can
        # overtake the tells. Reading starts a new count.
        while self._tally["count"] < count:  # noqa: ASYNC110 - an event would slow each tell
            await asyncio.sleep(0)
        tally, self._tally = self._tally, {"count": 0, "total": 0}
        return tally

    async def sub_task(self, number: int) -> dict[str, Any]:
        return sub_task_result(number)

    async def number(self) -> int:
        return self._number

    async def process_id(self) -> int:
        return os.getpid()

    async def node_id(self) -> str:
        node: str = ray.get_runtime_context().get_node_id()
        return node

    async def end_process(self) -> None:
        os._exit(1)


REMOTE_WORKER: Any = ray.remote(Worker)  # Any: Ray replaces the class.


def ask(params: Params) -> Outcome:
    """Calls pipelined, then one at a time."""
    with ray_cluster():
        worker = REMOTE_WORKER.remote()
        return measure_asks(worker.ask.remote, params)


def large(params: Params) -> Outcome:
    """Calls with values of many sizes, and small ones during them."""
    with ray_cluster():
        worker = REMOTE_WORKER.remote()

        async def ask(number: int, value: bytes) -> dict[str, Any]:
            reply: dict[str, Any] = await worker.receive.remote(number, value)
            return reply

        return asyncio.run(measure_large(ask, params))


def tell_local(params: Params) -> Outcome:
    """Calls without results, until the actor has seen the last."""
    with ray_cluster():
        worker = REMOTE_WORKER.remote()
        for n in range(params["warm_up"]):
            worker.tell.remote(ask_request(n))
        ray.get(worker.tally.remote(params["warm_up"]))
        messages = [ask_request(n) for n in range(params["messages"])]
        with timed() as stopwatch:
            for message in messages:
                worker.tell.remote(message)
            tally = ray.get(worker.tally.remote(len(messages)))
    return Outcome(
        {"messages_per_s": stopwatch.per_s(len(messages))},
        check_of(tally),
        ("across two processes: Ray has no actors within one",),
    )


def spawn(params: Params) -> Outcome:
    """Actors created, until each has answered. The memory is that of their processes."""
    with ray_cluster():
        with timed() as stopwatch:
            # No CPU is reserved, so that there can be more actors than cores.
            workers = [REMOTE_WORKER.options(num_cpus=0).remote(n) for n in range(params["actors"])]
            pids = ray.get([worker.process_id.remote() for worker in workers])
        size_bytes = sum(own_bytes(pid) for pid in pids)
        numbers = ray.get([worker.number.remote() for worker in workers])
    return Outcome(
        {
            "actors_per_s": stopwatch.per_s(len(workers)),
            "bytes_per_actor": size_bytes / len(workers),
        },
        check_of_each(numbers),
    )


def fanout(params: Params) -> Outcome:
    """Sub-tasks distributed to one actor per core, all in flight at once."""
    with ray_cluster():
        return _fan_out([REMOTE_WORKER.remote() for _ in range(CPUS)], params)


def _fan_out(workers: list[Any], params: Params) -> Outcome:  # Any: Ray's handles are untyped.
    count = len(workers)
    ray.get([workers[n % count].sub_task.remote(n) for n in range(params["warm_up"])])
    with timed() as stopwatch:
        merged = merge_sub_tasks(
            ray.get([workers[n % count].sub_task.remote(n) for n in range(params["sub_tasks"])])
        )
    return Outcome({"sub_tasks_per_s": stopwatch.per_s(params["sub_tasks"])}, check_of(merged))


def nodes(params: Params) -> Outcome:
    """Calls to an actor on one node and on another, sub-tasks over both, and losses of one."""

    def callers(there: dict[str, Any]) -> tuple[Any, Any]:
        worker = REMOTE_WORKER.options(**there).remote()
        return worker.ask.remote, worker.receive.remote

    with two_nodes(params) as where:
        tally = measure_paths(where, params, callers)
        each = [where.near, where.far]
        workers = [REMOTE_WORKER.options(**on_node(node)).remote() for node in each]
        tally.add_fanout(_fan_out(workers, params))
        if params["losses"]:
            _lose_nodes(where, params, tally)
    return tally.outcome()


def _lose_nodes(where: Places, params: Params, tally: Tally) -> None:
    """Lose the node of all actors. Ray restarts them on another, and retries the call itself."""
    assert where.cluster is not None, "nodes of other clusters are not lost"
    numbers: list[int] = []
    after: list[dict[str, float]] = []
    for _ in range(params["losses"]):
        lost: Node = (where.cluster.nodes or [where.cluster.add()])[0]
        workers = [_placed(n, lost.node_id) for n in range(params["actors"])]
        with timed() as stopwatch:
            lost.lose()
            numbers += [_answer(worker, worker.node_id, before=lost.node_id) for worker in workers]
        after.append({"all_answering": stopwatch.elapsed_s})
    tally.add_losses("losses", "node_loss", after, check_of_each(numbers))


def _placed(number: int, node_id: str) -> Any:  # Any: as below
    """An actor on this node, which Ray restarts on any. Raises `TimeoutError`.

    Such an actor lands elsewhere while not all of Ray's nodes know the new one; another is tried.
    """
    options = {"max_restarts": -1, "max_task_retries": -1, **on_node(node_id, soft=True)}
    deadline = time.monotonic() + FAILOVER_TIMEOUT_S
    while time.monotonic() < deadline:
        worker = REMOTE_WORKER.options(**options).remote(number)
        if ray.get(worker.node_id.remote(), timeout=FAILOVER_TIMEOUT_S) == node_id:
            return worker
        ray.kill(worker)
    msg = f"no actor starts on node {node_id}"
    raise TimeoutError(msg)


def failover(params: Params) -> Outcome:
    """Kill -9 of the actors' processes, until each actor has answered again, repeatedly.

    Ray restarts them and retries the call itself (`max_restarts`, `max_task_retries`).
    """
    numbers: list[int] = []
    took_ms: list[float] = []
    with ray_cluster():
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        workers = [REMOTE_WORKER.options(**options).remote(n) for n in range(params["actors"])]
        for _ in range(params["rounds"]):
            pids = ray.get([worker.process_id.remote() for worker in workers])
            with timed() as stopwatch:
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                numbers += [
                    _answer(worker, worker.process_id, before=pid)
                    for worker, pid in zip(workers, pids, strict=True)
                ]
            took_ms.append(stopwatch.elapsed_ms)
    return Outcome(
        median_and_worst("all_answering_ms", took_ms),
        check_of_each(numbers),
        (f"{len(workers)} actor(s), one per process: a Ray process holds no more",),
    )


def supervise(params: Params) -> Outcome:
    """An actor whose process ends, until the restarted actor answers."""
    took_ms: list[float] = []
    with ray_cluster():
        worker = REMOTE_WORKER.options(max_restarts=-1).remote()
        for _ in range(params["restarts"]):
            pid = ray.get(worker.process_id.remote())
            with timed() as stopwatch:
                worker.end_process.remote()
                _answer(worker, worker.process_id, before=pid)
            took_ms.append(stopwatch.elapsed_ms)
    return Outcome(
        median_and_p99("restart_ms", took_ms),
        check_of({"restarts": len(took_ms)}),
        ("an exception does not end a Ray actor, so its process is ended instead",),
    )


def _answer(worker: Any, where: Any, *, before: object) -> int:  # Any: Ray's handles are untyped.
    """The number of the restarted actor. An answer from where it was before does not count."""
    deadline = time.monotonic() + FAILOVER_TIMEOUT_S
    while time.monotonic() < deadline:
        # The call may still reach the dying process, or fail before Ray has seen its death. Both
        # are repeated.
        with contextlib.suppress(RayActorError):
            if ray.get(where.remote(), timeout=FAILOVER_TIMEOUT_S) != before:
                number: int = ray.get(worker.number.remote(), timeout=FAILOVER_TIMEOUT_S)
                return number
    msg = f"the actor of {before} did not come back"
    raise TimeoutError(msg)


if __name__ == "__main__":
    serve(
        {
            "ask": ask,
            "large": large,
            "tell_local": tell_local,
            "spawn": spawn,
            "fanout": fanout,
            "failover": failover,
            "supervise": supervise,
            "nodes": nodes,
        }
    )
