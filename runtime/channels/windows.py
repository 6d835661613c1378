"""The channels `metrics:NAME`: the windows of a metric, those of the last hour and then new ones.

The snapshot has the last hour in windows of a minute, and each publication the newest windows
again, as `actors/metrics/query/feed.py` says: a chart replaces what it has of the same start.

Aggregators say when windows have closed or were corrected, and are durable: these are published at
once. Windows that are open only grow, and no one says so; they are read again every `every_s`,
which also brings what a move of an aggregator has hidden. Nobody is asked while no client follows
a metric.
"""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from callboard.actors.metrics.ports import WindowReader
from callboard.actors.metrics.query.feed import newest_windows
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, MatcherKind
from callboard.actors.streaming.live import LiveSource
from callboard.actors.streaming.messages import ChannelKind
from callboard.actors.streaming.ports import Feed

from .encoding import publication_of

__all__ = ["METRICS", "FollowWindows", "MetricsSource"]

METRICS: Final = "metrics:"
WIDTH_NS: Final = 60_000_000_000
HISTORY_NS: Final = 60 * WIDTH_NS
NAMES_MAX: Final = 200
"""The metrics that are followed at once; a client that subscribes to more gets no live windows."""
ROWS_MAX: Final = 2_000
"""Windows in one snapshot, over all series."""

FollowWindows: TypeAlias = Callable[
    [Callable[[WindowRows], None]], contextlib.AbstractAsyncContextManager[None]
]
"""Calls a function with windows as they close, until its end: `SystemMetrics.following`."""


class MetricsSource(LiveSource):
    """The `ChannelSource` of the metrics."""

    def __init__(
        self,
        reader: WindowReader,
        follow: FollowWindows | None = None,
        *,
        every_s: float = 10.0,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        self._reader: Final = reader
        self._every_s: Final = every_s
        self._wall_time: Final = wall_time
        self._next_ns: Final[dict[str, int]] = {}
        """By name: from when on the next publication has windows."""
        self._snapshots: Final[dict[str, bytes]] = {}
        self._follow: Final = follow
        self._closed: set[str] = set()
        """The channels that are followed, of which windows have closed."""
        self._is_used: Final = asyncio.Event()
        self._has_closed: Final = asyncio.Event()

    def kind_of(self, channel: str) -> ChannelKind | None:
        """See `ChannelSource`."""
        is_mine = channel.startswith(METRICS) and len(channel) > len(METRICS)
        return ChannelKind.NEWEST if is_mine else None

    async def run(self, feed: Feed) -> None:
        """See `ChannelSource`."""
        while True:
            await self._is_used.wait()
            async with contextlib.AsyncExitStack() as stack:
                if self._follow is not None:
                    await stack.enter_async_context(self._follow(self._note))
                while self._next_ns:
                    await self._publish_due(feed)
            self._is_used.clear()

    def _note(self, rows: WindowRows) -> None:
        """Windows have closed."""
        if rows.width_ns == WIDTH_NS:
            self._closed.update(METRICS + key.name for key in rows.series)
            self._closed &= self._next_ns.keys()
            if self._closed:
                self._has_closed.set()

    async def _publish_due(self, feed: Feed) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._every_s):
                await self._has_closed.wait()
        closed, self._closed = self._closed, set()
        self._has_closed.clear()
        for channel in tuple(self._next_ns):
            if not feed.is_wanted(channel):
                self._next_ns.pop(channel, None)
                self._snapshots.pop(channel, None)
            elif channel in closed or not closed:
                await self._publish(channel, feed)

    async def _publish(self, channel: str, feed: Feed) -> None:
        found = await self._windows(channel, self._next_ns[channel])
        self._next_ns[channel] = found["next_from_ns"]
        self._snapshots.pop(channel, None)
        now = self._wall_time()
        if any(series["start_s"] for series in found["series"]):
            publication = publication_of(
                channel,
                "metrics.windows",
                found,
                event_id=uuid.uuid4().hex,
                timestamp=now,
                source="metrics",
            )
            feed.publish(channel, publication)

    async def _windows(self, channel: str, from_ns: int) -> dict[str, Any]:
        name = Matcher("__name__", MatcherKind.IS, channel.removeprefix(METRICS))
        return await newest_windows(self._reader, (name,), WIDTH_NS, from_ns, rows_max=ROWS_MAX)

    async def open(self, channel: str) -> None:
        """See `ChannelSource`. Raises `UsageError` for a metric with too many series."""
        if channel in self._snapshots:
            return
        now_ns = int(self._wall_time() * 1e9)
        found = await self._windows(channel, (now_ns - HISTORY_NS) // WIDTH_NS * WIDTH_NS)
        self._snapshots[channel] = json.dumps(found).encode()
        if channel not in self._next_ns and len(self._next_ns) < NAMES_MAX:
            self._next_ns[channel] = found["next_from_ns"]
            self._is_used.set()

    def snapshot(self, channel: str) -> bytes:
        """See `ChannelSource`."""
        return self._snapshots.get(channel, b"")
