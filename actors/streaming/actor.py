"""The hub as an actor: supervised, in a process of its own, with the server of its clients.

    await system.spawn(props(StreamHub, make_parts), offer=True)     # and an isolated host

`make_parts` runs on the hub's host and gives what the hub is made of: tokens, sources, methods and
the server. Deliveries never leave that process. Each hub of a system takes all events: it offers
`PublishBatch`, and reads the journal by itself.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorStopped, CallboardError

from ..kernel.actor import Actor, OnError, Overflow, handler
from ..kernel.context import Context
from ..kernel.inspection.metric_sources import Name, Reading
from .hub import Hub
from .limits import HubLimits
from .messages import Outbound, PublishBatch
from .polled import PolledSource
from .ports import Authenticator, ChannelSource, Edge, Methods

__all__ = [
    "ConnectionView",
    "ConnectionsView",
    "HubParts",
    "QueryConnections",
    "QueryHub",
    "StreamHub",
    "SubscribeUser",
    "UserSubscribed",
]

LOGGER: Final = logging.getLogger("callboard.hub")
CONNECTIONS_SHOWN_MAX: Final = 500
CONNECTIONS: Final = "connections"
"""The channel of the hub's own connections."""
CONNECTIONS_S: Final = 2.0
CONNECTIONS_FOLLOWED: Final = 100


@dataclass(frozen=True, slots=True)
class HubParts:
    """What a hub is made of."""

    authenticator: Authenticator
    sources: Sequence[ChannelSource] = ()
    methods: Methods | None = None
    edge: Edge | None = None
    """The server; None for a hub without one, as in tests."""
    limits: HubLimits = field(default_factory=HubLimits)
    spread: Callable[[Outbound], bool] | None = None
    """Gives what clients publish to all hubs; without it, to the clients of this hub."""
    close: Callable[[], Awaitable[None]] | None = None
    """Releases what the parts hold."""
    wall_time: Callable[[], float] = time.time
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex


class ConnectionView(Contract, name="callboard.streaming.connection_view"):
    """One connection of a hub."""

    client: str
    user: str
    remote: str
    """The address that it comes from."""
    codec: str
    age_s: float
    channels: tuple[str, ...]
    """At most 128."""
    queue_bytes: int
    queue_age_s: float
    """How long the oldest event of a journal channel waits for it."""
    sent: int
    conflated: int
    dropped: int


class ConnectionsView(Contract, name="callboard.streaming.connections_view"):
    """A hub's connections and accounts."""

    address: str
    """Where clients reach it; empty without a server."""
    epoch: str
    """The start of this hub."""
    connections: tuple[ConnectionView, ...]
    """Those with the most waiting bytes first."""
    figures: dict[str, float]
    """Counts of connections, channels and subscriptions."""
    accounts: dict[str, int]
    """What became of all events: offered, sent, waiting, filtered, conflated, dropped."""


class QueryConnections(Request[ConnectionsView], name="callboard.streaming.query_connections"):
    """Ask a hub for its connections."""

    limit: int = 100


class QueryHub(Request[ConnectionsView], name="callboard.streaming.query_hub"):
    """Ask a hub for its address, figures and accounts alone."""


class UserSubscribed(Contract, name="callboard.streaming.user_subscribed"):
    """How many clients of one hub that were connected have been subscribed, or not any more."""

    clients: int


class SubscribeUser(Request[UserSubscribed], name="callboard.streaming.subscribe_user"):
    """Subscribe the connected clients of a user; ask each hub. They learn of it by a push.

    It ends with the connection: a client that comes back has the subscriptions of its token.
    """

    user: str
    """The subject of the token."""
    channel: str
    """The name of the channel, one that the user may read."""
    ends: bool = False
    """Whether the subscription ends instead."""


class StreamHub(Actor):
    """A hub."""

    concurrency: ClassVar[int] = 16
    """A subscription may wait for a log, and events do not wait for it."""

    on_error: ClassVar[OnError] = OnError.RESUME
    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST

    def __init__(self, make_parts: Callable[[Context], HubParts]) -> None:
        self._make_parts = make_parts
        self._hub: Hub | None = None
        self._parts: HubParts | None = None
        self.address = ""

    async def started(self, ctx: Context) -> None:
        """Follow the sources, and serve. Raises what the server raises."""
        parts = self._parts = self._make_parts(ctx)
        connections = PolledSource(
            CONNECTIONS,
            self._connection_values,
            every_s=CONNECTIONS_S,
            wall_time=parts.wall_time,
            new_id=parts.new_id,
        )
        hub = self._hub = Hub(
            parts.authenticator,
            (*parts.sources, connections),
            methods=parts.methods,
            spread=parts.spread,
            limits=parts.limits,
            now=asyncio.get_running_loop().time,
            wall=parts.wall_time,
            new_id=parts.new_id,
        )
        hub.start()
        try:
            if parts.edge is not None:
                self.address = await parts.edge.start(hub)
        except BaseException:
            await self._close()
            raise
        ctx.measure(self._reading)

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """End all connections in order: their clients come back elsewhere, or later."""
        await self._close()

    async def _close(self) -> None:
        parts, hub = self._parts, self._hub
        if hub is not None:
            await hub.stop()
        if parts is not None and parts.edge is not None:
            await parts.edge.stop()
        if parts is not None and parts.close is not None:
            try:
                await parts.close()
            except CallboardError as error:
                LOGGER.warning("a part of the hub did not close: %s", error)

    def _running(self) -> Hub:
        if self._hub is None:
            raise ActorStopped("the hub has not started.", may_have_run=False)
        return self._hub

    @handler
    async def publish(self, message: PublishBatch) -> None:
        """Give events to the clients of their channels."""
        self._running().publish_outbound(message.items)

    @handler
    async def query(self, request: QueryHub) -> ConnectionsView:
        """Its address, figures and accounts."""
        return self._view(0)

    @handler
    async def connections(self, request: QueryConnections) -> ConnectionsView:
        """Its connections, too."""
        return self._view(max(0, min(request.limit, CONNECTIONS_SHOWN_MAX)))

    @handler
    async def subscribe_user(self, request: SubscribeUser) -> UserSubscribed:
        """Subscribe all clients of a user that may see the channel. Raises what its source does."""
        hub, count = self._running(), 0
        for client in hub.clients_of(request.user):
            if request.ends:
                count += hub.unsubscribe(client, request.channel)
            else:
                count += await hub.subscribe(client, request.channel)
        return UserSubscribed(clients=count)

    def _view(self, limit: int) -> ConnectionsView:
        hub = self._running()
        return ConnectionsView(
            address=self.address,
            epoch=hub.core.epoch,
            connections=connection_views(hub, limit),
            figures=hub.figures(),
            accounts=dict(hub.core.accounts()._asdict()),
        )

    async def _connection_values(self) -> dict[str, Any]:
        hub = self._running()
        views = connection_views(hub, CONNECTIONS_FOLLOWED)
        values: dict[str, Any] = {
            view.client: view.model_dump(mode="json", exclude={"age_s"}) for view in views
        }
        values["hub"] = {
            "figures": hub.figures(),
            "accounts": hub.core.accounts()._asdict(),
        }
        return values

    def _reading(self) -> Reading:
        hub = self._running()
        figures, accounts = hub.figures(), hub.core.accounts()
        return Reading(
            {
                Name("callboard_hub_events", fate): float(count)
                for fate, count in accounts._asdict().items()
                if fate != "waiting"
            }
            | {
                Name("callboard_hub_source_failures"): figures["source_failures"],
                Name("callboard_hub_events_cut"): figures["cut_events"],
            },
            {
                Name("callboard_hub_connections"): figures["connections"],
                Name("callboard_hub_channels"): figures["channels"],
                Name("callboard_hub_queue_bytes"): figures["queue_bytes"],
            },
        )


def connection_views(hub: Hub, limit: int) -> tuple[ConnectionView, ...]:
    """The connections of a hub with the most waiting bytes."""
    now_s = hub.now()
    found = sorted(
        hub.core.connections.values(), key=lambda each: each.out.size_bytes, reverse=True
    )
    views: list[ConnectionView] = []
    for each in found[:limit]:
        accounts = [one.accounts() for one in each.subscriptions.values()]
        views.append(
            ConnectionView(
                client=each.client,
                user=each.principal.subject if each.principal is not None else "",
                remote=each.remote,
                codec=each.out.codec.name,
                age_s=now_s - each.opened_at_s,
                channels=tuple(each.subscriptions),
                queue_bytes=each.out.size_bytes,
                queue_age_s=each.out.age_s(now_s),
                sent=sum(one.sent for one in accounts),
                conflated=sum(one.conflated for one in accounts),
                dropped=sum(one.dropped_slow + one.dropped_rate for one in accounts),
            )
        )
    return tuple(views)
