"""The whole way of points in one object: for a program of its own, tests, and imports of history.

A system has the same parts in many places: hosts collect and enrich, aggregators keep the windows,
and a store actor has the file.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Self

import numpy as np

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import AskError, UsageError
from callboard.messages.storage.errors import StoreDamaged, WriterFenced

from ..points import MetricDataPoint, MetricSource, MetricTags, PointBatch
from ..ports import Extent
from ..query.columns import combine_rows
from ..query.readers import CombinedReader, too_many_rows, too_many_series
from ..recording.routes import shard_of
from ..rows import WindowRows
from ..series import Matcher, SeriesKey
from ..windows.settings import DEFAULT_SETTINGS, WindowSettings
from .shard import Shard, ShardLimits, WindowSink
from .storage import ShardStorage

__all__ = ["MetricsProcessor", "ProcessedPoints", "ShardsReader"]

PATIENCE_S: Final = 30.0
RETRY: Final = Backoff(min_s=0.05, max_s=2.0)


class ProcessedPoints(NamedTuple):
    """What became of some points."""

    stored: int
    """Points that are durable, or counted by their shard as late, repeated or dropped."""
    dropped: Mapping[str, int]
    """Points with a wrong name or tag, by reason: no series can have them."""


class ShardsReader:
    """A `WindowReader` of the windows in memory of some shards."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards

    async def extents(self) -> Mapping[int, Extent]:
        """See `WindowReader.extents`."""
        found: dict[int, Extent] = {}
        for shard in self._shards:
            for width, extent in shard.extents().items():
                known = found.get(width, extent)
                found[width] = Extent(
                    min(known.from_ns, extent.from_ns), max(known.to_ns, extent.to_ns)
                )
        return found

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `WindowReader.series`."""
        found: set[SeriesKey] = set()
        for shard in self._shards:
            found.update(shard.series_in(matchers, from_ns, to_ns))
        if len(found) > limit:
            raise too_many_series(limit)
        return tuple(sorted(found))

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `WindowReader.windows`."""
        parts = [shard.windows_in(matchers, width_ns, from_ns, to_ns) for shard in self._shards]
        rows = combine_rows(width_ns, parts)
        if len(rows) > limit:
            raise too_many_rows(limit)
        return rows


class _Numbers:
    """The numbers of one source's points and series in one shard."""

    def __init__(self) -> None:
        self.points = 0
        self.series: Final[dict[SeriesKey, int]] = {}
        self.known = 0
        """Series that the shard has accepted."""


class MetricsProcessor:
    """Validates, enriches and aggregates points, stores their windows, and tells of closed ones.

    `sinks` learn of each closed window: alerts and streams are among them. `fence` says which
    incarnation this is; a later one needs a higher one, as the clock gives it. The object belongs
    to one event loop.
    """

    def __init__(
        self,
        storage: ShardStorage,
        *,
        shards: int = 1,
        fence: int | None = None,
        tags: Mapping[str, str] | None = None,
        settings: WindowSettings = DEFAULT_SETTINGS,
        limits: ShardLimits | None = None,
        sinks: Sequence[WindowSink] = (),
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._fence = clock_ns() if fence is None else fence
        self._tags = dict(tags or {})
        self._clock_ns = clock_ns
        self._numbers: Final[dict[tuple[MetricSource, int], _Numbers]] = {}
        self.shards: Final = tuple(
            Shard(
                number,
                self._fence,
                storage,
                clock_ns=clock_ns,
                settings=settings,
                limits=limits,
                sinks=sinks,
            )
            for number in range(shards)
        )
        self.reader: Final = CombinedReader((ShardsReader(self.shards), storage))
        """All windows: those in memory, and those of the store."""

    async def open(self) -> None:
        """Go on from what the store has. Raises its errors."""
        for shard in self.shards:
            await shard.open()

    async def process(self, points: Iterable[MetricDataPoint]) -> ProcessedPoints:
        """Take points into their windows, and wait until they are durable.

        While the store is away it waits, and sends the same points with the same numbers again,
        for up to `PATIENCE_S`. Then it raises the store's error: to process the points once more
        could count some of them twice.
        """
        dropped: dict[str, int] = {}
        batches: dict[tuple[MetricSource, int], list[tuple[SeriesKey, MetricDataPoint]]] = {}
        for point in points:
            try:
                key = self._enriched(point).key()
            except UsageError:
                dropped["malformed"] = dropped.get("malformed", 0) + 1
                continue
            place = (point.source, shard_of(key, len(self.shards)))
            batches.setdefault(place, []).append((key, point))
        stored = 0
        for (source, number), found in batches.items():
            await self._store(source, number, found)
            stored += len(found)
        return ProcessedPoints(stored, dropped)

    async def _store(
        self, source: MetricSource, shard: int, found: Sequence[tuple[SeriesKey, MetricDataPoint]]
    ) -> None:
        numbers = self._numbers.setdefault((source, shard), _Numbers())
        loop = asyncio.get_running_loop()
        until_s, failures = loop.time() + PATIENCE_S, 0
        end = numbers.points + len(found)
        while True:
            try:
                accepted = await self.shards[shard].append(self._batch(source, numbers, found))
            except AskError as error:
                failures += 1
                wait_s = RETRY.delay_s(failures)
                if isinstance(error, WriterFenced | StoreDamaged) or loop.time() + wait_s > until_s:
                    # Later points must not be taken for these: some of them may be stored.
                    numbers.points = end
                    raise
                await asyncio.sleep(wait_s)
                continue
            numbers.known = accepted.series
            if accepted.sequence >= end:
                numbers.points = end
                return

    def _enriched(self, point: MetricDataPoint) -> MetricDataPoint:
        missing = {
            name: value for name, value in self._tags.items() if name not in dict(point.tags)
        }
        if not missing:
            return point
        tags = MetricTags(other={**missing, **dict(point.tags)})
        return MetricDataPoint(
            point.metric_name, point.value, point.time_ns, tags, point.source, point.kind
        )

    def _batch(
        self,
        source: MetricSource,
        numbers: _Numbers,
        found: Sequence[tuple[SeriesKey, MetricDataPoint]],
    ) -> PointBatch:
        series = [numbers.series.setdefault(key, len(numbers.series)) for key, _ in found]
        times_ns = np.array([point.time_ns for _, point in found], np.int64)
        return PointBatch(
            # The numbers of this incarnation begin at 0.
            source=MetricSource(kind=source.kind, name=f"{source.name}/{self._fence}"),
            sequence=numbers.points,
            first_series=numbers.known,
            new_series=tuple(numbers.series)[numbers.known :],
            series=np.array(series, np.int32),
            times_ns=times_ns,
            values=np.array([float(point.value) for _, point in found]),
            watermark_ns=min(int(times_ns.max()), self._clock_ns()),
        )

    async def close(self) -> None:
        """Store the windows that are still open, and end; may be called twice."""
        for shard in self.shards:
            await shard.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()
