"""The figures of all hosts of a node: what its endpoint shows. It only decides.

A host is a label (`host-1`), and its incarnations are tokens, of which several may live at once
(all attached drivers share one label). What a label shows is the sum over the tokens, also of
those that have ended.

Invariants: a counter, a bucket and a count of a label never decrease, whatever comes in whatever
order, also when another process goes on from `saved`; a report that comes twice changes nothing;
there are at most `SERIES_MAX` series; a gauge is shown only while its host is connected.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack

from callboard.actors.metrics.series import MetricKind

from ..names import METRICS, RECORDED
from .figures import NO_SUM, WRONG, Exemplar, Labels, Report, Row

__all__ = ["NodeFigures", "Sample", "ShownMetric"]

SERIES_MAX: Final = 20_000
"""Series of one node. Further ones are left out, and counted."""
ENDED_S: Final = 600.0
"""A token that was not heard of for so long is over: its values are added to those of its label.
Until then it may come back, after its connection was lost."""
FORGOTTEN_S: Final = 3_600.0
"""A label without any token for so long is forgotten: hosts that come and go would stay forever."""

Values: TypeAlias = tuple[float, ...]


class Key(NamedTuple):
    """One series of a host."""

    kind: MetricKind
    name: str
    labels: Labels


class Sample(NamedTuple):
    """One series as it is shown."""

    labels: Labels
    values: Values
    exemplars: Mapping[int, Exemplar] = {}


class ShownMetric(NamedTuple):
    """All series of one metric."""

    kind: MetricKind
    name: str
    """Without a suffix."""
    text: str
    samples: tuple[Sample, ...]


@dataclass(slots=True)
class _Incarnation:
    """What one token has reported."""

    host: str
    heard_s: float
    is_connected: bool = False
    grown: dict[Key, Values] = field(default_factory=dict)
    """Counters and histograms."""
    gauges: dict[Key, float] = field(default_factory=dict)
    exemplars: dict[Key, dict[int, Exemplar]] = field(default_factory=dict)
    dropped: int = 0


@dataclass(slots=True)
class _Label:
    """What the ended tokens of a label have left."""

    heard_s: float
    grown: dict[Key, Values] = field(default_factory=dict)


class NodeFigures:
    """The figures of all hosts of a node. `now_s` only grows."""

    def __init__(self) -> None:
        self._incarnations: dict[str, _Incarnation] = {}
        self._labels: dict[str, _Label] = {}
        self._series = 0
        self._refused: set[tuple[str, Key]] = set()
        self.has_unsaved = False
        """Whether something has grown that `saved` has not given out."""

    def take(self, report: Report, now_s: float) -> None:
        """Take over a report."""
        known = self._incarnations.get(report.token)
        if known is None:
            known = _Incarnation(report.host, now_s)
            self._incarnations[report.token] = known
            self._labels.setdefault(report.host, _Label(now_s))
        known.heard_s, known.is_connected, known.dropped = now_s, True, report.dropped
        self._series -= len(known.gauges)
        known.gauges.clear()
        known.exemplars.clear()
        for row in report.rows:
            self._take_row(report.token, known, row)

    def _take_row(self, token: str, known: _Incarnation, row: Row) -> None:
        key = Key(row.kind, row.name, row.labels)
        before = known.grown.get(key)
        if before is None:
            if self._series >= SERIES_MAX:
                if len(self._refused) < SERIES_MAX:
                    self._refused.add((token, key))
                return
            self._series += 1
        if row.kind is MetricKind.GAUGE:
            known.gauges[key] = row.values[0]
            return
        values = row.values if before is None else _largest(before, row.values)
        if values != before:
            known.grown[key] = values
            self.has_unsaved = True
        if row.exemplars:
            known.exemplars[key] = dict(row.exemplars)

    def left(self, token: str, now_s: float) -> None:
        """The connection of an incarnation has ended; it may have died, or come back."""
        known = self._incarnations.get(token)
        if known is not None:
            known.is_connected, known.heard_s = False, now_s
            self._series -= len(known.gauges)
            known.gauges.clear()

    def settle(self, now_s: float) -> None:
        """Add up the tokens that have ended, and forget the labels that are gone."""
        for token, known in list(self._incarnations.items()):
            label = self._labels[known.host]
            label.heard_s = now_s
            if known.is_connected or now_s - known.heard_s < ENDED_S:
                continue
            for key, values in known.grown.items():
                before = label.grown.get(key)
                label.grown[key] = values if before is None else _sum(before, values)
                self._series -= before is not None
            del self._incarnations[token]
            self.has_unsaved = True
        for host, label in list(self._labels.items()):
            if now_s - label.heard_s >= FORGOTTEN_S:
                self._series -= len(label.grown)
                del self._labels[host]

    # --- what is shown --------------------------------------------------------------------------

    @property
    def connected(self) -> frozenset[str]:
        """The tokens of the incarnations that are connected."""
        return frozenset(t for t, known in self._incarnations.items() if known.is_connected)

    @property
    def dropped(self) -> tuple[int, int]:
        """The series that hosts have left out, and those that this node has left out."""
        return sum(known.dropped for known in self._incarnations.values()), len(self._refused)

    def ages_s(self, now_s: float) -> Mapping[str, float]:
        """The time since the last report of each connected label; the oldest of several."""
        ages: dict[str, float] = {}
        for known in self._incarnations.values():
            if known.is_connected:
                ages[known.host] = max(now_s - known.heard_s, ages.get(known.host, 0.0))
        return ages

    def metrics(self, system: str) -> tuple[ShownMetric, ...]:
        """All metrics, sorted by name; of two whose samples would have one name, the first."""
        by_metric: dict[tuple[str, MetricKind, str], list[Sample]] = {}
        for (host, key), (values, exemplars) in sorted(self._shown().items()):
            own = (("system", system), *((("host", host),) if host else ()))
            labels = (*own, *_renamed(key, own))
            sample = Sample(labels, values, exemplars)
            by_metric.setdefault((_base_name(key), key.kind, key.name), []).append(sample)
        return tuple(_without_clashes(by_metric))

    def _shown(self) -> dict[tuple[str, Key], tuple[Values, dict[int, Exemplar]]]:
        shown: dict[tuple[str, Key], tuple[Values, dict[int, Exemplar]]] = {}

        def add(host: str, key: Key, values: Values, exemplars: dict[int, Exemplar]) -> None:
            before = shown.get((host, key))
            if before is None:
                shown[host, key] = (values, exemplars)
            elif key.kind is MetricKind.GAUGE:
                shown[host, key] = (max(before[0], values), {})
            else:
                shown[host, key] = (_sum(before[0], values), {**before[1], **exemplars})

        for host, label in self._labels.items():
            for key, values in label.grown.items():
                add(host, key, values, {})
        for known in self._incarnations.values():
            for key, values in known.grown.items():
                add(known.host, key, values, known.exemplars.get(key, {}))
            for key, value in known.gauges.items():
                add(known.host, key, (value,), {})
        return shown

    # --- for the next process -------------------------------------------------------------------

    def saved(self) -> bytes:
        """What the next process of this node goes on from."""
        self.has_unsaved = False
        incarnations = [
            (token, known.host, list(known.grown.items()))
            for token, known in self._incarnations.items()
        ]
        labels = [(host, list(label.grown.items())) for host, label in self._labels.items()]
        data: bytes = msgpack.packb((incarnations, labels))
        return data

    def restore(self, data: bytes, now_s: float) -> None:
        """Go on from what another process has saved. Raises `ValueError` for other bytes."""
        try:
            incarnations, labels = msgpack.unpackb(data, use_list=False)
            found = {
                str(token): _Incarnation(str(host), now_s, grown=dict(_grown(rows)))
                for token, host, rows in incarnations
            }
            left = {str(host): _Label(now_s, dict(_grown(rows))) for host, rows in labels}
        except WRONG as error:
            raise ValueError(f"these are no saved figures: {error}") from None
        for known in found.values():
            left.setdefault(known.host, _Label(now_s))
        self._incarnations, self._labels = found, left
        self._series = sum(len(known.grown) for known in found.values())
        self._series += sum(len(label.grown) for label in left.values())


def _grown(rows: Any) -> Iterator[tuple[Key, Values]]:
    for (kind, name, labels), values in rows:
        yield Key(MetricKind(kind), name, labels), tuple(map(float, values))


def _sum(one: Values, other: Values) -> Values:
    added = tuple(a + b for a, b in zip(one, other, strict=True))
    has_sum = len(added) == 1 or (one[-1] >= 0.0 <= other[-1])
    return added if has_sum else (*added[:-1], NO_SUM)


def _largest(one: Values, other: Values) -> Values:
    largest = tuple(map(max, one, other))
    has_sum = len(largest) == 1 or (one[-1] >= 0.0 <= other[-1])
    return largest if has_sum else (*largest[:-1], NO_SUM)


def _base_name(key: Key) -> str:
    """The name without the suffix that the samples of its kind get.

    Colons are for rules of Prometheus, and prometheus-client writes them in one place only.
    """
    name = key.name.replace(":", "_")
    is_counter = key.kind is MetricKind.COUNTER
    return (name.removesuffix("_total") or name) if is_counter else name


def _renamed(key: Key, own: Labels) -> Iterator[tuple[str, str]]:
    """The labels of a series, without those that the endpoint sets itself."""
    taken = {"le", *(name for name, _ in own)}
    for name, value in key.labels:
        free = name
        while free in taken:
            free = f"exported_{free}"
        taken.add(free)
        yield free, value


SUFFIXES: Final = {
    MetricKind.COUNTER: ("", "_total", "_created"),
    MetricKind.GAUGE: ("",),
    MetricKind.OBSERVATION: ("", "_bucket", "_count", "_sum", "_created"),
}


def _without_clashes(
    by_metric: Mapping[tuple[str, MetricKind, str], Iterable[Sample]],
) -> Iterator[ShownMetric]:
    taken: set[str] = set()
    # Callboard's own metrics come first, so that no recorded one can hide them.
    for place in sorted(by_metric, key=lambda found: (found[0] not in METRICS, found)):
        name, kind, _ = place
        names = {name + suffix for suffix in SUFFIXES[kind]}
        if names & taken:
            continue
        taken |= names
        known = METRICS.get(name)
        recorded = RECORDED.get(place[2], "Recorded by actors.")
        text = known.text if known else recorded
        yield ShownMetric(kind, name, text, tuple(by_metric[place]))
