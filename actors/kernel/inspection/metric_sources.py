"""What is measured in this process beside the host itself: by a journal, a cache, a projector.

Whoever measures adds a source to the instruments of its host, and takes it out when it ends.
Of a name that several sources have, counts are added up, and of gauges the largest is bounded.

Invariants: counts never go back, also when a source is taken out; a name has at most
`LABELS_MAX` labels, what has another one is bounded together under `OTHER`.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

__all__ = ["LABELS_MAX", "OTHER", "Instruments", "Name", "Reading", "Source"]

LABELS_MAX: Final = 100
"""Projections and groups of consumers that are bounded by their names on one host."""
OTHER: Final = "other"


class Name(NamedTuple):
    """A metric, and the value of its one label of its own: empty when it has none."""

    metric: str
    label: str = ""


class Reading(NamedTuple):
    """What a source has measured."""

    counts: Mapping[Name, float]
    """They only grow while the source is there."""
    gauges: Mapping[Name, float]


Source = Callable[[], Reading]


class Instruments:
    """The sources of one host."""

    def __init__(self) -> None:
        self._sources: dict[int, Source] = {}
        self._number = 0
        self._owned: dict[int, list[Callable[[], None]]] = {}
        """By the actor that has added them: what takes them out."""
        self._ended_counts: dict[Name, float] = {}
        """What sources had counted that are not here any more."""
        self._labels: dict[str, set[str]] = {}

    def add(self, source: Source) -> Callable[[], None]:
        """Read this source too; gives what takes it out again, and may be called twice."""
        self._number = number = self._number + 1
        self._sources[number] = source

        def end() -> None:
            if self._sources.pop(number, None) is not None:
                self._count(self._ended_counts, source().counts)

        return end

    def add_for(self, cell: int, source: Source) -> None:
        """Read this source until the actor's incarnation ends."""
        self._owned.setdefault(cell, []).append(self.add(source))

    def drop(self, cell: int) -> None:
        """An actor's incarnation has ended."""
        if self._owned:
            for end in self._owned.pop(cell, ()):
                end()

    def read(self) -> Reading:
        """What all sources have measured by now."""
        counts: dict[Name, float] = {}
        gauges: dict[Name, float] = {}
        self._count(counts, self._ended_counts)
        for source in tuple(self._sources.values()):
            reading = source()
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
