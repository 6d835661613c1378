"""The meters of a host: what is counted and measured so that one can look into it.

Counting costs nothing while nobody looks: what happens rarely is counted always, how much
each actor handles only for some seconds after a look.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from ..host.loop_lag import LoopLag
from .ended_actors import EndedActors
from .metric_sources import Instruments

__all__ = ["Activity", "Meters", "Vitals", "Window", "no_vitals"]

WINDOW_MIN_S: Final = 0.5
"""A look after less than that gets the counts of the window before."""
LEASE_S: Final = 10.0
"""For how long after a look it is counted what each actor handles."""
ACTIVE_MAX: Final = 100_000
"""Actors counted in one window; what others handle is counted for the host alone."""


class Vitals(NamedTuple):
    """What the operating system says of a host's process."""

    pid: int
    node: str
    memory_bytes: int
    cpu_s: float


def no_vitals() -> Vitals:
    """Those of a process that nobody looks at."""
    return Vitals(0, "", 0, 0.0)


class Window(NamedTuple):
    """What actors handled within some seconds."""

    seconds: float
    handled: dict[int, int]
    """By cell; an actor that handled nothing is not in it."""


class Activity:
    """How much each actor handles, counted while somebody looks."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, number: int, count: int) -> None:
        """An actor handled so many messages in its turn."""
        counts = self._counts
        if number in counts:
            counts[number] += count
        elif len(counts) < ACTIVE_MAX:
            counts[number] = count

    def take(self) -> dict[int, int]:
        """The counts since this was last called."""
        counts, self._counts = self._counts, {}
        return counts


class CountsActivity(Protocol):
    """What runs the actors of a host."""

    activity: Activity | None
    """Counts what each actor handles; None while nobody looks."""


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
        self.born_s: Final = loop.time()
        self.ended_actors: Final = EndedActors()
        self.restarts = 0
        """Restarts of actors since the start."""
        self.hosts_replaced: Callable[[], int] | None = None
        """Where the root is: how many hosts were replaced since the start."""
        self.lag: Final = LoopLag(loop)
        """Runs where a watchdog does."""
        self.vitals = vitals
        self.instruments: Final = Instruments()
        """What others measure in this process."""
        self._window = Window(0.0, {})
        self._window_began_s = 0.0
        self._looked_s = 0.0
        self._lease: asyncio.TimerHandle | None = None

    def window(self) -> Window:
        """What each actor handled lately; counting begins with the first look."""
        now = self._looked_s = self._loop.time()
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
        ends_s = self._looked_s + LEASE_S
        if self._loop.time() < ends_s:
            self._lease = self._loop.call_at(ends_s, self._lease_ends)
        else:
            self._stop_counting()

    def _stop_counting(self) -> None:
        self._dispatcher.activity = None
        self._window = Window(0.0, {})
        self._lease = None

    def close(self) -> None:
        """Count and measure no longer."""
        self.lag.stop()
        if self._lease is not None:
            self._lease.cancel()
            self._stop_counting()
