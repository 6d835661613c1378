"""The channels `metrics:NAME`: the windows of a metric, newest first asked for, then as they come.

The snapshot has the last hour in windows of a minute, and each publication the newest windows
again, as `actors/metrics/query/feed.py` says: a chart replaces what it has of the same start.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from callboard.actors.metrics.ports import WindowReader
from callboard.actors.metrics.query.feed import newest_windows
from callboard.actors.metrics.series import Matcher, MatcherKind
from callboard.actors.streaming.live import LiveSource
from callboard.actors.streaming.messages import ChannelKind
from callboard.actors.streaming.ports import Feed

from .encoding import publication_of

__all__ = ["METRICS", "MetricsSource"]

METRICS: Final = "metrics:"
WIDTH_NS: Final = 60_000_000_000
HISTORY_NS: Final = 60 * WIDTH_NS
NAMES_MAX: Final = 200
"""The metrics that are followed at once; a client that subscribes to more gets no live windows."""
ROWS_MAX: Final = 2_000
"""Windows in one snapshot, over all series."""


class MetricsSource(LiveSource):
    """The `ChannelSource` of the metrics."""

    def __init__(
        self,
        reader: WindowReader,
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

    def kind_of(self, channel: str) -> ChannelKind | None:
        """See `ChannelSource`."""
        is_mine = channel.startswith(METRICS) and len(channel) > len(METRICS)
        return ChannelKind.NEWEST if is_mine else None

    async def run(self, feed: Feed) -> None:
        """See `ChannelSource`."""
        while True:
            await asyncio.sleep(self._every_s)
            for channel in tuple(self._next_ns):
                if feed.is_wanted(channel):
                    await self._publish(channel, feed)
                else:
                    self._next_ns.pop(channel, None)
                    self._snapshots.pop(channel, None)

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

    def snapshot(self, channel: str) -> bytes:
        """See `ChannelSource`."""
        return self._snapshots.get(channel, b"")
