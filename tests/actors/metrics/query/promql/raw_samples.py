"""Samples as Prometheus has them, as a source: cumulative counters, staleness, extrapolation.

The product evaluates over windows. This source lets Prometheus' own facts be checked with the same
parser and evaluator.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from callboard.actors.metrics.query.promql.aggregations import quantile
from callboard.actors.metrics.query.promql.parser import parse
from callboard.actors.metrics.query.promql.samples import Times
from callboard.actors.metrics.query.promql.syntax import Matching, Selector
from callboard.actors.metrics.query.promql.vectors import Floats, Tags, Vector
from callboard.actors.metrics.series import MetricKind, SeriesKey

LOOKBACK_S: Final = 300.0
RAMP: Final = re.compile(r"(-?[\d.]+)([+-][\d.]+)x(\d+)")


@dataclass(frozen=True)
class Sample:
    at_s: float
    value: float | None
    """None: the series ends here."""


def values_of(text: str) -> Iterable[float | str]:
    """The values of a series: `0+10x3` is 0 10 20 30."""
    for word in text.split():
        ramp = RAMP.fullmatch(word)
        if ramp is not None:
            first, step, count = float(ramp[1]), float(ramp[2]), int(ramp[3])
            yield from (first + step * number for number in range(count + 1))
        else:
            yield word if word in {"_", "stale"} else float(word)


def tags_of(selector: str) -> Tags:
    """The tags of a series, as an expression selects it; `{}` has none."""
    if selector == "{}":
        return ()
    found = parse(selector)
    assert isinstance(found, Selector)
    return tuple(sorted((matcher.tag, matcher.value) for matcher in found.matchers))


class RawSamples:
    """A `SampleSource` over samples that begin at some time.

    Up to Prometheus 2 a range holds a sample at its very beginning (`is_closed`), from 3 on not.
    """

    def __init__(
        self,
        every_s: float,
        series: Mapping[str, str],
        *,
        begin_s: float = 0.0,
        is_closed: bool = False,
    ) -> None:
        self._is_closed: Final = is_closed
        self._series: Final[dict[Tags, list[Sample]]] = {}
        for selector, text in series.items():
            samples = [
                Sample(begin_s + every_s * number, None if value == "stale" else float(value))
                for number, value in enumerate(values_of(text))
                if value != "_"
            ]
            self._series[tags_of(selector)] = samples

    async def instant(self, selector: Selector, times_ns: Times, *, presence: bool) -> Vector:
        return self._computed(selector, times_ns, LOOKBACK_S, lambda found, _, __: found[-1].value)

    async def over(
        self, function: str, selector: Selector, times_ns: Times, parameter: Floats | None
    ) -> Vector:
        range_s = selector.range_ns / 1e9

        def compute(found: list[Sample], at_s: float, column: int) -> float | None:
            found = [sample for sample in found if sample.value is not None]
            if not found:
                return None
            if function in {"rate", "increase"}:
                increase = extrapolated(found, at_s, range_s)
                return (
                    increase if increase is None or function == "increase" else increase / range_s
                )
            values = [sample.value for sample in found if sample.value is not None]
            if function == "quantile_over_time":
                assert parameter is not None
                return quantile(values, float(parameter[column]))
            return SIMPLE[function](values)

        return self._computed(selector, times_ns, range_s, compute)

    async def merged_quantile(
        self, selector: Selector, grouping: Matching, times_ns: Times, quantile: Floats
    ) -> Vector | None:
        return None

    def _computed(
        self,
        selector: Selector,
        times_ns: Times,
        range_s: float,
        compute: Callable[[list[Sample], float, int], float | None],
    ) -> Vector:
        tags: list[Tags] = []
        rows: list[list[float | None]] = []
        for own, samples in self._series.items():
            key = SeriesKey(
                MetricKind.GAUGE,
                dict(own).get("__name__", ""),
                tuple(tag for tag in own if tag[0] != "__name__"),
            )
            if not all(matcher.accepts(key) for matcher in selector.matchers):
                continue
            row: list[float | None] = []
            for column, time_ns in enumerate(times_ns.tolist()):
                at_s = (time_ns - selector.offset_ns) / 1e9
                begin_s = at_s - range_s
                found = [
                    sample
                    for sample in samples
                    if begin_s < sample.at_s <= at_s or (self._is_closed and sample.at_s == begin_s)
                ]
                row.append(compute(found, at_s, column) if found else None)
            tags.append(own)
            rows.append(row)
        shape = (len(rows), len(times_ns))
        values = np.array([[math.nan if v is None else v for v in row] for row in rows])
        present = np.array([[v is not None for v in row] for row in rows], bool)
        return Vector(tuple(tags), values.reshape(shape), present.reshape(shape))


def extrapolated(found: list[Sample], at_s: float, range_s: float) -> float | None:
    """The increase as Prometheus guesses it: resets are undone, the ends of the range filled."""
    values = [sample.value or 0.0 for sample in found]
    if len(found) < 2:
        return None
    increase = values[-1] - values[0]
    for before, after in pairwise(values):
        if after < before:
            increase += before
    sampled = found[-1].at_s - found[0].at_s
    each = sampled / (len(found) - 1)
    to_start, to_end = found[0].at_s - (at_s - range_s), at_s - found[-1].at_s
    if to_start >= each * 1.1:
        to_start = each / 2
    if increase > 0 and values[0] >= 0:
        to_start = min(to_start, sampled * values[0] / increase)
    if to_end >= each * 1.1:
        to_end = each / 2
    return increase * (sampled + to_start + to_end) / sampled


def _extreme(values: list[float], choose: Callable[[list[float]], float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return choose(known) if known else math.nan


SIMPLE: Final[Mapping[str, Callable[[list[float]], float]]] = {
    "avg_over_time": lambda values: math.fsum(values) / len(values),
    "sum_over_time": sum,
    "min_over_time": lambda values: _extreme(values, min),
    "max_over_time": lambda values: _extreme(values, max),
    "count_over_time": len,
    "last_over_time": lambda values: values[-1],
    "present_over_time": lambda _: 1.0,
}
