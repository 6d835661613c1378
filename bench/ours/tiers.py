"""`tiers`: metric windows in segments: their bytes, and the time to write, move and read them.

Latencies with a log-normal distribution, one point a second. `bytes_per_window` is stated for each
width, and `bytes_per_point` is the sum over all widths, for each point. Moves go from an SQLite
file into a folder, with all syncs. The query reads one series over 30 days at an hour, in the
segments that the moves have left. `kept_…_bytes_per_point` are the bytes of a whole store
(`kept.py`).
"""

import asyncio
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.outcome import Outcome, Params, check_of
from bench.timing import NS_PER_MS, percentile, timed
from bench.window_rows import many_rows
from callboard.actors.metrics.rows import WINDOWS_NS, WindowRows
from callboard.actors.metrics.series import Matcher, MatcherKind
from callboard.actors.metrics.tiers.tiers import MetricTiers
from callboard.actors.storage.core import MoveLimits
from callboard.runtime.api.tiers import open_tiers
from callboard.runtime.objects.parquet import ParquetWindows
from callboard.runtime.stores.sqlite.windows import SqliteMetricsStorage

from .kept import measure_kept

__all__ = ["run"]

POINTS_MAX: Final = 3_600
"""More points of one distribution change neither the bins nor, by much, their bytes."""
LEVELS: Final = (3, 3, 9, 19)
"""The levels of compression of the default rules."""
HOUR_NS: Final = 3_600 * 10**9
DAYS: Final = 30
AGE_DAYS: Final = 40
SHARD: Final = 0


def run(params: Params) -> Outcome:
    """Bytes and speeds of segments; then moves of an hour's windows over 30 days, and a query."""
    figures: dict[str, float] = {}
    _segments(params, figures)
    with tempfile.TemporaryDirectory(prefix="callboard-tiers-") as folder:
        found, segments = asyncio.run(_moves(params, Path(folder), figures))
    with tempfile.TemporaryDirectory(prefix="callboard-tiers-") as folder:
        measure_kept(params, Path(folder), figures)
    notes = (f"{found:,} windows were moved into {segments} segments",)
    return Outcome(figures, check_of({"windows": found}), notes)


def _segments(params: Params, figures: dict[str, float]) -> None:
    form = ParquetWindows()
    per_point = 0.0
    for width_ns, level in zip(WINDOWS_NS, LEVELS, strict=True):
        seconds = width_ns // 10**9
        rows = many_rows(params["series"], params["windows"], min(seconds, POINTS_MAX), width_ns)
        with timed() as writing:
            data = form.write(rows, level)
        with timed() as reading:
            _read(form, f"{seconds}", data, width_ns)
        figures[f"bytes_per_window_of_{seconds}_s"] = len(data) / len(rows)
        per_point += len(data) / len(rows) / seconds
        figures[f"written_of_{seconds}_s_windows_per_s"] = writing.per_s(len(rows))
        figures[f"read_of_{seconds}_s_windows_per_s"] = reading.per_s(len(rows))
    figures["bytes_per_point"] = per_point
    form.close()


def _read(form: ParquetWindows, name: str, data: bytes, width_ns: int) -> WindowRows:
    fetch: Callable[[], bytes] = lambda: data  # noqa: E731 - it has a type
    return form.read(name, fetch, width_ns, (), -(2**63), 2**63 - 1, 2**40)


async def _moves(params: Params, folder: Path, figures: dict[str, float]) -> tuple[int, int]:
    hot = SqliteMetricsStorage(folder / "metrics.db", durability="off")
    hot.open()
    hot.claim(SHARD, 1)
    rows = many_rows(params["moved_series"], DAYS * 24, 60, HOUR_NS)
    begin = (time.time_ns() // HOUR_NS - AGE_DAYS * 24) * HOUR_NS
    hot.commit(SHARD, 1, windows=[dataclasses.replace(rows, starts_ns=rows.starts_ns + begin)])
    hot.close()
    tiers = open_tiers(
        str(folder / "metrics.db"),
        str(folder / "objects"),
        move_limits=MoveLimits(lease_s=0.0, steps=10_000),
    )
    tiers.open()
    with timed() as moving:
        while tiers.round().planned:
            pass
    figures["moved_windows_per_s"] = moving.per_s(len(rows))
    found = await _query(params, tiers, begin, figures)
    segments = len(tiers.catalogue.all_segments())
    tiers.close()
    return found, segments


async def _query(params: Params, tiers: MetricTiers, begin: int, figures: dict[str, float]) -> int:
    reader = tiers.reader()
    taken_ns = []
    for number in range(params["queries"]):
        name = f"i-{number % params['moved_series']:04d}"
        matchers = [Matcher("instance", MatcherKind.IS, name)]
        start_ns = time.perf_counter_ns()
        found = await reader.windows(matchers, HOUR_NS, begin, begin + DAYS * 24 * HOUR_NS, 100_000)
        taken_ns.append(time.perf_counter_ns() - start_ns)
        assert len(found) == DAYS * 24
    figures["one_series_30_days_p50_ms"] = percentile(taken_ns, 50) / NS_PER_MS
    windows = await reader.windows((), HOUR_NS, begin, begin + DAYS * 24 * HOUR_NS, 10**7)
    await reader.close()
    return len(windows)
