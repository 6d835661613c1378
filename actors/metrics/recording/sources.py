"""Sources of points other than a host's own meter: a scraper, a file, a service that is asked.

A source is a supplier of columns, and the collector of one host pulls from it: the next columns
are pulled once those before have room on their way, so a slow aggregator slows a source down, and
nothing of it is dropped.

    class Weather:
        kind = SourceKind.RECEIVED
        name = "weather"

        async def columns(self) -> AsyncIterator[PointColumns]:
            async for report in reports():
                yield columns_of_points(points_of(report))

`polled` makes a source of a function that is called every few seconds.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from callboard.messages.core.errors import UsageError

from ..points import MetricDataPoint, SourceKind
from ..series import SeriesKey
from .columns import PointColumns

__all__ = ["PointSource", "columns_of_points", "polled"]

EVERY_S_MIN: Final = 0.01


class PointSource(Protocol):
    """A supplier of points. Counters of it are increases; see `CounterResets`."""

    @property
    def kind(self) -> SourceKind:
        """Where its points come from."""

    @property
    def name(self) -> str:
        """Its name, unique among the sources of a host."""

    def columns(self) -> AsyncIterator[PointColumns]:
        """Its points, until it has no more. An error of it is counted, and it begins again."""


Poll = Callable[[], PointColumns | Awaitable[PointColumns]]


@dataclass(frozen=True, slots=True)
class _Polled:
    kind: SourceKind
    name: str
    poll: Poll
    every_s: float

    async def columns(self) -> AsyncIterator[PointColumns]:
        """The points of each call; the first call is at once."""
        loop = asyncio.get_running_loop()
        while True:
            begun_s = loop.time()
            found = self.poll()
            yield await found if inspect.isawaitable(found) else found
            await asyncio.sleep(max(0.0, begun_s + self.every_s - loop.time()))


def polled(
    name: str, poll: Poll, every_s: float, *, kind: SourceKind = SourceKind.RECEIVED
) -> PointSource:
    """A source of a function that gives the points since its last call, or a coroutine of them.

    The function runs on the event loop: it must not block. Raises `UsageError`.
    """
    if not every_s >= EVERY_S_MIN:
        raise UsageError(
            f"source {name!r}: every_s is {every_s!r}.", advice=f"Use {EVERY_S_MIN:g} or more."
        )
    return _Polled(kind, name, poll, every_s)


def columns_of_points(points: Iterable[MetricDataPoint]) -> PointColumns:
    """Single points as columns; a convenience for few of them. Raises `UsageError`."""
    places: dict[SeriesKey, int] = {}
    index, times, values = [], [], []
    for point in points:
        index.append(places.setdefault(point.key(), len(places)))
        times.append(point.time_ns)
        values.append(point.value)
    return PointColumns(
        tuple(places),
        np.array(index, np.int32),
        np.array(times, np.int64),
        np.array(values, np.float64),
    )
