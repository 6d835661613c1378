"""Savina with pykka: an actor is a thread, a message a tuple in its queue."""

import asyncio
import threading
from typing import Any

import pykka

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.peers.savina.plays import PLAYS
from bench.peers.savina.role import Message, Role, play_all
from bench.savina.games import Output

__all__: list[str] = []

REPORT_TIMEOUT_S = 120.0


class Player(pykka.ThreadingActor):
    """Plays one role."""

    def __init__(self, role: type[Role], args: tuple[Any, ...]) -> None:
        super().__init__()
        self._role = role(*args)
        self._receive = self._role.receive

    def on_start(self) -> None:
        """Give the role its hands."""
        self._role.me = self.actor_ref
        self._role.tell = _tell
        self._role.spawn = self._spawn
        self._role.leave = self.stop

    def on_receive(self, message: Message) -> None:
        """One message."""
        self._receive(message)

    def _spawn(self, role: type[Role], *args: Any) -> None:
        self.actor_ref.tell(("spawned", Player.start(role, args)))


def _tell(to: Any, message: Message) -> None:
    try:
        to.tell(message)
    except pykka.ActorDeadError:
        if message != ("wait",):  # To a customer that has left: nobody misses it.
            raise


class Collector(pykka.ThreadingActor):
    """Adds up reports."""

    def __init__(self, reports: int, all_there: threading.Event, counts: Output) -> None:
        super().__init__()
        self._reports = reports
        self._all_there = all_there
        self._counts = counts

    def on_receive(self, message: Message) -> None:
        """One report."""
        for name, count in message[1].items():
            self._counts[name] = self._counts.get(name, 0) + count
        self._reports -= 1
        if not self._reports:
            self._all_there.set()


class PykkaStage:
    """Actors of this process."""

    def __init__(self) -> None:
        self._collected: dict[Any, tuple[threading.Event, Output]] = {}

    async def start(self, role: type[Role], *args: Any) -> Any:
        """A new thread."""
        return Player.start(role, args)

    async def tell(self, to: Any, message: Message) -> None:
        """Into its queue."""
        to.tell(message)

    async def collector(self, reports: int) -> Any:
        """An actor with an event."""
        all_there = threading.Event()
        counts: Output = {}
        collector = Collector.start(reports, all_there, counts)
        self._collected[collector] = (all_there, counts)
        return collector

    async def ready(self) -> None:
        """They are."""

    async def reported(self, collector: Any) -> Output:
        """Wait for the event."""
        all_there, counts = self._collected.pop(collector)
        if not all_there.wait(REPORT_TIMEOUT_S):
            raise TimeoutError("not everybody has reported")
        return counts

    async def clear(self) -> None:
        """Stop all."""
        pykka.ActorRegistry.stop_all()


def savina(params: Params) -> Outcome:
    """All games that have sizes."""
    return asyncio.run(play_all(PykkaStage(), PLAYS, params, ("an actor is a thread",)))


if __name__ == "__main__":
    serve({"savina": savina})
