"""The bytes on disk of a store of metrics, with all that it has: a part of `tiers`.

Series get a point each second, and hosts bring them every ten seconds; the aggregators have the
default settings. First everything is in the SQLite file: windows, the state and the changes of
the aggregators, free pages, and SQLite's log. Then the rounds of the tiers move what is no longer
hot into segments, and the file gives pages back.
"""

import asyncio
import time
from pathlib import Path
from typing import Final

import numpy as np

from bench.outcome import Params
from callboard.actors.metrics.aggregation.shard import Shard
from callboard.actors.metrics.aggregation.storage import ThreadStorage
from callboard.actors.metrics.points import MetricSource, PointBatch, SourceKind
from callboard.actors.metrics.recording.options import RecordingOptions
from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.actors.storage.core import MoveLimits
from callboard.runtime.api.tiers import open_tiers
from callboard.runtime.stores.sqlite.windows import SqliteMetricsStorage

__all__ = ["measure_kept"]

SECOND_NS: Final = 10**9
DAY_NS: Final = 86_400 * SECOND_NS
FLUSH_S: Final = 10
AGE_DAYS: Final = 4
"""Windows of a minute and of five minutes are no longer hot then."""
COMMITS: Final = 256
"""A minute of four shards."""
SOURCE: Final = MetricSource(kind=SourceKind.SERVICE, name="bench")


def measure_kept(params: Params, folder: Path, figures: dict[str, float]) -> None:
    """Record for some hours of event time, and add the bytes for each point."""
    path = folder / "metrics.db"
    points, size_bytes = asyncio.run(_recorded(params, path))
    figures["bytes_per_point_in_database"] = size_bytes / points
    tiers = open_tiers(
        str(path),
        str(folder / "objects"),
        durability="off",
        move_limits=MoveLimits(lease_s=0.0, steps=10_000),
    )
    tiers.open()
    while tiers.round().planned:
        pass
    hot = SqliteMetricsStorage(path, durability="off")
    hot.open()
    while hot.database.shrink():
        pass
    for _ in range(COMMITS):  # As an idle aggregator does: the log moves on, and the file ends.
        hot.commit(0, 1, log=b".")
    hot.close()
    figures["bytes_per_point_with_segments"] = _size(folder) / points
    tiers.close()


async def _recorded(params: Params, path: Path) -> tuple[int, int]:
    """The points, and the bytes while the store is open."""
    begin_ns = (time.time_ns() // DAY_NS - AGE_DAYS) * DAY_NS
    now_ns = begin_ns
    storage = ThreadStorage(SqliteMetricsStorage(path, durability="off"))
    await storage.open()
    shards = [
        Shard(number, 1, storage, clock_ns=lambda: now_ns)
        for number in range(RecordingOptions().shards)
    ]
    for shard in shards:
        await shard.open()
    sources = [_Source(params["kept_series"] // len(shards), shard.number) for shard in shards]
    for second in range(0, params["kept_s"], FLUSH_S):
        at_ns = begin_ns + second * SECOND_NS
        now_ns = at_ns + FLUSH_S * SECOND_NS
        for shard, source in zip(shards, sources, strict=True):
            await shard.append(source.batch(at_ns))
    size_bytes = _size(path.parent)
    await storage.close()
    return sum(source.sequence for source in sources), size_bytes


class _Source:
    """Latencies of some series, with a log-normal distribution."""

    def __init__(self, series: int, shard: int) -> None:
        self._keys = tuple(
            SeriesKey(
                MetricKind.OBSERVATION,
                "request_seconds",
                (("instance", f"i-{shard}-{number:04d}"), ("service", f"s-{number % 20}")),
            )
            for number in range(series)
        )
        self._generator = np.random.default_rng(shard)
        self.sequence = 0

    def batch(self, begin_ns: int) -> PointBatch:
        """The points of the next flush."""
        count = len(self._keys)
        times_ns = begin_ns + np.arange(FLUSH_S, dtype=np.int64) * SECOND_NS
        is_first = not self.sequence
        made = PointBatch(
            source=SOURCE,
            sequence=self.sequence,
            first_series=0 if is_first else count,
            new_series=self._keys if is_first else (),
            series=np.repeat(np.arange(count, dtype=np.int32), FLUSH_S),
            times_ns=np.tile(times_ns, count),
            values=np.round(self._generator.lognormal(-3.0, 0.6, count * FLUSH_S), 6),
            watermark_ns=int(times_ns[-1]),
        )
        self.sequence += count * FLUSH_S
        return made


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
