"""Channels whose state is asked for again and again: a snapshot, and then what has changed of it.

The state of such a channel is a set of values by key. Each change of a value is a publication of
its own with that key, so a slow client gets the newest value of each key, and a client that adds
the publications to its snapshot has the state of now. A value that is gone is published as null.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from .live import LiveSource
from .messages import ChannelKind, StreamEvent, StreamMetadata
from .ports import Feed
from .protocol import Publication

__all__ = ["PolledSource", "ReadState", "differences"]

SNAPSHOT_BYTES_MAX: Final = 1 << 19
TOO_LARGE: Final = b'{"values":{},"is_cut":true}'
"""In place of a snapshot that is too large: the client reads the API instead."""
ReadState = Callable[[], Awaitable[Mapping[str, Any]]]
"""The values of now by key, as JSON has them. Raises a `CallboardError`."""


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The values that have changed, with None for those that are gone."""
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    return {**changed, **{key: None for key in before if key not in after}}


class PolledSource(LiveSource):
    """A `ChannelSource` of one channel; it asks only while somebody uses the channel."""

    def __init__(
        self,
        channel: str,
        read: ReadState,
        *,
        every_s: float = 1.0,
        wall_time: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._channel: Final = channel
        self._read: Final = read
        self._every_s: Final = every_s
        self._wall_time: Final = wall_time
        self._new_id: Final = new_id
        self._state: dict[str, Any] = {}
        self._feed: Feed | None = None
        self._reading: Final = asyncio.Lock()
        self._is_known = False
        self._snapshot = b""

    def kind_of(self, channel: str) -> ChannelKind | None:
        """See `ChannelSource`."""
        return ChannelKind.NEWEST if channel == self._channel else None

    async def run(self, feed: Feed) -> None:
        """See `ChannelSource`."""
        self._feed = feed
        while True:
            await asyncio.sleep(self._every_s)
            if feed.is_wanted(self._channel):
                await self.poll()
            else:
                self._is_known = False

    async def open(self, channel: str) -> None:
        """See `ChannelSource`: the first subscriber has the state asked for."""
        if not self._is_known:
            await self.poll()

    async def poll(self) -> None:
        """Ask for the state, and publish what has changed. Raises what the asking raises."""
        async with self._reading:
            after = dict(await self._read())
            changed = differences(self._state, after)
            self._state, self._is_known = after, True
            if changed:
                self._snapshot = b""
            if self._feed is not None:
                for key, value in changed.items():
                    self._feed.publish(self._channel, self._publication(key, value))

    def _publication(self, key: str, value: Any) -> Publication:
        event = StreamEvent(
            event_id=self._new_id(),
            event_type=f"{self._channel}.changed",
            timestamp=self._wall_time(),
            source=self._channel,
            payload={"key": key, "value": value},
            metadata=StreamMetadata(tags={"type": f"{self._channel}.changed", "key": key}),
        )
        return Publication(
            self._channel,
            json.dumps(event.model_dump(), separators=(",", ":")).encode(),
            tags=event.metadata.tags,
            time_ms=int(event.timestamp * 1000),
            key=key,
        )

    def snapshot(self, channel: str) -> bytes:
        """See `ChannelSource`: the values by key, unless they are too large for one message."""
        if not self._snapshot:
            found = json.dumps({"values": self._state}, separators=(",", ":")).encode()
            self._snapshot = found if len(found) <= SNAPSHOT_BYTES_MAX else TOO_LARGE
        return self._snapshot
