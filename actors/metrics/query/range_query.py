"""Queries by name, tags, range and step, with the results as columns."""

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from callboard.messages.core.errors import UsageError

from ..ports import Extent, WindowReader
from ..rows import WINDOWS_NS
from ..series import Matcher, MatcherKind, MetricKind
from ..sketch import merge_sketches
from .columns import take_sketches
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
    """None: the sum of a counter, the last value of a gauge, the average of an observation."""
    quantile: float = 0.0
    """Between 0 and 1; 0 for other functions."""


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
    """Conditions on tags."""
    from_ns: int = 0
    """The first moment that is asked for."""
    to_ns: int = 0
    """The first moment that is not asked for."""
    step_ns: int = 0
    """A multiple of a minute; 0: chosen for the time."""
    function: Function = AUTOMATIC
    """What is computed."""
    by: tuple[str, ...] | None = None
    """The series are put together by these tags, () all into one; None: each for itself."""
    top: int = 0
    """Only so many series, those with the highest values over the whole time; 0: all."""
    series_max: int = SERIES_MAX
    """With more series the query is refused."""
    rows_max: int = ROWS_MAX
    """With more windows to read the query is refused."""

    def all_matchers(self) -> tuple[Matcher, ...]:
        """The matchers with that of the name."""
        own = (Matcher("__name__", MatcherKind.IS, self.name),) if self.name else ()
        return own + self.matchers


@dataclass(frozen=True, slots=True)
class QuerySeries:
    """What the values of one row of a result belong to."""

    name: str
    """The metric's name; empty where several are put together."""
    kind: MetricKind
    """What the points mean."""
    tags: tuple[tuple[str, str], ...]
    """The tags that the row stands for."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Values by series and step."""

    series: tuple[QuerySeries, ...]
    """What each row belongs to."""
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
    """How many windows were read for it."""


def step_for(from_ns: int, to_ns: int) -> int:
    """A round step that gives at most some 100 of them."""
    for seconds in ROUND_STEPS_S:
        if (to_ns - from_ns) / (seconds * 1e9) <= STEPS_AUTOMATIC:
            return seconds * 1_000_000_000
    return ROUND_STEPS_S[-1] * 1_000_000_000


async def run_query(reader: WindowReader, query: MetricsQuery) -> QueryResult:
    """Answer a query. Raises `UsageError`, and the stores' errors."""
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
    if step < 0 or step % WINDOWS_NS[0]:
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
        self._rows: Final = tiles.rows
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
        totals = self._computed(self._owners, (count, 1), whole)[:, 0]
        chosen = np.arange(count)
        if self._query.top:
            order = np.lexsort((-np.nan_to_num(totals, nan=0.0), np.isnan(totals)))
            chosen = order[: self._query.top]
        place = np.searchsorted(self._starts, self._rows.starts_ns, side="right") - 1
        cells = self._owners * steps + place
        values = self._computed(cells, (count, steps), self._widths / 1e9)
        flags = np.zeros(count * steps, np.uint8)
        np.bitwise_or.at(flags, cells, self._rows.flags)
        return QueryResult(
            tuple(self._series[row] for row in chosen.tolist()),
            self._starts,
            self._widths,
            values[chosen],
            flags.reshape(count, steps)[chosen],
            totals[chosen],
            len(self._tiles),
        )

    def _computed(self, cells: Ints, shape: tuple[int, int], seconds: Floats) -> Floats:
        """The function of each cell; `seconds` is the length of each step."""
        wanted = [
            self._query.function.statistic or AUTOMATIC_FOR[each.kind] for each in self._series
        ]
        found = np.full(shape, np.nan)
        if not len(self._tiles):
            return found
        counts = self._summed(self._rows.counts, cells, shape)
        for statistic in set(wanted):
            rows = np.array([each is statistic for each in wanted])
            values = self._values(statistic, cells, shape, seconds, counts)
            found[rows] = np.where(counts > 0, values, np.nan)[rows]
        return found

    def _values(
        self,
        statistic: Statistic,
        cells: Ints,
        shape: tuple[int, int],
        seconds: Floats,
        counts: Floats,
    ) -> Floats:
        rows, size = self._rows, shape[0] * shape[1]
        with np.errstate(all="ignore"):
            match statistic:
                case Statistic.COUNT:
                    return counts
                case Statistic.SUM | Statistic.RATE | Statistic.AVG:
                    sums = self._summed(rows.sums, cells, shape)
                    if statistic is Statistic.SUM:
                        return sums
                    return sums / (seconds if statistic is Statistic.RATE else counts)
                case Statistic.MIN | Statistic.MAX:
                    return self._extremes(cells, size, is_min=statistic is Statistic.MIN).reshape(
                        shape
                    )
                case Statistic.LAST:
                    return self._last(cells, size).reshape(shape)
                case Statistic.QUANTILE:
                    order = np.argsort(cells, kind="stable")
                    merged = merge_sketches(take_sketches(rows.sketches, order), cells[order], size)
                    quantiles = merged.quantiles(self._query.function.quantile)
                    low = self._extremes(cells, size, is_min=True)
                    high = self._extremes(cells, size, is_min=False)
                    return np.clip(quantiles, low, high).reshape(shape)

    @staticmethod
    def _summed(column: npt.NDArray[Any], cells: Ints, shape: tuple[int, int]) -> Floats:
        found = np.bincount(cells, column, shape[0] * shape[1])
        return found.astype(np.float64).reshape(shape)

    def _extremes(self, cells: Ints, size: int, *, is_min: bool) -> Floats:
        found = np.full(size, np.inf if is_min else -np.inf)
        if is_min:
            np.minimum.at(found, cells, self._rows.minima)
        else:
            np.maximum.at(found, cells, self._rows.maxima)
        return found

    def _last(self, cells: Ints, size: int) -> Floats:
        for each in self._series:
            if each.kind is not MetricKind.GAUGE:
                raise UsageError(
                    f"{each.name} is a {each.kind.name.lower()}, and has no last value.",
                    advice="Only gauges have one: use sum, rate or avg.",
                )
        found = np.full(size, np.nan)
        order = np.argsort(self._rows.starts_ns, kind="stable")
        found[cells[order]] = self._rows.last[order]
        return found
