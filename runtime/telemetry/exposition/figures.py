"""The figures of one host for the endpoint of its node, and the report that carries them.

A report has all figures of the host, so a lost one costs nothing, and one that comes twice changes
nothing. Counters and histograms only grow within one incarnation of a host, which a token names.

Observations are kept as histograms with fixed buckets, not as quantiles: buckets of several hosts
can be added up, quantiles cannot, and only buckets take exemplars. The buckets depend on the unit
in the name, so every host has the same ones. (The windows that Callboard stores have quantiles
with an error of 1 %.)
"""

import math
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack
import numpy as np
import numpy.typing as npt

from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.series import MetricKind, SeriesKey, series_key
from callboard.messages.core.errors import UsageError

from ..names import METRICS, Kind

__all__ = [
    "HEAD_BYTES",
    "NO_SUM",
    "REPORT_BYTES_MAX",
    "WRONG",
    "Exemplar",
    "HostFigures",
    "Report",
    "Row",
    "bounds_of",
    "decode_report",
    "encode_report",
]

SERIES_MAX: Final = 2_000
"""Series of one host. Further ones are left out, and counted."""
KEY_CHARACTERS_MAX: Final = 500_000
"""Characters of the names and tags of all series of one host."""
EXEMPLARS_MAX: Final = 1_000
"""Exemplars of one host; one more replaces the oldest."""
REPORT_BYTES_MAX: Final = 4 * 1024 * 1024
"""More than the limits above allow."""
HEAD_BYTES: Final = 4
"""A report comes after its length, in network order."""
WRONG: Final = (TypeError, ValueError, OverflowError, msgpack.UnpackException, RecursionError)
"""What bytes that were not written here may raise."""
FLOAT_MAX: Final = sys.float_info.max
NO_SUM: Final = -1.0
"""In the place of a sum: a value was negative, so the sum does not only grow."""
EXEMPLAR_CHARACTERS_MAX: Final = 100
"""OpenMetrics allows 128 for the names and values of all labels of an exemplar."""
SECONDS: Final = tuple(float(f"{digit}e{power}") for power in range(-4, 3) for digit in (1, 2, 5))
"""From 0.1 ms to 500 s."""
BYTES: Final = tuple(float(4**power) for power in range(3, 17))
"""From 64 bytes to 4 GiB."""
NUMBERS: Final = tuple(float(f"{digit}e{power}") for power in range(-3, 7) for digit in (1, 2, 5))
"""From 0.001 to 5,000,000."""

Labels: TypeAlias = tuple[tuple[str, str], ...]


def bounds_of(name: str) -> tuple[float, ...]:
    """The upper bounds of the buckets of a metric, by the unit in its name."""
    if name.endswith("_seconds"):
        return SECONDS
    return BYTES if name.endswith("_bytes") else NUMBERS


class Exemplar(NamedTuple):
    """One slow observation, and the step of the execution that it belongs to."""

    value: float
    time_s: float
    """Seconds since 1970."""
    execution: str
    step: str


class Row(NamedTuple):
    """One series of a host."""

    kind: MetricKind
    name: str
    labels: Labels
    values: tuple[float, ...]
    """One value; for an observation the count of each bucket, of those above all, and the sum
    (`NO_SUM` for none)."""
    exemplars: tuple[tuple[int, Exemplar], ...] = ()
    """At most one for each bucket."""


class Report(NamedTuple):
    """All figures of one incarnation of a host."""

    host: str
    """The label; empty for figures of the node itself."""
    token: str
    rows: tuple[Row, ...]
    dropped: int = 0
    """Series that were left out because there were too many."""
    is_driver: bool = False
    """Whether it comes from a driver, which serves only until a host does."""


class HostFigures:
    """The figures of one host. It is a `MetricSink`."""

    def __init__(self) -> None:
        self._values: dict[SeriesKey, list[float]] = {}
        self._exemplars: dict[tuple[SeriesKey, int], Exemplar] = {}
        """By series and bucket, the oldest first."""
        self._characters = 0
        self._dropped: set[SeriesKey] = set()
        self.on_change: Callable[[], None] | None = None
        """Called whenever something comes."""

    def gauge(self, name: str, value: float, label: str = "") -> None:
        """See `MetricSink`."""
        self.record(_key(MetricKind.GAUGE, name, label), (value,))

    def count(self, name: str, increase: float, label: str = "") -> None:
        """See `MetricSink`."""
        self.record(_key(MetricKind.COUNTER, name, label), (increase,))

    def record(self, key: SeriesKey, values: Iterable[float]) -> None:
        """Take points of a series: increases, present values (the last counts), or measurements.

        A value that is not finite, and a negative increase, are left out.
        """
        if self.on_change is not None:
            self.on_change()
        kept = self._kept(key)
        if kept is None:
            return
        for value in values:
            if not math.isfinite(value):
                continue
            match key.kind:
                case MetricKind.GAUGE:
                    kept[0] = value
                case MetricKind.COUNTER:
                    kept[0] = min(kept[0] + max(value, 0.0), FLOAT_MAX)
                case MetricKind.OBSERVATION:
                    kept[bisect_left(bounds_of(key.name), value)] += 1.0
                    has_sum = kept[-1] >= 0.0 <= value
                    kept[-1] = min(kept[-1] + value, FLOAT_MAX) if has_sum else NO_SUM

    def record_columns(self, columns: PointColumns) -> None:
        """Take the points of a flush. Callboard's own metrics are left out: they come as a sink."""
        order = np.argsort(columns.index, kind="stable")
        ends = np.searchsorted(columns.index[order], np.arange(len(columns.series)), side="right")
        begin = 0
        for key, end in zip(columns.series, ends.tolist(), strict=True):
            values = columns.values[order[begin:end]]
            begin = end
            if len(values) and not _is_own(key):
                self._record_many(key, values[np.isfinite(values)])

    def _record_many(self, key: SeriesKey, values: npt.NDArray[np.float64]) -> None:
        if key.kind is not MetricKind.OBSERVATION:
            is_gauge = key.kind is MetricKind.GAUGE
            total = min(float(values.clip(0.0).sum()), FLOAT_MAX)
            self.record(key, values[-1:].tolist() if is_gauge else (total,))
            return
        self.record(key, ())
        kept = self._values.get(key)
        if kept is None or not len(values):
            return
        bounds = bounds_of(key.name)
        counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds) + 1)
        has_sum = kept[-1] >= 0.0 <= values.min()
        kept[:-1] = [before + more for before, more in zip(kept[:-1], counts.tolist(), strict=True)]
        kept[-1] = min(kept[-1] + float(values.sum()), FLOAT_MAX) if has_sum else NO_SUM

    def remember(
        self, key: SeriesKey, value: float, time_s: float, execution: str, step: str
    ) -> None:
        """Keep the example of an observation; the newest of a bucket stays."""
        if key.kind is MetricKind.OBSERVATION:
            place = (key, bisect_left(bounds_of(key.name), value))
            self._exemplars.pop(place, None)
            self._exemplars[place] = Exemplar(value, time_s, execution, step)
            if len(self._exemplars) > EXEMPLARS_MAX:
                del self._exemplars[next(iter(self._exemplars))]

    def _kept(self, key: SeriesKey) -> list[float] | None:
        kept = self._values.get(key)
        if kept is None:
            characters = len(key.name) + sum(len(tag) + len(value) for tag, value in key.tags)
            if (
                len(self._values) >= SERIES_MAX
                or self._characters + characters > KEY_CHARACTERS_MAX
            ):
                if len(self._dropped) < SERIES_MAX:  # It counts as many more.
                    self._dropped.add(key)
                return None
            self._characters += characters
            size = len(bounds_of(key.name)) + 2 if key.kind is MetricKind.OBSERVATION else 1
            kept = self._values[key] = [0.0] * size
        return kept

    def report(self, host: str, token: str, *, is_driver: bool = False) -> Report:
        """All of them now."""
        examples: dict[SeriesKey, list[tuple[int, Exemplar]]] = {}
        for (key, bucket), exemplar in self._exemplars.items():
            examples.setdefault(key, []).append((bucket, exemplar))
        rows = tuple(
            Row(key.kind, key.name, key.tags, tuple(values), tuple(examples.get(key, ())))
            for key, values in self._values.items()
        )
        return Report(host, token, rows, len(self._dropped), is_driver)


def _is_own(key: SeriesKey) -> bool:
    return key.name in METRICS or key.name.removesuffix("_total") in METRICS


def _key(kind: MetricKind, name: str, label: str) -> SeriesKey:
    own = METRICS[name].label
    assert (METRICS[name].kind is Kind.COUNTER) == (kind is MetricKind.COUNTER), name
    return SeriesKey(kind, name, ((own, label),) if own and label else ())


# --- on the wire ------------------------------------------------------------------------------


def encode_report(report: Report) -> bytes:
    """The bytes of a report."""
    data: bytes = msgpack.packb(report)
    return data


def decode_report(data: bytes) -> Report:
    """The report in these bytes. Raises `ValueError` for any others."""
    try:
        host, token, rows, dropped, is_driver = msgpack.unpackb(
            data, use_list=False, strict_map_key=False
        )
        found = tuple(_row(row) for row in rows)
        return Report(str(host), str(token), found, int(dropped), bool(is_driver))
    except (UsageError, *WRONG) as error:
        raise ValueError(f"these bytes are no report: {error}") from None


def _row(row: Any) -> Row:
    number, name, labels, values, exemplars = row
    kind = MetricKind(number)
    pairs: Mapping[str, str] = dict(labels)
    key = series_key(kind, name, pairs)
    found = tuple(float(value) for value in values)
    size = len(bounds_of(name)) + 2 if kind is MetricKind.OBSERVATION else 1
    if len(found) != size or not all(map(math.isfinite, found)):
        raise ValueError(f"{name} has wrong values")
    examples = []
    for bucket, (value, time_s, execution, step) in exemplars:
        if not 0 <= int(bucket) < size - 1:
            raise ValueError(f"{name} has a wrong exemplar")
        room = max(0, EXEMPLAR_CHARACTERS_MAX - len(execution))
        example = Exemplar(float(value), float(time_s), str(execution), str(step)[:room])
        examples.append((int(bucket), example))
    return Row(kind, key.name, key.tags, found, tuple(examples))
