"""Ray's async actors: `kills`. One actor per process; Ray restarts them, and repeats no call.

An ask in flight, or during the restart of its actor, fails at once. With `max_task_retries` Ray
would run some asks twice.
"""

import asyncio
import os
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayActorError

from bench.entry import serve
from bench.kills.load import Asked
from bench.kills.measure import measure_kills
from bench.outcome import Outcome, Params
from bench.peers.ray_local import ray_cluster

__all__: list[str] = []

STANDING_TIMEOUT_S = 60.0
RETRY_S = 0.05


class Echo(NamedTuple):
    """The number of the ask, the process, and whether the actor had seen the number before."""

    number: int
    process_id: int
    is_repeated: bool


class Worker:
    """Echoes numbers."""

    def __init__(self) -> None:
        # All numbers, because Ray starts the calls of an async actor in any order.
        self._seen: set[int] = set()

    async def say(self, number: int) -> Echo:
        is_repeated = number in self._seen
        self._seen.add(number)
        return Echo(number, os.getpid(), is_repeated)

    async def process_id(self) -> int:
        return os.getpid()


def kills(params: Params) -> Outcome:
    """A steady load on all actors. Each kill ends one."""
    remote: Any = ray.remote(Worker)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0}

    async def main() -> Outcome:
        workers = [remote.options(**options).remote() for _ in range(params["actors"])]
        asked = [Asked(place, worker.say.remote) for place, worker in enumerate(workers)]

        async def stand() -> None:
            async with asyncio.timeout(STANDING_TIMEOUT_S):
                await asyncio.gather(*(_answers(worker) for worker in workers))

        return await measure_kills(asked, RayActorError, params, stand)

    with ray_cluster():
        outcome = asyncio.run(main())
    note = f"{params['actors']} actors, one per process, and {params['asks_per_s']} asks a second"
    return Outcome(outcome.results, outcome.check, (note,))


async def _answers(worker: Any) -> None:  # Any: Ray's handles are untyped.
    while True:
        try:
            await worker.process_id.remote()
        except RayActorError:
            await asyncio.sleep(RETRY_S)
        else:
            return


if __name__ == "__main__":
    serve({"kills": kills})
