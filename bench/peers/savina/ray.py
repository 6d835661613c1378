"""Savina with Ray's actors: an actor is a process, so there are few of them.

They are synchronous, because Ray keeps the order of calls only for synchronous actors.
"""

import asyncio
from typing import Any

import ray

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.peers.ray_local import ray_cluster
from bench.peers.savina.drivers import DRIVERS
from bench.peers.savina.role import Message, Role, run_all
from bench.savina.games import Output

__all__: list[str] = []

REPORT_TIMEOUT_S = 120.0


class RoleActor:
    """Plays one role."""

    def __init__(self, role: type[Role], args: tuple[Any, ...]) -> None:
        self._role = role(*args)
        self._role.me = ray.get_runtime_context().current_actor
        self._role.tell = _tell
        self._role.spawn = self._spawn
        self._role.leave = lambda: None  # It ends with its last handle.

    def receive(self, message: Message) -> None:
        self._role.receive(message)

    def is_ready(self) -> bool:
        return True

    def _spawn(self, role: type[Role], *args: Any) -> None:
        self._role.receive(("spawned", _start(role, args)))


class Collector:
    """Adds up reports."""

    def __init__(self, reports: int) -> None:
        self._reports = reports
        self._counts: Output = {}
        self._all = asyncio.Event()

    async def receive(self, message: Message) -> None:
        for name, count in message[1].items():
            self._counts[name] = self._counts.get(name, 0) + count
        self._reports -= 1
        if not self._reports:
            self._all.set()

    async def is_ready(self) -> bool:
        return True

    async def counts(self) -> Output:
        await self._all.wait()
        return self._counts


REMOTE_ROLE: Any = ray.remote(RoleActor)  # Any: Ray replaces the class.
REMOTE_COLLECTOR: Any = ray.remote(Collector)


def _tell(to: Any, message: Message) -> None:
    to.receive.remote(message)


def _start(role: type[Role], args: tuple[Any, ...]) -> Any:
    # No CPU is reserved, so that there can be more actors than cores.
    return REMOTE_ROLE.options(num_cpus=0).remote(role, args)


class RayLibrary:
    """Actors of a local cluster."""

    def __init__(self) -> None:
        self._actors: list[Any] = []
        self._collectors: list[Any] = []

    async def start(self, role: type[Role], *args: Any) -> Any:
        """Start a new process."""
        actor = _start(role, args)
        self._actors.append(actor)
        return actor

    async def tell(self, to: Any, message: Message) -> None:
        """Call the actor without taking the result."""
        to.receive.remote(message)

    async def collector(self, reports: int) -> Any:
        """Start one more process."""
        collector = REMOTE_COLLECTOR.options(num_cpus=0).remote(reports)
        self._collectors.append(collector)
        return collector

    async def ready(self) -> None:
        """Wait for the processes: Ray gives handles long before."""
        ray.get([actor.is_ready.remote() for actor in self._actors + self._collectors])

    async def reported(self, collector: Any) -> Output:
        """Wait for all reports."""
        counts: Output = ray.get(collector.counts.remote(), timeout=REPORT_TIMEOUT_S)
        return counts

    async def clear(self) -> None:
        """Kill all actors."""
        for actor in self._actors + self._collectors:
            ray.kill(actor)
        self._actors.clear()
        self._collectors.clear()


def savina(params: Params) -> Outcome:
    """Run all games with sizes."""
    notes = ("an actor is a process, so each game has few",)
    with ray_cluster():
        return asyncio.run(run_all(RayLibrary(), DRIVERS, params, notes))


if __name__ == "__main__":
    serve({"savina": savina})
