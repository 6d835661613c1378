"""Queries by name, tags, range and step, with the results as columns."""

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from callboard.messages.core.errors import UsageError

from ..ports import Extent, WindowReader
from ..rows import WINDOWS_NS, WindowRows
from ..series import Matcher, MatcherKind, MetricKind
from ..sketch import merge_sketches
from .columns import take_sketches
from .missing import allow_missing
from .readers import too_many_series
from .tiles import Section, Tiles, join_tiles, read_tiles, sections

__all__ = [
    "AUTOMATIC",
    "Function",
    "MetricsQuery",
    "QueryResult",
    "QuerySeries",
    "function_named",
    "run_query",
    "step_for",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SERIES_MAX: Final = 10_000
ROWS_MAX: Final = 500_000
STEPS_MAX: Final = 11_000
VALUES_MAX: Final = 5_000_000
"""Of all series at all steps of an answer."""
STEPS_AUTOMATIC: Final = 100
"""A step that is not given is the shortest round one that gives at most so many."""
ROUND_STEPS_S: Final = (60, 300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800)
TIME_NS_MAX: Final = 2**62
"""In the year 2116: all sums of times are in int64."""
QUANTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d{1,6})?|100)|q(0(?:\.\d{1,9})?|1)", re.ASCII)


@enum.unique
class Statistic(enum.Enum):
    """What a query computes of the points of each step."""

    COUNT = "count"
    SUM = "sum"
    RATE = "rate"
    """The sum for each second."""
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    LAST = "last"
    QUANTILE = "quantile"


@dataclass(frozen=True, slots=True)
class Function:
    """What a query computes, with the quantile (0 to 1) if it is one."""

    statistic: Statistic | None
    """What is computed; None: the sum of a counter, the last value of a gauge, the average of an
    observation."""
    quantile: float = 0.0
    """Of the statistic `QUANTILE`."""


AUTOMATIC: Final = Function(None)
AUTOMATIC_FOR: Final = {
    MetricKind.COUNTER: Statistic.SUM,
    MetricKind.GAUGE: Statistic.LAST,
    MetricKind.OBSERVATION: Statistic.AVG,
}


def function_named(name: str) -> Function:
    """`count`, `sum`, `rate`, `avg`, `min`, `max`, `last`, `p99`, `p99.9`, `q0.5`, or `auto`.

    Raises `UsageError`.
    """
    if name == "auto":
        return AUTOMATIC
    found = QUANTILE.fullmatch(name)
    if found is not None:
        percent, fraction = found.groups()
        quantile = float(percent) / 100.0 if fraction is None else float(fraction)
        return Function(Statistic.QUANTILE, quantile)
    names = [each.value for each in Statistic if each is not Statistic.QUANTILE]
    if name not in names:
        raise UsageError(
            f"{name[:60]!r} is no function of a query.",
            advice=f"Use {', '.join(names)}, a percentile such as p99.9, or auto.",
        )
    return Function(Statistic(name))


@dataclass(frozen=True, slots=True)
class MetricsQuery:
    """Which series, which time, which step, which function."""

    name: str = ""
    """The metric's name; empty if matchers select it."""
    matchers: tuple[Matcher, ...] = ()
    """Conditions on tags; a series fulfils all of them."""
    from_ns: int = 0
    """The beginning."""
    to_ns: int = 0
    """The first moment that is not asked for."""
    step_ns: int = 0
    """A multiple of a minute; 0: chosen for the time."""
    function: Function = AUTOMATIC
    """What is computed of each step; see `function_named`."""
    by: tuple[str, ...] | None = None
    """The series are put together by these tags, () all into one; None: each for itself."""
    top: int = 0
    """Only so many series, those with the highest values over the whole time; 0: all."""
    series_max: int = SERIES_MAX
    """The query is refused when it selects more."""
    rows_max: int = ROWS_MAX
    """The query is refused when it reads more windows."""

    def all_matchers(self) -> tuple[Matcher, ...]:
        """The matchers with that of the name."""
        own = (Matcher("__name__", MatcherKind.IS, self.name),) if self.name else ()
        return own + self.matchers


@dataclass(frozen=True, slots=True)
class QuerySeries:
    """What the values of one row of a result belong to."""

    name: str
    """The metric's name."""
    kind: MetricKind
    """What its points mean."""
    tags: tuple[tuple[str, str], ...]
    """Its tags; with `by`, these alone."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Values by series and step."""

    series: tuple[QuerySeries, ...]
    """What the rows of the values belong to."""
    starts_ns: Ints
    """Where each step begins, in UTC at whole multiples of its width."""
    widths_ns: Ints
    """How long each step is: the oldest may be wider, where finer windows have expired."""
    values: Floats
    """By series and step; NaN where there is no point."""
    flags: npt.NDArray[np.uint8]
    """By series and step the flags of its windows: `WindowFlag`."""
    totals: Floats
    """For each series the same function over the whole time."""
    windows_read: int
    """The windows from which the answer was computed."""
    missing: tuple[str, ...] = ()
    """Segments that could not be read: the answer lacks their windows."""


def step_for(from_ns: int, to_ns: int) -> int:
    """A round step that gives at most some 100 of them."""
    for seconds in ROUND_STEPS_S:
        if (to_ns - from_ns) / (seconds * 1e9) <= STEPS_AUTOMATIC:
            return seconds * 1_000_000_000
    return ROUND_STEPS_S[-1] * 1_000_000_000


async def run_query(reader: WindowReader, query: MetricsQuery) -> QueryResult:
    """Answer a query, also without segments that cannot be read: see `QueryResult.missing`.

    Raises `UsageError`, and the stores' errors.
    """
    with allow_missing() as missing:
        found = await _answered(reader, query)
    return replace(found, missing=tuple(sorted(missing)))


async def _answered(reader: WindowReader, query: MetricsQuery) -> QueryResult:
    step = _checked_step(query)
    extents = await reader.extents()
    # The widest windows of which a step is made give the same result from the fewest rows.
    width = max(each for each in WINDOWS_NS if step % each == 0)
    begin, end = query.from_ns - query.from_ns % step, query.to_ns + -query.to_ns % step
    begin, end = _clipped(extents, begin, end, step)
    found = sections(extents, begin, end, width)
    parts: list[Tiles] = []
    left = query.rows_max
    for section in found:
        tiles = await read_tiles(reader, extents, query.all_matchers(), section, left)
        left -= len(tiles)
        parts.append(tiles)
    tiles = join_tiles(parts)
    if len(tiles.series) > query.series_max:
        raise too_many_series(query.series_max)
    starts, widths = _steps(found, step)
    return _Answer(query, tiles, starts, widths).result()


def _checked_step(query: MetricsQuery) -> int:
    if not 0 <= query.from_ns < query.to_ns <= TIME_NS_MAX:
        raise UsageError(
            "the query's time is empty, before 1970 or after 2116.",
            advice="Give a beginning before the end.",
        )
    if not query.all_matchers():
        raise UsageError("the query names no metric.", advice="Give a name, or conditions on tags.")
    step = query.step_ns or step_for(query.from_ns, query.to_ns)
    if not 0 < step <= TIME_NS_MAX or step % WINDOWS_NS[0]:
        raise UsageError(
            f"a step of {step / 1e9:g} s is not made of whole windows.",
            advice="Use a whole number of minutes.",
        )
    if query.top < 0:
        raise UsageError("top is below 0.", advice="Use 0 for all series.")
    return step


def _clipped(extents: Any, begin: int, end: int, step: int) -> tuple[int, int]:
    """The part of the time that has windows, in whole steps; so a long time costs nothing."""
    known: list[Extent] = list(extents.values())
    if known:
        first = min(extent.from_ns for extent in known)
        last = max(extent.to_ns for extent in known)
        begin = max(begin, min(first - first % step, end))
        end = min(end, max(last + -last % step, begin))
    if (end - begin) // step > STEPS_MAX:
        raise UsageError(
            f"the query has {(end - begin) // step:,} steps, more than {STEPS_MAX:,}.",
            advice="Use a longer step, or a shorter time.",
        )
    return begin, end


def _steps(found: Sequence[Section], step: int) -> tuple[Ints, Ints]:
    """The steps of all sections: a section of windows wider than the step has steps like those."""
    starts: list[Ints] = []
    widths: list[Ints] = []
    for section in found:
        width = -(-step // section.width_ns) * section.width_ns
        next_whole = section.from_ns + -section.from_ns % width
        whole = np.arange(next_whole, section.to_ns, width, dtype=np.int64)
        # A seam between two sections may cut a step.
        cut = [section.from_ns] if section.from_ns < next_whole else []
        starts.append(np.concatenate((np.array(cut, np.int64), whole)))
        widths.append(np.full(len(starts[-1]), width))
    if not starts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    joined, own = np.concatenate(starts), np.concatenate(widths)
    ends = np.append(joined[1:], found[-1].to_ns)
    return joined, np.minimum(own, ends - joined)


class _Answer:
    """The computation of one answer, over tiles."""

    def __init__(self, query: MetricsQuery, tiles: Tiles, starts: Ints, widths: Ints) -> None:
        self._query: Final = query
        self._tiles: Final = tiles
        self._starts: Final = starts
        self._widths: Final = widths
        groups: dict[QuerySeries, int] = {}
        owners = [groups.setdefault(self._group(key), len(groups)) for key in tiles.series]
        self._series: Final = tuple(groups)
        self._owners: Final = np.array(owners, np.int64)[tiles.rows.series_index]

    def _group(self, key: Any) -> QuerySeries:
        by = self._query.by
        tags = key.tags if by is None else tuple(tag for tag in key.tags if tag[0] in by)
        return QuerySeries(key.name, key.kind, tags)

    def result(self) -> QueryResult:
        """The answer, with the best series only if the query asks so."""
        count, steps = len(self._series), len(self._starts)
        whole = np.array([int(self._widths.sum()) / 1e9])
        totals = self._computed(self._tiles, self._owners, self._series, whole)[:, 0]
        chosen = np.arange(count)
        if self._query.top:
            order = np.lexsort((-np.nan_to_num(totals, nan=0.0), np.isnan(totals)))
            chosen = order[: self._query.top]
        if len(chosen) * steps > VALUES_MAX:
            raise UsageError(
                f"the answer has {len(chosen) * steps:,} values, more than {VALUES_MAX:,}.",
                advice="Use a longer step, fewer series, or --top.",
            )
        series = tuple(self._series[row] for row in chosen.tolist())
        places = np.full(count, -1)
        places[chosen] = np.arange(len(chosen))
        owners = places[self._owners]
        tiles, owners = self._tiles.chosen(owners >= 0), owners[owners >= 0]
        step = np.searchsorted(self._starts, tiles.rows.starts_ns, side="right") - 1
        cells = owners * steps + step
        values = self._computed(tiles, cells, series, self._widths / 1e9)
        flags = np.zeros(values.size, np.uint8)
        np.bitwise_or.at(flags, cells, tiles.rows.flags)
        return QueryResult(
            series,
            self._starts,
            self._widths,
            values,
            flags.reshape(values.shape),
            totals[chosen],
            len(self._tiles),
        )

    def _computed(
        self, tiles: Tiles, cells: Ints, series: Sequence[QuerySeries], seconds: Floats
    ) -> Floats:
        """The function of each cell; `seconds` is the length of each step."""
        found = np.full((len(series), len(seconds)), np.nan)
        if not len(tiles):
            return found
        wanted = [self._query.function.statistic or AUTOMATIC_FOR[each.kind] for each in series]
        cell_values = _Cells(tiles.rows, cells, (len(series), len(seconds)))
        for statistic in set(wanted):
            rows = np.array([each is statistic for each in wanted])
            if statistic is Statistic.LAST:
                _check_gauges(series)
            values = cell_values.computed(statistic, seconds, self._query.function.quantile)
            found[rows] = np.where(cell_values.counts > 0, values, np.nan)[rows]
        return found


def _check_gauges(series: Sequence[QuerySeries]) -> None:
    for each in series:
        if each.kind is not MetricKind.GAUGE:
            raise UsageError(
                f"{each.name} is a {each.kind.name.lower()}, and has no last value.",
                advice="Only gauges have one: use sum, rate or avg.",
            )


class _Cells:
    """Functions over the windows of each cell: a series and a step."""

    def __init__(self, rows: WindowRows, cells: Ints, shape: tuple[int, int]) -> None:
        self._rows: Final = rows
        self._cells: Final = cells
        self._shape: Final = shape
        self._size: Final = shape[0] * shape[1]
        self.counts: Final = self._summed(rows.counts)

    def computed(self, statistic: Statistic, seconds: Floats, quantile: float) -> Floats:
        """One function of all cells; of cells without windows it means nothing."""
        with np.errstate(all="ignore"):
            match statistic:
                case Statistic.COUNT:
                    return self.counts
                case Statistic.SUM:
                    return self._summed(self._rows.sums)
                case Statistic.RATE:
                    return self._summed(self._rows.sums) / seconds
                case Statistic.AVG:
                    return self._summed(self._rows.sums) / self.counts
                case Statistic.MIN:
                    return self._extremes(is_min=True)
                case Statistic.MAX:
                    return self._extremes(is_min=False)
                case Statistic.LAST:
                    return self._last()
                case Statistic.QUANTILE:
                    return self._quantiles(quantile)

    def _summed(self, column: npt.NDArray[Any]) -> Floats:
        found = np.bincount(self._cells, column, self._size)
        return found.astype(np.float64).reshape(self._shape)

    def _extremes(self, *, is_min: bool) -> Floats:
        found = np.full(self._size, np.inf if is_min else -np.inf)
        if is_min:
            np.minimum.at(found, self._cells, self._rows.minima)
        else:
            np.maximum.at(found, self._cells, self._rows.maxima)
        return found.reshape(self._shape)

    def _last(self) -> Floats:
        found = np.full(self._size, np.nan)
        order = np.argsort(self._rows.starts_ns, kind="stable")
        found[self._cells[order]] = self._rows.last[order]
        return found.reshape(self._shape)

    def _quantiles(self, quantile: float) -> Floats:
        order = np.argsort(self._cells, kind="stable")
        chosen = take_sketches(self._rows.sketches, order)
        merged = merge_sketches(chosen, self._cells[order], self._size)
        found = merged.quantiles(quantile).reshape(self._shape)
        return np.clip(found, self._extremes(is_min=True), self._extremes(is_min=False))
