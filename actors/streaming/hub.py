"""The hub of one process: sessions, sources, and time around the core.

Everything runs on one event loop. After each step `perform` does what the core has decided: it
wakes writers, and ends connections. Sources run in the background, and are started again after an
error; while a source is away, its channels keep what they have.
"""

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from callboard.messages.control.principals import Principal
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError

from .channel import Channel
from .core import RESUBSCRIBE, Connection, HubCore
from .history import cut
from .limits import HubLimits
from .messages import ChannelKind, Outbound, is_of_parts, is_reserved
from .ports import Authenticator, ChannelSource, Codec, Methods, Page, Refused
from .protocol import Client, ErrorCode, Failed, Publication, PublishCommand, Unsubscribed
from .sessions import OpenSession

__all__ = ["Hub", "NoMethods", "SourceFeed"]

LOGGER: Final = logging.getLogger("callboard.hub")
RETRY: Final = Backoff(min_s=0.1, max_s=5.0)
TICK_S: Final = 0.5
REVOKED_EACH_S: Final = 0.4
"""A revoked token ends its connections within a second."""


class NoMethods:
    """The `Methods` of a hub without any."""

    async def call(self, principal: Principal, method: str, data: bytes) -> bytes:
        """See `Methods`."""
        raise Refused(f"there is no method {method!r:.80}.", code=ErrorCode.METHOD_NOT_FOUND)


class SourceFeed:
    """The `Feed` of one source."""

    def __init__(self, hub: "Hub", source: ChannelSource) -> None:
        self._hub: Final = hub
        self._source: Final = source
        self._epoch = source.epoch
        self.position: int | None = None
        """How far a journal has been read; None before it has been read at all."""

    def publish(self, channel: str, publication: Publication) -> None:
        """See `Feed`."""
        hub = self._hub
        kind = self._source.kind_of(channel)
        assert kind is not None, channel
        if kind is ChannelKind.JOURNAL:
            self.moved(publication.offset)
            found = hub.core.channels.get(channel)
        else:
            found = hub.core.channel(channel, kind, hub.now(), source=self._source)
        if found is not None:
            hub.publish(found, publication)

    def moved(self, position: int) -> None:
        """See `Feed`."""
        if self._source.epoch != self._epoch:
            self._epoch = self._source.epoch
            self.position = None
            self._hub.restart_channels(self._source)
        self.position = max(self.position or 0, position)

    def is_wanted(self, channel: str) -> bool:
        """See `Feed`."""
        return channel in self._hub.core.channels


class Hub:
    """A `SessionHub`, with its channels, in one process."""

    def __init__(
        self,
        authenticator: Authenticator,
        sources: Sequence[ChannelSource] = (),
        *,
        methods: Methods | None = None,
        spread: Callable[[Outbound], bool] | None = None,
        limits: HubLimits | None = None,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        """`spread` gives what a client publishes to all hubs, this one included.

        It returns False when there is no room. Without it only this hub's clients get it.
        """
        self.authenticator: Final = authenticator
        self.methods: Final[Methods] = methods or NoMethods()
        self.core: Final = HubCore(new_id(), limits or HubLimits())
        self.now: Final = now
        self.wall: Final = wall
        self._new_id: Final = new_id
        self._spread: Final = spread
        self._sources: Final = tuple(sources)
        self._feeds: Final = {id(each): SourceFeed(self, each) for each in self._sources}
        self._sessions: Final[dict[str, OpenSession]] = {}
        self._tasks: Final[list[asyncio.Task[None]]] = []
        self.source_failures = 0
        self.cut_events = 0
        """Events that were larger than an event may be, and lost their payload."""

    # --- its life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Follow the sources, and watch the time."""
        loop = asyncio.get_running_loop()
        for source in self._sources:
            self._tasks.append(loop.create_task(self._follow(source)))
        self._tasks.append(loop.create_task(self._watch_time()))
        self._tasks.append(loop.create_task(self._watch_tokens()))

    async def stop(self) -> None:
        """End all connections with 3001, and what runs in the background."""
        self.core.close()
        self.perform()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()

    async def _follow(self, source: ChannelSource) -> None:
        failed_in_a_row = 0
        while True:
            begun_s = self.now()
            try:
                await source.run(self._feeds[id(source)])
            except CallboardError as error:
                LOGGER.warning("a source of channels failed, and is started again: %s", error)
            except Exception:
                LOGGER.exception("a source of channels has a defect, and is started again")
            else:
                return
            self.source_failures += 1
            failed_in_a_row = 1 if self.now() - begun_s > RETRY.max_s else failed_in_a_row + 1
            await asyncio.sleep(RETRY.delay_s(failed_in_a_row))

    async def _watch_time(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()

    async def _watch_tokens(self) -> None:
        while True:
            await asyncio.sleep(REVOKED_EACH_S)
            try:
                await self.revoke()
            except (CallboardError, TimeoutError) as error:
                LOGGER.warning("revoked tokens cannot be read, and are asked for again: %s", error)

    async def revoke(self) -> None:
        """End the connections whose tokens have been revoked. Raises what the asking raises."""
        tokens = self.core.tokens()
        if tokens:
            async with asyncio.timeout(self.core.limits.source_s):
                revoked = await self.authenticator.revoked(tokens)
            self.core.revoke(frozenset(revoked))
            self.perform()

    def tick(self) -> None:
        """Do what is due now."""
        self.core.tick(self.now(), self.wall())
        self.perform()

    def perform(self) -> None:
        """Do what the core has decided."""
        effects = self.core.effects
        while effects.ready or effects.ended:
            ready, effects.ready = effects.ready, []
            ended, effects.ended = effects.ended, []
            for out in ended:
                connection = self.core.connections.get(out.client)
                if connection is not None:
                    self.core.forget(connection, self.now())
                session = self._sessions.pop(out.client, None)
                if session is not None:
                    session.ended()
                    session.wake()
            for out in ready:
                session = self._sessions.get(out.client)
                if session is not None:
                    session.wake()

    def figures(self) -> dict[str, float]:
        """Counts for metrics and views."""
        failures, cut_events = self.source_failures, self.cut_events
        return {
            **self.core.figures(), "source_failures": failures, "cut_events": cut_events,
        }  # fmt: skip

    # --- connections ---------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """See `SessionHub`."""
        return len(self.core.connections) >= self.core.limits.connections_max

    def open(
        self,
        codec: Codec,
        remote: str,
        principal: Principal | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> OpenSession:
        """See `SessionHub`."""
        connection = self.core.open(self._new_id(), codec, remote, self.now())
        session = OpenSession(self, connection, on_ready, principal)
        self._sessions[connection.client] = session
        self.perform()
        return session

    def resubscribe(self, connection: Connection, channel: str) -> None:
        """Have a client subscribe again, from where it is."""
        push = Unsubscribed(channel, RESUBSCRIBE, "the history cannot be read now")
        self.core.resubscribe(connection, push, self.now())

    async def subscribe(self, client: str, channel: str) -> bool:
        """Subscribe a connected client, which learns of it by a push.

        False if there is no such client, it may not see the channel, or it is subscribed. Raises
        what the channel's source does.
        """
        session = self._sessions.get(client)
        return session is not None and await session.subscribe_by_server(channel)

    def unsubscribe(self, client: str, channel: str) -> bool:
        """End a subscription of a client, which learns of it by a push. False if there is none."""
        session = self._sessions.get(client)
        return session is not None and session.unsubscribe_by_server(channel)

    def clients_of(self, user: str) -> list[str]:
        """The connected clients of a subject."""
        found = self.core.connections.values()
        return [each.client for each in found if each.principal and each.principal.subject == user]

    # --- channels ------------------------------------------------------------------------------

    def is_reserved(self, channel: str) -> bool:
        """Whether only sources publish to a channel."""
        return is_reserved(channel) or self._source_of(channel) is not None

    def _source_of(self, channel: str) -> ChannelSource | None:
        for source in self._sources:
            if source.kind_of(channel) is not None:
                return source
        return None

    def channel_for(self, name: str) -> Channel | Failed:
        """The channel of a name, made on first use, or why there is none."""
        found = self.core.channels.get(name)
        if found is not None:
            return found
        source = self._source_of(name)
        if source is None:
            if is_reserved(name) and not is_of_parts(name):
                return Failed(ErrorCode.UNKNOWN_CHANNEL, "the system does not have this channel")
            return self.core.channel(name, ChannelKind.TAIL, self.now())
        kind = source.kind_of(name)
        assert kind is not None, name
        position = self._feeds[id(source)].position
        if kind is ChannelKind.JOURNAL and position is None:
            return Failed(ErrorCode.INTERNAL, "the journal has not been read yet", temporary=True)
        return self.core.channel(name, kind, self.now(), source=source, position=position or 0)

    async def open_channel(self, channel: Channel) -> None:
        """Have the source make its snapshot right. Raises what the source raises."""
        if channel.source is not None:
            async with asyncio.timeout(self.core.limits.source_s):
                await channel.source.open(channel.name)

    def position_of(self, channel: Channel) -> int | None:
        """How far the source of a journal channel has been read."""
        return None if channel.source is None else self._feeds[id(channel.source)].position

    async def read(self, channel: Channel, after: int) -> Page | None:
        """A page of a journal channel that fits into one step. Raises what the source raises."""
        assert channel.source is not None, channel.name
        limits = self.core.limits
        async with asyncio.timeout(limits.source_s):
            page = await channel.source.read(channel.name, after, limits.replay_events_max)
        if page is None:
            return None
        found = [self._bounded(each) for each in page.publications]
        kept = cut(found, limits.replay_events_max, limits.replay_bytes_max)
        is_whole = len(kept) == len(page.publications)
        return Page(kept, page.seen if is_whole else kept[-1].offset)

    def restart_channels(self, source: ChannelSource) -> None:
        """The log of a source is another one than before, or has only now got its identity."""
        for channel in tuple(self.core.channels.values()):
            if channel.source is source and channel.epoch != source.epoch:
                self.core.restart_channel(channel, self.now())
        self.perform()

    # --- publications --------------------------------------------------------------------------

    def publish(self, channel: Channel, publication: Publication) -> None:
        """Publish to the clients of this hub."""
        self.core.publish(channel, self._bounded(publication), self.now())
        self.perform()

    def _bounded(self, publication: Publication) -> Publication:
        if len(publication.data) > self.core.limits.event_bytes_max:
            self.cut_events += 1
            return _without_payload(publication)
        return publication

    def publish_outbound(self, items: Sequence[Outbound]) -> None:
        """Publish what actors and clients of any host have sent to all hubs."""
        for item in items:
            channel = self.channel_for(item.channel)
            if isinstance(channel, Failed) or channel.source is not None:
                continue  # Another release of Callboard has sent it.
            info = Client(item.user, item.client) if item.client else None
            self.publish(
                channel,
                Publication(
                    item.channel,
                    item.data,
                    tags=item.tags,
                    time_ms=item.time_ms,
                    info=info,
                    key=item.key,
                ),
            )

    def spread_from(self, principal: Principal, client: str, command: PublishCommand) -> bool:
        """Give what a client publishes to all hubs. False when there is no room."""
        item = Outbound(
            channel=command.channel,
            data=command.data,
            tags={"source": principal.subject},
            time_ms=int(self.wall() * 1000),
            user=principal.subject,
            client=client,
        )
        if self._spread is not None:
            return self._spread(item)
        self.publish_outbound((item,))
        return True


def _without_payload(publication: Publication) -> Publication:
    """The event without its payload, which is too large: its position must not be missing."""
    try:
        event = json.loads(publication.data)
    except ValueError:
        event = None
    plain = event if isinstance(event, dict) else {}
    plain["payload"] = None
    plain["too_large_bytes"] = len(publication.data)
    publication.data = json.dumps(plain).encode()
    return publication
