"""Ray's synchronous actors: `ask`. The driver calls an actor in another process."""

from typing import Any

import ray

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.peers.ray_local import measure_asks, ray_cluster
from bench.workload import ask_reply

__all__: list[str] = []


class Worker:
    """Answers asks, one after another."""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return ask_reply(**request)


REMOTE_WORKER: Any = ray.remote(Worker)  # Any: Ray replaces the class.


def ask(params: Params) -> Outcome:
    """Calls pipelined, then one at a time."""
    with ray_cluster():
        worker = REMOTE_WORKER.remote()
        return measure_asks(worker.ask.remote, params)


if __name__ == "__main__":
    serve({"ask": ask})
