"""A shard in memory, as strict as an aggregator: what the tests of recording send points to."""

import asyncio
from collections import Counter

from callboard.actors.metrics.points import PointBatch, PointsAccepted
from callboard.actors.metrics.series import SeriesKey
from callboard.messages.core.errors import StoreFailed

__all__ = ["WAIT_S", "MemoryShard", "MemoryShards"]

WAIT_S = 20.0


class _Source:
    def __init__(self) -> None:
        self.series: list[SeriesKey] = []
        self.taken: set[int] = set()
        self.sequence = 0


class MemoryShard:
    """Keeps every point, and fails the test for one that comes twice."""

    def __init__(self, credit: int = 1_000_000) -> None:
        self.credit = credit
        self.points: list[tuple[SeriesKey, int, float]] = []
        self.repeated = 0
        self.watermarks: dict[str, int] = {}
        self.sources: dict[str, _Source] = {}
        self.early = 0
        """Points that came before a watermark of their source said that none would come."""

    def forget(self) -> None:
        """Lose the state, but not what the test looks at."""
        self.sources.clear()

    def apply(self, batch: PointBatch) -> PointsAccepted:
        """Take a batch as an aggregator does."""
        source = self.sources.setdefault(batch.source.name, _Source())
        if batch.first_series > len(source.series):
            return self._accepted(source)
        for number, key in enumerate(batch.new_series, batch.first_series):
            if number < len(source.series):
                assert source.series[number] == key, "a number means one series"
            else:
                source.series.append(key)
        if len(batch.series) and int(batch.series.max()) >= len(source.series):
            return self._accepted(source)
        before = self.watermarks.get(batch.source.name, 0)
        for place, (number, time_ns, value) in enumerate(
            zip(batch.series.tolist(), batch.times_ns.tolist(), batch.values.tolist(), strict=True),
            batch.sequence,
        ):
            if place < source.sequence or place in source.taken:
                self.repeated += 1
                continue
            source.taken.add(place)
            self.early += time_ns < before
            self.points.append((source.series[number], time_ns, value))
        while source.sequence in source.taken:
            source.taken.remove(source.sequence)
            source.sequence += 1
        self.watermarks[batch.source.name] = max(before, batch.watermark_ns)
        return self._accepted(source)

    def _accepted(self, source: _Source) -> PointsAccepted:
        return PointsAccepted(
            sequence=source.sequence, series=len(source.series), credit=self.credit
        )


class MemoryShards:
    """A `ShardSender` to shards in memory, some of which may be away."""

    def __init__(self, shards: int) -> None:
        self.shards = [MemoryShard() for _ in range(shards)]
        self.away: set[int] = set()
        self.loses_answers: set[int] = set()
        self.sent: Counter[int] = Counter()
        self.arrived = asyncio.Event()

    async def append(self, shard: int, batch: PointBatch) -> PointsAccepted:
        """See `ShardSender`."""
        self.sent[shard] += 1
        if shard in self.away:
            raise StoreFailed("the shard is away.")
        answer = self.shards[shard].apply(batch)
        self.arrived.set()
        if shard in self.loses_answers:
            raise StoreFailed("the answer is lost.")
        return answer

    def values(self, name: str) -> list[float]:
        """The values of a metric in all shards, in the order of their times."""
        found = [
            (time_ns, value)
            for shard in self.shards
            for key, time_ns, value in shard.points
            if key.name == name
        ]
        return [value for _, value in sorted(found)]

    async def until(self, name: str, count: int) -> None:
        """Wait until so many values of a metric have arrived."""
        async with asyncio.timeout(WAIT_S):
            while len(self.values(name)) < count:
                self.arrived.clear()
                await self.arrived.wait()
