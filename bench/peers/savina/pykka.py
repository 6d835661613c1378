"""Savina with pykka: an actor is a thread, a message a tuple in its queue."""

import asyncio
import threading
from typing import Any

import pykka

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.peers.savina.drivers import DRIVERS
from bench.peers.savina.role import Message, Role, run_all
from bench.savina.games import Output

__all__: list[str] = []

REPORT_TIMEOUT_S = 120.0


class RoleActor(pykka.ThreadingActor):
    """Plays one role."""

    def __init__(self, role: type[Role], args: tuple[Any, ...]) -> None:
        super().__init__()
        self._role = role(*args)
        self._receive = self._role.receive

    def on_start(self) -> None:
        """Connect the role to pykka."""
        self._role.me = self.actor_ref
        self._role.tell = _tell
        self._role.spawn = self._spawn
        self._role.leave = self.stop

    def on_receive(self, message: Message) -> None:
        """Handle one message."""
        self._receive(message)

    def _spawn(self, role: type[Role], *args: Any) -> None:
        self.actor_ref.tell(("spawned", RoleActor.start(role, args)))


def _tell(to: Any, message: Message) -> None:
    try:
        to.tell(message)
    except pykka.ActorDeadError:
        if message != ("wait",):  # To a customer that has left. It is not needed.
            raise


class Collector(pykka.ThreadingActor):
    """Adds up reports."""

    def __init__(self, reports: int, all_reported: threading.Event, counts: Output) -> None:
        super().__init__()
        self._reports = reports
        self._all_there = all_reported
        self._counts = counts

    def on_receive(self, message: Message) -> None:
        """Add one report."""
        for name, count in message[1].items():
            self._counts[name] = self._counts.get(name, 0) + count
        self._reports -= 1
        if not self._reports:
            self._all_there.set()


class PykkaLibrary:
    """Actors of this process."""

    def __init__(self) -> None:
        self._collected: dict[Any, tuple[threading.Event, Output]] = {}

    async def start(self, role: type[Role], *args: Any) -> Any:
        """Start a new thread."""
        return RoleActor.start(role, args)

    async def tell(self, to: Any, message: Message) -> None:
        """Put the message into the actor's queue."""
        to.tell(message)

    async def collector(self, reports: int) -> Any:
        """Start an actor with an event."""
        all_reported = threading.Event()
        counts: Output = {}
        collector = Collector.start(reports, all_reported, counts)
        self._collected[collector] = (all_reported, counts)
        return collector

    async def ready(self) -> None:
        """Do nothing: the actors are ready."""

    async def reported(self, collector: Any) -> Output:
        """Wait for the event."""
        all_reported, counts = self._collected.pop(collector)
        if not all_reported.wait(REPORT_TIMEOUT_S):
            raise TimeoutError("some actors have not reported")
        return counts

    async def clear(self) -> None:
        """Stop all actors."""
        pykka.ActorRegistry.stop_all()


def savina(params: Params) -> Outcome:
    """Run all games with sizes."""
    return asyncio.run(run_all(PykkaLibrary(), DRIVERS, params, ("an actor is a thread",)))


if __name__ == "__main__":
    serve({"savina": savina})
