"""The channels of the journal: `events`, `executions`, and `execution:ID` for each execution.

Offsets are the journal's positions, and the epoch is its identity. So a client resumes at any hub
that reads the same journal, after any number of restarts. One follower reads for all channels of a
hub; an event is encoded for the channels that somebody uses.

| channel | events |
|---|---|
| `events` | all of the journal |
| `executions` | those that change the status of an execution |
| `execution:ID` | those of one execution |
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final, Protocol, runtime_checkable

from callboard.actors.events.log import EventLog
from callboard.actors.events.subscription.core import Filter
from callboard.actors.events.subscription.reader import Follower, LogReader
from callboard.actors.executions.history.events import PREFIX, Kind, stream_of
from callboard.actors.executions.history.plain import fields_of
from callboard.actors.journal.identity import identity_of
from callboard.actors.streaming.messages import ChannelKind
from callboard.actors.streaming.ports import Feed, Page
from callboard.actors.streaming.protocol import Publication
from callboard.messages.storage.errors import StoreUnavailable
from callboard.messages.storage.events import RecordedEvent

from .encoding import publication_of

__all__ = ["EVENTS", "EXECUTIONS", "JournalSource", "OpensLog", "execution_channel"]

EVENTS: Final = "events"
EXECUTIONS: Final = "executions"
EXECUTION: Final = "execution:"
STATUS_KINDS: Final = (
    str(Kind.SUBMITTED),
    str(Kind.STEPPED),
    str(Kind.RESUMED),
    str(Kind.FORKED),
)
"""The kinds of events in `executions`."""
PLACES_MAX: Final = 1_000


def execution_channel(execution_id: str) -> str:
    """The channel of one execution."""
    return EXECUTION + execution_id


@runtime_checkable
class OpensLog(Protocol):
    """A log that has to be opened first, such as `FollowedLog`."""

    async def open(self) -> None:
        """Open it. Raises what the store raises."""


class JournalSource:
    """The `ChannelSource` of a journal. Belongs to one event loop.

    `log` is opened by `run` if it has a method `open`; the caller closes it.
    """

    def __init__(self, log: EventLog) -> None:
        self._log: Final = log
        self._follower: Follower | None = None
        self._epoch = ""
        self._places: Final[OrderedDict[tuple[str, int], int]] = OrderedDict()
        """For readers that go on: the version of a stream at a position."""

    def kind_of(self, channel: str) -> ChannelKind | None:
        """See `ChannelSource`."""
        is_mine = channel in (EVENTS, EXECUTIONS) or (
            channel.startswith(EXECUTION) and len(channel) > len(EXECUTION)
        )
        return ChannelKind.JOURNAL if is_mine else None

    @property
    def epoch(self) -> str:
        """See `ChannelSource`. Empty while the journal has no event."""
        return self._epoch

    async def open(self, channel: str) -> None:
        """See `ChannelSource`."""

    def snapshot(self, channel: str) -> bytes:
        """See `ChannelSource`: these channels have none."""
        return b""

    # --- live ----------------------------------------------------------------------------------

    async def run(self, feed: Feed) -> None:
        """See `ChannelSource`. Goes on after the last position that the hub has."""
        if isinstance(self._log, OpensLog) and self._follower is None:
            await self._log.open()
        before, self._epoch = self._epoch, await identity_of(self._log.read)
        is_same = before in ("", self._epoch)
        head, position = self._log.head, feed.position
        after = position if is_same and position is not None else head
        follower = self._follower = Follower(self._log)
        feed.moved(after)
        reader = LogReader(follower, Filter(), after)
        try:
            while True:
                await self._give_page(reader, feed)
        finally:
            reader.close()
            follower.close()

    async def _give_page(self, reader: LogReader, feed: Feed) -> None:
        try:
            page = await reader.next_page()
        except StoreUnavailable as error:
            await reader.back_off(error)
            return
        if page.events and not self._epoch:
            self._epoch = await identity_of(self._log.read)
        for number, event in enumerate(page.events):
            for channel in channels_of(event):
                if feed.is_wanted(channel):
                    feed.publish(channel, publication_from(event, channel))
            feed.moved(event.position)
            if number % 100 == 99:
                await asyncio.sleep(0)  # Writers have their turn in a long page.
        if not page.events:
            await reader.wait()

    # --- history -------------------------------------------------------------------------------

    async def read(self, channel: str, after: int, limit: int) -> Page | None:
        """See `ChannelSource`."""
        log, follower = self._log, self._follower
        if follower is None:
            raise StoreUnavailable("the journal is not open yet.")
        if after > log.head and after and not await log.read(after - 1, 1):
            return None
        taken = filter_of(channel)
        found = await follower.tail_page(after, limit, taken)
        if found is not None:
            events: Sequence[RecordedEvent] = found.events
            seen = found.seen
        else:
            head = max(log.head, after)
            if taken.stream is not None:
                events = await self._stream_page(taken.stream, after, limit)
            else:
                events = await log.read(after, limit, kinds=taken.kinds)
            # A log that is an actor may give short pages: only an empty one says that it is whole.
            seen = events[-1].position if events else head
        if taken.stream is not None and events:
            self._remember(taken.stream, seen, events[-1].version)
        return Page([publication_from(event, channel) for event in events], seen)

    async def _stream_page(self, stream: str, after: int, limit: int) -> list[RecordedEvent]:
        version = self._places.pop((stream, after), None)
        if version is None:
            version = await self._version_at(stream, after)
        return await self._log.read_stream(stream, after=version, limit=limit)

    def _remember(self, stream: str, position: int, version: int) -> None:
        self._places[stream, position] = version
        if len(self._places) > PLACES_MAX:
            self._places.popitem(last=False)

    async def _version_at(self, stream: str, position: int) -> int:
        """The version of the stream's last event up to a position; a binary search."""
        newest = await self._log.read_stream(stream, limit=1, backwards=True)
        if not newest:
            return 0
        low, high = 0, newest[0].version
        while low < high:
            middle = (low + high + 1) // 2
            (event,) = await self._log.read_stream(stream, after=middle - 1, limit=1)
            if event.position <= position:
                low = middle
            else:
                high = middle - 1
        return low


def filter_of(channel: str) -> Filter:
    """The events of a channel."""
    if channel == EVENTS:
        return Filter()
    if channel == EXECUTIONS:
        return Filter(kinds=STATUS_KINDS)
    return Filter(stream=stream_of(channel.removeprefix(EXECUTION)))


def channels_of(event: RecordedEvent) -> Iterator[str]:
    """The channels that have an event."""
    yield EVENTS
    if event.kind in STATUS_KINDS:
        yield EXECUTIONS
    if event.stream.startswith(PREFIX):
        yield execution_channel(event.stream.removeprefix(PREFIX))


def publication_from(event: RecordedEvent, channel: str) -> Publication:
    """An event as a publication of a channel."""
    execution = event.stream.removeprefix(PREFIX) if event.stream.startswith(PREFIX) else ""
    fields = fields_of(event)
    tags = {"execution": execution, "stream": event.stream}
    if fields is not None and isinstance(fields.get("to"), str):
        tags["status"] = fields["to"]
    return publication_of(
        channel,
        event.kind,
        {
            "position": event.position,
            "stream": event.stream,
            "version": event.version,
            "kind": event.kind,
            "bytes": len(event.data),
            "recorded_at": event.recorded_at,
            "fields": fields,
        },
        event_id=event.id.hex(),
        timestamp=event.recorded_at,
        source=event.stream,
        tags=tags,
        offset=event.position,
    )
