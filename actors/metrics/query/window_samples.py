"""Windows as the source of an expression's values.

Every point counts as a sample: `avg_over_time` is the mean of all points in the range, not of those
that a scrape happened to see, and `quantile_over_time` comes from the merged sketches. Counters
hold increases, so `rate` and `increase` are exact sums, without extrapolation and without guesses
at resets. A window counts once it has ended: at 10:00:30 the newest one is that of 9:59.

A selector without a range gives, of the last five minutes, the last value of a gauge and the mean
of an observation; with whole hours or days as steps, of the hour or the day, so that a month is
read from 720 windows. A counter has no such value here: it is refused, because a number would mean
something else than in Prometheus.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..ports import WindowReader
from ..rows import WINDOWS_NS, WindowRows
from ..series import MatcherKind, MetricKind, SeriesKey
from ..sketch import merge_sketches
from .columns import take_sketches
from .promql.samples import Times
from .promql.syntax import Matching, Selector, refused
from .promql.vectors import NAME, Floats, Tags, Vector, signature
from .readers import too_many_series
from .tiles import Section, Tiles, join_tiles, mixed_sections, read_tiles, sections

__all__ = ["LOOKBACK_NS", "WindowSamples"]

LOOKBACK_NS: Final = WINDOWS_NS[1]
"""How old the newest window may be, for a selector without a range; as in Prometheus."""
MINUTE_NS: Final = WINDOWS_NS[0]
SERIES_MAX: Final = 10_000
ROWS_MAX: Final = 500_000
VALUES_MAX: Final = 5_000_000
"""Of all series at all times of one selector."""
SKETCHES_MAX: Final = 2_000_000
"""Sketches that are merged for one `quantile_over_time`; each counts for every range it is in."""

OF_POINTS: Final = frozenset(
    f"{name}_over_time" for name in ("avg", "sum", "min", "max", "count", "quantile", "present")
)
ALLOWED: Final = {
    MetricKind.COUNTER: frozenset({"rate", "increase", "present_over_time"}),
    MetricKind.GAUGE: OF_POINTS | {"last_over_time", "value"},
    MetricKind.OBSERVATION: OF_POINTS | {"value"},
}
ADVICE: Final = {
    MetricKind.COUNTER: "Write rate({name}[5m]) or increase({name}[5m]).",
    MetricKind.GAUGE: "Write avg_over_time({name}[5m]) or last_over_time({name}[5m]).",
    MetricKind.OBSERVATION: "Write count_over_time({name}[5m]), avg_over_time({name}[5m]) "
    "or quantile_over_time(0.99, {name}[5m]).",
}


@dataclass(frozen=True, slots=True)
class _Ranges:
    """For each time the whole windows that its range covers: from `begins` to `ends`."""

    begins: Times
    ends: Times
    sections: Sequence[Section]


class WindowSamples:
    """A `SampleSource` over windows."""

    def __init__(
        self, reader: WindowReader, *, series_max: int = SERIES_MAX, rows_max: int = ROWS_MAX
    ) -> None:
        self._reader: Final = reader
        self._series_max: Final = series_max
        self._rows_max: Final = rows_max

    async def instant(self, selector: Selector, times_ns: Times, *, presence: bool) -> Vector:
        """See `SampleSource.instant`."""
        function = "present_over_time" if presence else "value"
        lookback_ns = LOOKBACK_NS
        if len(times_ns) > 1:
            step_ns = int(times_ns[1] - times_ns[0])
            for width in WINDOWS_NS:
                if LOOKBACK_NS < width <= step_ns and _begin_windows(times_ns, selector, width):
                    lookback_ns = width
        return await self._values(function, selector, lookback_ns, times_ns, None)

    async def over(
        self, function: str, selector: Selector, times_ns: Times, parameter: Floats | None
    ) -> Vector:
        """See `SampleSource.over`."""
        return await self._values(function, selector, selector.range_ns, times_ns, parameter)

    async def merged_quantile(
        self, selector: Selector, grouping: Matching, times_ns: Times, quantile: Floats
    ) -> Vector | None:
        """See `SampleSource.merged_quantile`."""
        ranges = await self._ranges(times_ns - selector.offset_ns, selector.range_ns)
        tiles = await self._tiles(selector, ranges)
        if not len(tiles) or {key.kind for key in tiles.series} != {MetricKind.OBSERVATION}:
            return None
        self._check_size(tiles, selector, len(times_ns))
        groups: dict[Tags, int] = {}
        owners = np.array(
            [
                groups.setdefault(signature(_tags(key), grouping), len(groups))
                for key in tiles.series
            ]
        )
        first, last = _cells(tiles, ranges)
        computed = _Computed(tiles, first, last, selector)
        values = computed.quantiles(quantile, owners, len(groups))
        present = np.zeros(values.shape, bool)
        np.logical_or.at(present, owners, last > first)
        return Vector(tuple(groups), np.where(present, values, np.nan), present)

    def _check_size(self, tiles: Tiles, selector: Selector, moments: int) -> None:
        if len(tiles.series) > self._series_max:
            raise too_many_series(self._series_max)
        count = len(tiles.series) * moments
        if count > VALUES_MAX:
            raise refused(
                selector.place,
                f"the selector gives {count:,} values, more than {VALUES_MAX:,}.",
                "Set a longer step, or select fewer series.",
            )

    async def _values(
        self,
        function: str,
        selector: Selector,
        range_ns: int,
        times_ns: Times,
        parameter: Floats | None,
    ) -> Vector:
        ranges = await self._ranges(times_ns - selector.offset_ns, range_ns)
        tiles = await self._tiles(selector, ranges)
        name = ""
        if not len(tiles) and function in ALLOWED[MetricKind.COUNTER]:
            tiles, name = await self._parts_of_observations(selector, ranges)
        if not len(tiles):
            return Vector.empty(len(times_ns))
        self._check_size(tiles, selector, len(times_ns))
        for key in tiles.series if not name else ():
            _check_kind(function, key, selector)
        first, last = _cells(tiles, ranges)
        computed = _Computed(tiles, first, last, selector)
        seconds = (ranges.ends - ranges.begins) / 1e9
        values = computed.values(function, seconds, range_ns / 1e9, parameter)
        present = last > first
        tags = tuple(_tags(key._replace(name=name or key.name)) for key in tiles.series)
        return Vector(tags, np.where(present, values, np.nan), present)

    async def _ranges(self, times_ns: Times, range_ns: int) -> _Ranges:
        extents = await self._reader.extents()
        width = MINUTE_NS
        for each in WINDOWS_NS:
            # All ranges begin and end with windows of this width: fewer windows, the same result.
            if range_ns % each == 0 and each in extents and not np.any(times_ns % each):
                width = each
        begin, end = int(times_ns[0]) - range_ns, int(times_ns[-1])
        found = sections(extents, begin, end, width)
        if not found:
            return _Ranges(times_ns, times_ns, ())
        starts = np.array([section.from_ns for section in found])
        widths = np.array([section.width_ns for section in found])
        places = np.searchsorted(starts, times_ns - range_ns, side="right") - 1
        width_of = widths[np.maximum(places, 0)]
        ends = times_ns - times_ns % width_of
        begins = ends - np.maximum(width_of, range_ns - range_ns % width_of)
        if len(times_ns) == 1:
            mixed = mixed_sections(int(begins[0]), int(ends[0]), int(width_of[0]))
            return _Ranges(begins, ends, mixed)
        oldest = min(int(begins.min()), found[0].from_ns)
        return _Ranges(begins, ends, (found[0]._replace(from_ns=oldest), *found[1:]))

    async def _parts_of_observations(
        self, selector: Selector, ranges: _Ranges
    ) -> tuple[Tiles, str]:
        """For `NAME_count` and `NAME_sum` of an observation the same as if they were counters."""
        for suffix in ("_count", "_sum"):
            base = _without_suffix(selector, suffix)
            if base is None:
                continue
            tiles = await self._tiles(base, ranges)
            if {key.kind for key in tiles.series} == {MetricKind.OBSERVATION}:
                rows = tiles.rows
                sums = rows.counts.astype(np.float64) if suffix == "_count" else rows.sums
                (name,) = {key.name + suffix for key in tiles.series}
                return Tiles(replace(rows, sums=sums), tiles.widths_ns), name
        return Tiles(WindowRows.empty(MINUTE_NS), np.zeros(0, np.int64)), ""

    async def _tiles(self, selector: Selector, ranges: _Ranges) -> Tiles:
        extents = await self._reader.extents()
        parts: list[Tiles] = []
        left = self._rows_max
        for section in ranges.sections:
            tiles = await read_tiles(self._reader, extents, selector.matchers, section, left)
            left -= len(tiles)
            parts.append(tiles)
        return join_tiles(parts)


def _without_suffix(selector: Selector, suffix: str) -> Selector | None:
    """The same for the metric whose name lacks a suffix; None without such a name."""
    matchers = []
    for matcher in selector.matchers:
        if matcher.tag == NAME:
            if matcher.kind is not MatcherKind.IS or not matcher.value.endswith(suffix):
                return None
            matchers.append(matcher._replace(value=matcher.value.removesuffix(suffix)))
        else:
            matchers.append(matcher)
    return replace(selector, matchers=tuple(matchers)) if matchers != [*selector.matchers] else None


def _begin_windows(times_ns: Times, selector: Selector, width_ns: int) -> bool:
    return not np.any((times_ns - selector.offset_ns) % width_ns)


def _check_kind(function: str, key: SeriesKey, selector: Selector) -> None:
    if function in ALLOWED[key.kind]:
        return
    what = "a selector without a range" if function == "value" else function
    article = "an" if key.kind is MetricKind.OBSERVATION else "a"
    raise refused(
        selector.place,
        f"{what} has no meaning for {key.name}, {article} {key.kind.name.lower()}.",
        ADVICE[key.kind].format(name=key.name),
    )


def _tags(key: SeriesKey) -> Tags:
    return tuple(sorted(((NAME, key.name), *key.tags)))


def _cells(tiles: Tiles, ranges: _Ranges) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """For each series and time the tiles of its range, from the first to the one after the last."""
    origin = min(int(tiles.rows.starts_ns.min()), int(ranges.begins.min()))
    owner = np.arange(len(tiles.series), dtype=np.int64)[:, None] << 32

    def keys(times: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return (times - origin) // MINUTE_NS

    known = (tiles.rows.series_index.astype(np.int64) << 32) + keys(tiles.rows.starts_ns)
    first = np.searchsorted(known, owner + keys(ranges.begins))
    last = np.searchsorted(known, owner + keys(ranges.ends))
    return first, last


class _Computed:
    """Functions over the tiles from `first` to `last`, by series and time."""

    def __init__(
        self, tiles: Tiles, first: npt.NDArray[Any], last: npt.NDArray[Any], selector: Selector
    ) -> None:
        self._tiles: Final = tiles
        self._rows: Final = tiles.rows
        self._first: Final = first
        self._last: Final = last
        self._place: Final = selector.place

    def values(
        self, function: str, seconds: Floats, asked_s: float, parameter: Floats | None
    ) -> Floats:
        """The values; those that grow with the range are brought from its windows to its length."""
        with np.errstate(all="ignore"):
            match function:
                case "rate":
                    return self._total(self._rows.sums) / seconds
                case "increase" | "sum_over_time":
                    return self._total(self._rows.sums) * (asked_s / seconds)
                case "count_over_time":
                    return self._total(self._rows.counts) * (asked_s / seconds)
                case "avg_over_time":
                    return self._total(self._rows.sums) / self._total(self._rows.counts)
                case "min_over_time":
                    return self._reduced(np.minimum, self._rows.minima)
                case "max_over_time":
                    return self._reduced(np.maximum, self._rows.maxima)
                case "last_over_time":
                    return self._newest()
                case "present_over_time":
                    return np.ones(self._first.shape)
                case "quantile_over_time":
                    assert parameter is not None
                    return self.quantiles(parameter, np.arange(len(self._first)), len(self._first))
                case _:
                    kinds = np.array([key.kind for key in self._tiles.series])[:, None]
                    means = self._total(self._rows.sums) / self._total(self._rows.counts)
                    return np.where(kinds == MetricKind.GAUGE, self._newest(), means)

    def _total(self, column: npt.NDArray[Any]) -> Floats:
        return self._reduced(np.add, column.astype(np.float64))

    def _reduced(self, function: np.ufunc, column: Floats) -> Floats:
        pairs = np.stack((self._first, self._last), axis=-1).reshape(-1)
        # One more row, because a range may end after the last one.
        found = function.reduceat(np.append(column, 0.0), pairs)[::2]
        reduced: Floats = found.reshape(self._first.shape)
        return reduced

    def _newest(self) -> Floats:
        found: Floats = self._rows.last[np.maximum(self._last - 1, 0)]
        return found

    def quantiles(self, parameter: Floats, owners: npt.NDArray[Any], count: int) -> Floats:
        """The quantile of all points of each owner, to which the series belong, at each time."""
        moments = self._first.shape[1]
        lengths = (self._last - self._first).reshape(-1)
        total = int(lengths.sum())
        if total > SKETCHES_MAX:
            raise refused(
                self._place,
                f"the ranges hold {total:,} sketches, more than {SKETCHES_MAX:,}.",
                "Set a longer step, or a shorter range.",
            )
        before = np.cumsum(lengths) - lengths
        chosen = np.repeat(self._first.reshape(-1) - before, lengths) + np.arange(total)
        own_cells = (owners[:, None] * moments + np.arange(moments)).reshape(-1)
        cells = np.repeat(own_cells, lengths)
        order = np.argsort(cells, kind="stable")
        chosen, cells = chosen[order], cells[order]
        merged = merge_sketches(take_sketches(self._rows.sketches, chosen), cells, count * moments)
        low, high = np.full(count * moments, np.inf), np.full(count * moments, -np.inf)
        np.minimum.at(low, cells, self._rows.minima[chosen])
        np.maximum.at(high, cells, self._rows.maxima[chosen])
        found = np.full((count, moments), np.nan)
        for q in np.unique(parameter).tolist():
            if 0.0 <= q <= 1.0:
                values = np.clip(merged.quantiles(q), low, high).reshape(found.shape)
                found = np.where(parameter == q, values, found)
            elif q == q:  # noqa: PLR0124 - not NaN
                found = np.where(parameter == q, -np.inf if q < 0.0 else np.inf, found)
        return found
