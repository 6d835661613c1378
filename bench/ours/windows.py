"""`windows`: points per second into the windows of one shard, on one core.

Each batch goes through all that a shard does: watermark, repeats, four windows with sketches, exact
sums. Every four million points a commit closes what is due and encodes what changed. Then come the
errors of the quantiles in each tier, the memory of a series, and real series: shuffled, doubled and
delayed they must give exactly the windows of the ordered input.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.outcome import Outcome, Params
from bench.windows import (
    DISTINCT_BATCHES,
    LATENESS_NS,
    MINUTE_NS,
    SECOND_NS,
    SEEDED_BATCHES,
    START_NS,
    Columns,
    batches,
    read_series,
    totals_check,
)
from callboard.actors.metrics.points import MetricSource, PointBatch, SourceKind
from callboard.actors.metrics.rows import WINDOWS_NS, WindowRows
from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.actors.metrics.windows.core import ShardWindows
from callboard.actors.metrics.windows.settings import WindowSettings
from callboard.runtime.hosting.memory import tune_gc

__all__ = ["run"]

COMMIT_POINTS: Final = 4_000_000
WARM_UP_POINTS: Final = 1_000_000
YEARS_NS: Final = 3 * 10**8 * SECOND_NS
TIERS: Final = dict(zip(("1m", "5m", "1h", "1d"), WINDOWS_NS, strict=True))
SHUFFLES: Final = 3
DATA_LATENESS_NS: Final = 3_600 * SECOND_NS
PARTS: Final = 50
"""Batches of real series."""


def run(params: Params) -> Outcome:
    """The rates with few and many series, the errors, the memory, and real series."""
    tune_gc()
    shard = _Shard(params["series"])
    figures = {"points_per_s": shard.rate(params["points"], params["batch"])}
    check = shard.check()
    small = _Shard(params["series"])
    figures["small_batches_points_per_s"] = small.rate(params["small_points"], 4_000)
    many = _Shard(params["many_series"])
    figures["many_series_points_per_s"] = many.rate(params["many_points"], params["batch"])
    distinct = _Shard(params["many_series"])
    figures["many_series_distinct_points_per_s"] = distinct.rate(
        params["distinct_points"], params["batch"], DISTINCT_BATCHES
    )
    figures |= _errors(params["error_points"])
    figures |= _memory(params["memory_series"], params["memory_s"])
    note = (
        f"batches of {params['batch']:,} points, small ones of 4,000; with the closing of windows "
        f"and the encoding of a commit every {COMMIT_POINTS:,} points; values repeat every "
        f"{SEEDED_BATCHES} batches, those of distinct points not within a minute"
    )
    notes = [note]
    if params.get("data"):
        points, windows = _real_series(Path(params["data"]))
        figures |= {"count_data_points": points, "count_data_windows": windows}
        notes.append("real series: shuffled, doubled and delayed they give exactly the same")
    return Outcome(figures, check, tuple(notes))


class _Shard:
    """A core, its only source, and what came out."""

    def __init__(self, series: int, settings: WindowSettings | None = None) -> None:
        self.core = ShardWindows(settings or WindowSettings(series_per_tenant_max=200_000))
        self._source = MetricSource(kind=SourceKind.SERVICE, name="bench")
        self._keys = tuple(
            SeriesKey(MetricKind.OBSERVATION, "latency", (("n", f"{number:06d}"),))
            for number in range(series)
        )
        self._sequence = 0
        self.rows: list[WindowRows] = []

    def put(self, columns: Columns, watermark_ns: int, now_ns: int) -> None:
        """One batch; none of its points may be lost."""
        count = len(columns.values)
        applied = self.core.apply(
            PointBatch(
                source=self._source,
                sequence=self._sequence,
                first_series=len(self._keys) if self._sequence else 0,
                new_series=() if self._sequence else self._keys,
                series=columns.series,
                times_ns=columns.times_ns,
                values=columns.values,
                watermark_ns=watermark_ns,
            ),
            now_ns,
        )
        self._sequence += count
        if applied.counted != count:
            raise AssertionError(f"not all points were counted: {applied}")

    def again(self, columns: Columns) -> None:
        """All points once more, in one batch from the first number on: they change nothing."""
        batch = PointBatch(
            source=self._source,
            sequence=0,
            first_series=len(self._keys),
            new_series=(),
            series=columns.series,
            times_ns=columns.times_ns,
            values=columns.values,
            watermark_ns=0,
        )
        applied = self.core.apply(batch, int(columns.times_ns.max()))
        if applied.repeated != len(columns.values):
            raise AssertionError(f"a repeated batch was counted: {applied}")

    def commit(self, now_ns: int, *, keep: bool = False) -> None:
        """Close what is due, and encode what changed."""
        windows = self.core.take_commit(now_ns).windows
        if keep:
            self.rows += windows

    def rate(self, points: int, batch: int, seeded_batches: int = SEEDED_BATCHES) -> float:
        """Points per second, after a warm-up."""
        since = warm = 0
        taken_ns = 0
        for number, columns in enumerate(batches(len(self._keys), points, batch, seeded_batches)):
            newest = START_NS + LATENESS_NS + number * (SECOND_NS * batch // 64_000)
            begin_ns = time.perf_counter_ns()
            self.put(columns, newest - LATENESS_NS, newest)
            since += batch
            if since >= COMMIT_POINTS or not number:  # The first one defines the series.
                self.commit(newest)
                since = 0
            if (number + 1) * batch <= min(WARM_UP_POINTS, points // 4):
                warm += batch
            else:
                taken_ns += time.perf_counter_ns() - begin_ns
        return (points // batch * batch - warm) / max(taken_ns, 1) * SECOND_NS

    def check(self) -> str:
        """The check over the counts and sums of all series, from the windows of a day."""
        rows = self.core.open_rows([], TIERS["1d"])
        order = np.argsort([key.tags[0][1] for key in rows.series])[rows.series_index]
        counts, sums = np.zeros(len(self._keys)), np.zeros(len(self._keys))
        counts[order], sums[order] = rows.counts, rows.sums
        return totals_check(counts, sums)


def _errors(points: int) -> dict[str, float]:
    """The largest relative error of p95 and p99 in each tier, over values of many kinds."""
    rng = np.random.default_rng(2)
    kinds: Sequence[npt.NDArray[np.float64]] = (
        rng.lognormal(0, 2, points),
        rng.pareto(0.7, points),
        rng.normal(0, 10, points),
        np.where(rng.random(points) < 0.9, 0.0, rng.exponential(1, points)),
        -rng.lognormal(3, 1, points),
    )
    times = np.sort(START_NS + rng.integers(0, 2 * 3_600 * SECOND_NS, points))
    shard = _Shard(len(kinds))
    for number, values in enumerate(kinds):
        column = np.full(points, number, np.int32)
        shard.put(Columns(column, times, values), START_NS, int(times[-1]))
    shard.commit(int(times[-1]), keep=True)
    worst = {}
    for tier, width in TIERS.items():
        rows = shard.core.open_rows([], width)
        for q in (0.95, 0.99):
            found = rows.quantiles(q)
            errors = [0.0]
            for row in range(len(rows)):
                start = int(rows.starts_ns[row])
                first, last = np.searchsorted(times, [start, start + width])
                name = rows.series[rows.series_index[row]].tags[0][1]
                own = np.sort(kinds[int(name)][first:last])
                exact = own[int(q * (len(own) - 1))]
                errors.append(abs(found[row] - exact) / abs(exact) if exact else abs(found[row]))
            worst[f"error_p{q * 100:.0f}_{tier}"] = float(max(errors))
    return worst


def _memory(series: int, seconds: int) -> dict[str, float]:
    """The memory of a series with a point a second, at the median of all minutes."""
    rng = np.random.default_rng(3)
    shard = _Shard(series)
    sizes = []
    for minute in range(seconds // 60):
        first = START_NS + minute * MINUTE_NS
        times = np.repeat(first + np.arange(60) * SECOND_NS, series)
        column = np.tile(np.arange(series, dtype=np.int32), 60)
        shard.put(Columns(column, times, rng.lognormal(0, 1, len(times))), first, first + MINUTE_NS)
        shard.commit(first + MINUTE_NS)
        sizes.append(shard.core.statistics().size_bytes / series)
    return {"bytes_per_series": float(np.median(sizes))}


def _real_series(folder: Path) -> tuple[int, int]:
    """Compare ordered input with shuffled, doubled and delayed input; points and windows."""
    series = [columns for _, columns in read_series(folder)]
    points = Columns(
        np.repeat(np.arange(len(series), dtype=np.int32), [len(each.values) for each in series]),
        np.concatenate([each.times_ns for each in series]),
        np.concatenate([each.values for each in series]),
    )
    rng = np.random.default_rng(4)
    ordered = _windows_of(len(series), points, np.argsort(points.times_ns, kind="stable"))
    for _ in range(SHUFFLES):
        delays = rng.integers(0, DATA_LATENESS_NS, len(points.values))
        order = np.argsort(points.times_ns + delays, kind="stable")
        if _windows_of(len(series), points, order, doubled=True) != ordered:
            raise AssertionError("shuffled, doubled and delayed points gave other windows")
    return len(points.values), len(ordered)


def _windows_of(
    series: int, points: Columns, order: npt.NDArray[np.int64], *, doubled: bool = False
) -> dict[Any, Any]:
    """All windows of points that come in this order."""
    past = WindowSettings(lateness_ns=DATA_LATENESS_NS, past_ns=YEARS_NS)
    shard = _Shard(series, past)
    done = newest = 0
    found: dict[Any, Any] = {}
    for part in np.array_split(order, PARTS):
        columns = points.at(part)
        newest = max(newest, int(columns.times_ns.max()))
        shard.put(columns, newest, newest)
        if doubled:
            shard.again(points.at(order[: done + len(part)]))
        done += len(part)
        shard.commit(newest, keep=True)
    shard.commit(newest + YEARS_NS, keep=True)
    rows = [*shard.rows, *(shard.core.open_rows([], width) for width in WINDOWS_NS)]
    for each in rows:
        found.update(_as_plain(each))
    return found


def _as_plain(rows: WindowRows) -> Iterable[tuple[Any, Any]]:
    offsets, keys, counts = rows.sketches
    for row in range(len(rows)):
        bins = slice(int(offsets[row]), int(offsets[row + 1]))
        name = rows.series[rows.series_index[row]], rows.width_ns, int(rows.starts_ns[row])
        values = (rows.counts, rows.sums, rows.minima, rows.maxima)
        plain = tuple(column[row].item() for column in values)
        yield name, (*plain, keys[bins].tobytes(), counts[bins].tobytes())
