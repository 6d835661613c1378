"""From `ctx.publish` to all hubs: the queue of a host, and its way to the actors that are hubs.

    queue = EventQueue()                                  # the wiring gives it to the host
    StreamPublisher(host, queue)                          # an extension, which empties it

Each hub of the directory gets each event. The queue has a bound, and so has the time that a hub
may take: what does not fit is dropped and counted, by reason. Without a hub nothing is encoded.
"""

import asyncio
import logging
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.ref import CONTRACT_TYPE, not_a_message

from ..kernel.cell import Cell
from ..kernel.host.extension import Extension
from ..kernel.inspection.metric_sources import Name, Reading
from ..kernel.ports import RoleHost
from .messages import (
    EVENT_BYTES_MAX,
    Outbound,
    PublishBatch,
    StreamEvent,
    StreamMetadata,
    is_reserved,
    problem_of,
)

__all__ = ["EventQueue", "StreamPublisher", "encoded", "outbound_of"]

LOGGER: Final = logging.getLogger("callboard.hub")
EVENTS_MAX: Final = 10_000
BYTES_MAX: Final = 1 << 23
"""What waits on one host for the hubs."""
BATCH_EVENTS: Final = 256
BATCH_BYTES: Final = 1 << 18
SEND_S: Final = 1.0
"""How long a hub may have no room before a batch is dropped for it."""


def outbound_of(
    channel: str, event: Contract, source: str, key: str, event_id: str, timestamp: float
) -> Outbound:
    """An event, encoded. A contract that is no `StreamEvent` becomes the payload of one.

    Raises `UsageError` for what `Publishing.publish` refuses.
    """
    if type(type(event)) is not CONTRACT_TYPE:
        raise not_a_message(event)
    problem = problem_of(channel)
    if not problem and is_reserved(channel):
        problem = f"{channel} is a channel that only the system publishes to"
    if problem:
        raise UsageError(f"{problem}.", advice="Choose another name for the channel.")
    if not isinstance(event, StreamEvent):
        event = wrapped(event, source, event_id, timestamp)
    return encoded(channel, event, key)


def wrapped(event: Contract, source: str, event_id: str, timestamp: float) -> StreamEvent:
    """A contract as the payload of an event. Raises `UsageError` for one that is no JSON."""
    try:
        payload = event.model_dump(mode="json")
    except ValueError as error:
        raise UsageError(
            f"a {event.contract_name} has no form in JSON: {error}.",
            advice="Use plain values in what is published.",
        ) from error
    return StreamEvent(
        event_id=event_id,
        event_type=event.contract_name,
        timestamp=timestamp,
        source=source,
        payload=payload,
        metadata=StreamMetadata(tags={"type": event.contract_name, "source": source}),
    )


def encoded(channel: str, event: StreamEvent, key: str = "") -> Outbound:
    """An event for any channel, also those that parts of the system publish to (`logs:`).

    Raises `UsageError` for one that is too large or no JSON.
    """
    try:
        data = event.model_dump_json().encode()
    except ValueError as error:
        raise UsageError(
            f"an event for {channel} has no form in JSON: {error}.",
            advice="Use plain values in its payload.",
        ) from error
    if len(data) > EVENT_BYTES_MAX:
        raise UsageError(
            f"an event for {channel} has {len(data)} bytes, and at most {EVENT_BYTES_MAX} fit.",
            advice="Publish a summary, and store the rest where clients can fetch it.",
        )
    tags = event.metadata.tags
    return Outbound(
        channel=channel, data=data, tags=tags, key=key, time_ms=int(event.timestamp * 1000)
    )


class EventQueue:
    """The events of one host that wait for the hubs; a `Publishing`."""

    def __init__(
        self,
        wall_time: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._wall_time: Final = wall_time
        self._new_id: Final = new_id
        self._lock: Final = threading.Lock()
        self._waiting: deque[Outbound] = deque()
        self._bytes = 0
        self._wake: Callable[[], None] | None = None
        self._has_hub: Callable[[], bool] = lambda: False
        self.published = 0
        self.dropped: Final[Counter[str]] = Counter()
        """Events by the reason that they were dropped for: `no_hub`, `full`, `refused`."""

    def begin(self, wake: Callable[[], None], has_hub: Callable[[], bool]) -> None:
        """Something empties the queue from now on: `wake` is called when it has become filled."""
        self._wake = wake
        self._has_hub = has_hub

    def publish(
        self,
        channel: str,
        event: Contract,
        *,
        source: str,
        key: str = "",
        of_system: bool = False,
    ) -> bool:
        """See `Publishing`."""
        if not self._has_hub():
            self.dropped["no_hub"] += not of_system
            return False
        now, event_id = self._wall_time(), self._new_id()
        if not of_system:
            return self.put(outbound_of(channel, event, source, key, event_id, now))
        try:
            return self.put(encoded(channel, wrapped(event, source, event_id, now), key))
        except UsageError:
            self.dropped["refused"] += 1
            return False

    def put(self, item: Outbound) -> bool:
        """Queue an encoded event. False without room."""
        size = len(item.data)
        with self._lock:
            if len(self._waiting) >= EVENTS_MAX or self._bytes + size > BYTES_MAX:
                self.dropped["full"] += 1
                return False
            is_first = not self._waiting
            self._waiting.append(item)
            self._bytes += size
            self.published += 1
        if is_first and self._wake is not None:
            self._wake()
        return True

    def take(self) -> Sequence[Outbound]:
        """The next batch; empty when nothing waits."""
        taken: list[Outbound] = []
        size = 0
        with self._lock:
            while self._waiting and len(taken) < BATCH_EVENTS and size < BATCH_BYTES:
                item = self._waiting.popleft()
                size += len(item.data)
                taken.append(item)
            self._bytes -= size
        return taken

    @property
    def waiting(self) -> int:
        """Events that wait."""
        return len(self._waiting)


class StreamPublisher(Extension):
    """Sends the events of one host to all hubs of the system."""

    def __init__(self, host: RoleHost[Cell], queue: EventQueue) -> None:
        self._host: Final = host
        self.queue: Final = queue
        self._loop: Final = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread: Final = threading.get_ident()
        self._end_measuring: Callable[[], None] | None = None
        self._is_closed = False
        queue.begin(self._wake, self._has_hub)

    def _has_hub(self) -> bool:
        return bool(self._host.directory.offers(PublishBatch.contract_name))

    def _wake(self) -> None:
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._begin)
        else:
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self._end_measuring is None:
            self._end_measuring = self._host.instruments.add(self.reading)
        if not self._is_closed and (self._task is None or self._task.done()):
            self._task = self._host.start_task(self._send_all())

    async def _send_all(self) -> None:
        while items := self.queue.take():
            hubs = self._host.directory.offers(PublishBatch.contract_name)
            if not hubs:
                self.queue.dropped["no_hub"] += len(items)
                continue
            batch = PublishBatch(items=tuple(items))
            sends = (self._host.send(address, batch, SEND_S) for address in hubs)
            for outcome in await asyncio.gather(*sends, return_exceptions=True):
                if isinstance(outcome, CallboardError | TimeoutError):
                    self.queue.dropped["refused"] += len(items)
                elif outcome is not None:
                    raise outcome

    def reading(self) -> Reading:
        """The counts as metrics."""
        dropped = {
            Name("callboard_stream_events_dropped", reason): float(count)
            for reason, count in self.queue.dropped.items()
        }
        return Reading(
            {Name("callboard_stream_events_published"): float(self.queue.published), **dropped},
            {Name("callboard_stream_events_waiting"): float(self.queue.waiting)},
        )

    def close(self) -> None:
        """See `Extension`."""
        self._is_closed = True
        if self._end_measuring is not None:
            self._end_measuring()
