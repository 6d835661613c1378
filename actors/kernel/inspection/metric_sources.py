"""Metric sources: the readings of a journal, a cache or a projector on a host.

A part adds a source to the instruments of its host, and removes it when it ends. If several
sources have the same name, their counts are added up, and the largest of their gauges counts.

Invariants: a count never decreases, also when a source is removed; a metric has at most
`LABELS_MAX` labels, and all further labels are summed up under `OTHER`.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from ..interrupts import is_interrupt
from ..isolation import fresh_context

__all__ = ["LABELS_MAX", "OTHER", "Instruments", "Name", "Reading", "Source"]

LOGGER: Final = logging.getLogger("callboard.metrics")
LABELS_MAX: Final = 100
"""Projections and groups of consumers with labels of their own on one host."""
OTHER: Final = "other"


class Name(NamedTuple):
    """A metric, and the value of its one label; empty when it has no label."""

    metric: str
    label: str = ""


class Reading(NamedTuple):
    """The reading of a source."""

    counts: Mapping[Name, float]
    """Counts, which only grow as long as the source is added."""
    gauges: Mapping[Name, float]


Source = Callable[[], Reading]
NOTHING: Final = Reading({}, {})


def _reading_of(source: Source) -> Reading:
    """The reading of a source; nothing when it raises, because an actor's end reads it too."""
    try:
        return fresh_context().run(source)
    except BaseException as error:
        if is_interrupt(error):
            raise
        LOGGER.exception("a metric source has failed")
        return NOTHING


class Instruments:
    """The sources of one host."""

    def __init__(self) -> None:
        self._sources: dict[int, Source] = {}
        self._number = 0
        self._owned: dict[int, list[Callable[[], None]]] = {}
        """The functions that remove the sources of an actor, by cell."""
        self._ended_counts: dict[Name, float] = {}
        """The counts of removed sources."""
        self._labels: dict[str, set[str]] = {}

    def add(self, source: Source) -> Callable[[], None]:
        """Add a source; returns a function that removes it, and may be called twice."""
        self._number = number = self._number + 1
        self._sources[number] = source

        def end() -> None:
            if self._sources.pop(number, None) is not None:
                self._count(self._ended_counts, _reading_of(source).counts)

        return end

    def add_for(self, cell: int, source: Source) -> None:
        """Add a source until the actor's incarnation ends."""
        self._owned.setdefault(cell, []).append(self.add(source))

    def drop(self, cell: int) -> None:
        """Remove the sources of an ended incarnation."""
        if self._owned:
            for end in self._owned.pop(cell, ()):
                end()

    def read(self) -> Reading:
        """The reading of all sources together."""
        counts: dict[Name, float] = {}
        gauges: dict[Name, float] = {}
        self._count(counts, self._ended_counts)
        for source in tuple(self._sources.values()):
            reading = _reading_of(source)
            self._count(counts, reading.counts)
            for name, value in reading.gauges.items():
                bounded = self._bounded_name(name)
                gauges[bounded] = max(value, gauges.get(bounded, value))
        return Reading(counts, gauges)

    def _count(self, to: dict[Name, float], counts: Mapping[Name, float]) -> None:
        for name, value in counts.items():
            bounded = self._bounded_name(name)
            to[bounded] = to.get(bounded, 0.0) + value

    def _bounded_name(self, name: Name) -> Name:
        labels = self._labels.setdefault(name.metric, set())
        if name.label not in labels:
            if len(labels) >= LABELS_MAX:
                return Name(name.metric, OTHER)
            labels.add(name.label)
        return name
