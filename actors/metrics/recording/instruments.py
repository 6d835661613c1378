"""Bound instruments: what `observe`, `add` and `set` cost is paid here, and nowhere else.

An instrument has a list of its own, of times and values in turn. A point is one extension of the
list by two items: no lock, no check of the value, no object of its own. The interpreter does that
in one step, so that points of several threads never mix. When the list is full, or at a flush, the
meter takes its items away from the front, and they become columns.

Times are seconds as floats while they wait, exact to a quarter of a microsecond.
"""

from collections.abc import Callable
from typing import Final, Protocol

from ..series import MetricKind, SeriesKey

__all__ = [
    "ITEMS_MAX",
    "ITEMS_MIN",
    "KINDS",
    "NO_NUMBER",
    "Bound",
    "BoundCounter",
    "BoundGauge",
    "BoundHistogram",
    "MakesRoom",
]

ITEMS_MAX: Final = 8_192
"""The length of a list at which its points become columns: 4,096 points."""
NO_NUMBER: Final = -1
"""The number of an instrument that was not used for long. It gets another with its next point."""
ITEMS_MIN: Final = 64
"""The same for a host with very many series."""

Now = Callable[[], float]


class MakesRoom(Protocol):
    """The meter, for instruments whose list is full."""

    def make_room(self, bound: "Bound") -> bool:
        """Take the points; False if no point is recorded at all now, and one was dropped."""


class Bound:
    """One series of a host's meter."""

    __slots__ = ("_now", "idle_flushes", "items", "items_max", "key", "meter", "number")

    def __init__(
        self, meter: MakesRoom, number: int, key: SeriesKey, now: Now, items_max: int
    ) -> None:
        self.meter: Final = meter
        self.number = number
        """Its place in the table of the meter; `NO_NUMBER` while it has none."""
        self.idle_flushes = 0
        """The flushes in a row that found no point."""
        self.key: Final = key
        self._now: Final = now
        self.items_max = items_max
        """0 while nothing is recorded."""
        self.items: list[float] = []

    def __repr__(self) -> str:
        return f"<{self.key.kind.name.lower()} {self.key.name} {dict(self.key.tags)}>"


class BoundCounter(Bound):
    """See `Counter`. Its points are summed up for each second."""

    __slots__ = ()

    def add(self, amount: float = 1.0) -> None:
        """Count so many more; a negative amount is dropped."""
        items = self.items
        if len(items) >= self.items_max:
            if not self.meter.make_room(self):
                return
            items = self.items
        items += (self._now(), amount)


class BoundHistogram(Bound):
    """See `Histogram`. All its points are kept."""

    __slots__ = ()

    def observe(self, value: float) -> None:
        """Note one measurement."""
        items = self.items
        if len(items) >= self.items_max:
            if not self.meter.make_room(self):
                return
            items = self.items
        items += (self._now(), value)


class BoundGauge(Bound):
    """See `Gauge`. Of its points, the last one of each second is kept.

    A gauge is a state, not an event: all its points would weigh a busy moment more in the average
    of a window. A value whose peaks count is an observation.
    """

    __slots__ = ()

    def set(self, value: float) -> None:
        """Note the present value."""
        items = self.items
        if len(items) >= self.items_max:
            if not self.meter.make_room(self):
                return
            items = self.items
        items += (self._now(), value)


KINDS: Final = {
    MetricKind.COUNTER: BoundCounter,
    MetricKind.GAUGE: BoundGauge,
    MetricKind.OBSERVATION: BoundHistogram,
}
"""The class of each kind of series."""
