"""A hot store on the event loop of a test, which fails and waits when the test says so."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from callboard.actors.metrics.points import MetricSource, PointBatch, SourceKind
from callboard.actors.metrics.ports import Extent, ShardState
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, MetricKind, SeriesKey
from callboard.messages.storage.errors import CommitUnknown
from callboard.runtime.stores.memory_windows import MemoryMetricsStorage

__all__ = ["BEGIN_NS", "SECOND_NS", "Clock", "FaultyStorage", "batch_of", "counted_in"]

SECOND_NS = 1_000_000_000
BEGIN_NS = 1_700_000_040 * SECOND_NS
ALWAYS = (-(2**62), 2**62)
SERIES = tuple(SeriesKey(MetricKind.COUNTER, "requests", (("n", str(n)),)) for n in range(8))


class Clock:
    """The wall clock of a test, the same for all its actors, which get copies of it."""

    _now_ns: ClassVar[int] = BEGIN_NS

    @staticmethod
    def start() -> "Clock":
        """A clock that shows the beginning."""
        Clock._now_ns = BEGIN_NS
        return Clock()

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        Clock._now_ns += round(seconds * SECOND_NS)

    def __call__(self) -> int:
        return Clock._now_ns


class FaultyStorage:
    """A `ShardStorage`: what `store` keeps survives each aggregator."""

    def __init__(self, store: MemoryMetricsStorage | None = None) -> None:
        self.store = store or MemoryMetricsStorage()
        self.faults: deque[Exception | str] = deque()
        """What the next commits meet: an error, or `lost` or `unlost` for an unknown outcome."""
        self.claim_faults: deque[Exception] = deque()
        self.gate = asyncio.Event()
        """Commits wait for it."""
        self.gate.set()
        self.commits: list[dict[str, Any]] = []

    async def claim(self, shard: int, fence: int) -> ShardState:
        """See `MetricsStorage.claim`."""
        if self.claim_faults:
            raise self.claim_faults.popleft()
        return self.store.claim(shard, fence)

    async def commit(
        self,
        shard: int,
        fence: int,
        *,
        log: bytes = b"",
        state: bytes | None = None,
        windows: Sequence[WindowRows] = (),
    ) -> None:
        """See `MetricsStorage.commit`."""
        await self.gate.wait()
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        if fault != "lost":
            self.store.commit(shard, fence, log=log, state=state, windows=windows)
            self.commits.append({"log": log, "state": state, "windows": windows})
        if fault is not None:
            raise CommitUnknown("the connection broke.", may_have_run=True)

    async def pack(self, shard: int, before_ns: int, blocks_max: int) -> int:
        """See `HotStorage.pack`."""
        return self.store.pack(shard, before_ns, blocks_max)

    async def shards(self) -> Sequence[int]:
        return self.store.shards()

    async def extents(self) -> Mapping[int, Extent]:
        """See `WindowReader.extents`."""
        return self.store.extents()

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `WindowReader.series`."""
        return self.store.series(matchers, from_ns, to_ns, limit)

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `WindowReader.windows`."""
        return self.store.windows(matchers, width_ns, from_ns, to_ns, limit)


def batch_of(
    times_s: Sequence[float],
    *,
    sequence: int = 0,
    source: str = "s",
    series: Sequence[int] | None = None,
    watermark_s: float | None = None,
    new_series: int = len(SERIES),
) -> PointBatch:
    """One point at each of these times after the beginning, with the value 1."""
    times_ns = np.array([BEGIN_NS + round(time_s * 1e9) for time_s in times_s], np.int64)
    newest_s = max(times_s, default=0.0) if watermark_s is None else watermark_s
    places = [n % len(SERIES) for n in range(len(times_s))] if series is None else series
    return PointBatch(
        source=MetricSource(kind=SourceKind.SERVICE, name=source),
        sequence=sequence,
        first_series=0,
        new_series=SERIES[:new_series],
        series=np.array(places, np.int32),
        times_ns=times_ns,
        values=np.ones(len(times_s)),
        watermark_ns=BEGIN_NS + round(newest_s * 1e9),
    )


def counted_in(read: Callable[..., WindowRows], width_ns: int = 60 * SECOND_NS) -> int:
    """The points of all windows of a width."""
    return int(read((), width_ns, *ALWAYS, 2**40).counts.sum())
