"""Senders of points under load, which know what was acknowledged."""

import asyncio
import time
from typing import Final

import numpy as np

from callboard import System
from callboard.actors.metrics.points import AppendPoints, MetricSource, PointBatch, SourceKind
from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.actors.metrics.series import Matcher, MatcherKind, MetricKind, SeriesKey
from callboard.messages.core.errors import CallboardError

__all__ = ["PointLoad", "points_in"]

ASK_S: Final = 10.0
PAUSE_S: Final = 0.01
ALWAYS: Final = (-(2**62), 2**62)


class PointLoad:
    """Sends counters of 1 to one shard, a batch at a time, until it is stopped."""

    def __init__(self, system: System, shard: int, batch_points: int, series: int = 100) -> None:
        self.shard: Final = shard
        self.acknowledged = 0
        self.answers = 0
        """Batches that were acknowledged."""
        self.longest_wait_s = 0.0
        """The longest time between two answers."""
        self._system = system
        self._batch_points = batch_points
        self._source = MetricSource(kind=SourceKind.SERVICE, name=f"load-{shard}")
        self._keys = tuple(
            SeriesKey(MetricKind.COUNTER, "load", (("n", str(n)), ("shard", str(shard))))
            for n in range(series)
        )
        self._known = 0
        self._stops = False

    def stop(self) -> None:
        """Send no new batch; `run` ends when the last one is acknowledged."""
        self._stops = True

    async def run(self) -> None:
        """Send until `stop`; a batch whose answer does not come is sent again."""
        answered_s = time.monotonic()
        while not self._stops:
            batch = self._batch(self.acknowledged)
            while True:
                try:
                    answer = await self._system.ask(
                        AppendPoints(shard=self.shard, batch=batch), timeout_s=ASK_S
                    )
                except CallboardError:
                    await asyncio.sleep(PAUSE_S)
                    batch = self._batch(self.acknowledged)
                    continue
                assert answer.sequence >= self.acknowledged, "an acknowledgement was taken back"
                self._known = answer.series
                if answer.sequence >= batch.sequence + self._batch_points:
                    break
                # It has lost our definitions: it did not have them before it was killed.
                batch = self._batch(answer.sequence)
            self.acknowledged = answer.sequence
            self.answers += 1
            now_s = time.monotonic()
            self.longest_wait_s = max(self.longest_wait_s, now_s - answered_s)
            answered_s = now_s

    def _batch(self, sequence: int) -> PointBatch:
        count = self._batch_points
        now_ns = time.time_ns()
        return PointBatch(
            source=self._source,
            sequence=sequence,
            first_series=self._known,
            new_series=self._keys[self._known :],
            series=np.arange(count, dtype=np.int32) % len(self._keys),
            times_ns=now_ns - np.arange(count, dtype=np.int64)[::-1],
            values=np.ones(count),
            watermark_ns=now_ns - count,
        )


async def points_in(system: System, shard: int) -> dict[int, int]:
    """The points of the load of a shard in all windows of each width."""
    matchers = [
        Matcher("__name__", MatcherKind.IS, "load"),
        Matcher("shard", MatcherKind.IS, str(shard)),
    ]
    found = {}
    for width_ns in WINDOWS_NS:
        rows = await system.metrics.reader.windows(matchers, width_ns, *ALWAYS, 10**6)
        assert int(rows.sums.sum()) == int(rows.counts.sum())
        found[width_ns] = int(rows.counts.sum())
    return found
