"""The meters of a host: its counters and measurements, for views and metrics.

Rare events are always counted. The messages that each actor handles are counted only for
some seconds after a query, so that counting costs nothing otherwise.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from ..host.loop_lag import LoopLag
from .ended_actors import EndedActors
from .metric_sources import Instruments

__all__ = ["Activity", "Meters", "Vitals", "Window", "no_vitals"]

WINDOW_MIN_S: Final = 0.5
"""A query sooner after the last one gets the counts of the window before."""
LEASE_S: Final = 10.0
"""For how long after a query the messages of each actor are counted."""
ACTIVE_MAX: Final = 100_000
"""Actors counted in one window; the messages of others count for the host only."""


class Vitals(NamedTuple):
    """The readings of the operating system for a host's process."""

    pid: int
    node: str
    memory_bytes: int
    cpu_s: float


def no_vitals() -> Vitals:
    """The readings of a process without a source of readings."""
    return Vitals(0, "", 0, 0.0)


class Window(NamedTuple):
    """The messages that actors handled within some seconds."""

    seconds: float
    handled: dict[int, int]
    """Their number by cell; an actor that handled none is not in it."""


class Activity:
    """The messages that each actor handles, counted while a query needs them."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, number: int, count: int) -> None:
        """Count the messages that an actor handled in one turn."""
        counts = self._counts
        if number in counts:
            counts[number] += count
        elif len(counts) < ACTIVE_MAX:
            counts[number] = count

    def take(self) -> dict[int, int]:
        """Take the counts since the last call."""
        counts, self._counts = self._counts, {}
        return counts


class CountsActivity(Protocol):
    """A dispatcher, for the meters."""

    activity: Activity | None
    """Counts the messages of each actor; None while no query needs them."""


class Meters:
    """The meters of one host."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dispatcher: CountsActivity,
        vitals: Callable[[], Vitals],
    ) -> None:
        self._loop = loop
        self._dispatcher = dispatcher
        self.started_s: Final = loop.time()
        self.ended_actors: Final = EndedActors()
        self.restarts = 0
        """Restarts of actors since the start."""
        self.lag: Final = LoopLag(loop)
        """The lag of the event loop; measured if the host has a watchdog."""
        self.vitals = vitals
        self.instruments: Final = Instruments()
        """The metric sources of other parts of this process."""
        self._window = Window(0.0, {})
        self._window_began_s = 0.0
        self._queried_s = 0.0
        self._lease: asyncio.TimerHandle | None = None

    def window(self) -> Window:
        """The messages that each actor handled lately; the first query starts the counting."""
        now = self._queried_s = self._loop.time()
        dispatcher = self._dispatcher
        if dispatcher.activity is None:
            dispatcher.activity = Activity()
            self._window = Window(0.0, {})
            self._window_began_s = now
            self._lease = self._loop.call_at(now + LEASE_S, self._lease_ends)
        elif now - self._window_began_s >= WINDOW_MIN_S:
            self._window = Window(now - self._window_began_s, dispatcher.activity.take())
            self._window_began_s = now
        return self._window

    def _lease_ends(self) -> None:
        ends_s = self._queried_s + LEASE_S
        if self._loop.time() < ends_s:
            self._lease = self._loop.call_at(ends_s, self._lease_ends)
        else:
            self._stop_counting()

    def _stop_counting(self) -> None:
        self._dispatcher.activity = None
        self._window = Window(0.0, {})
        self._lease = None

    def close(self) -> None:
        """Stop counting and measuring."""
        self.lag.stop()
        if self._lease is not None:
            self._lease.cancel()
            self._stop_counting()
