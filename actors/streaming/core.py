"""The hub's decisions: connections, channels, and who gets what. Pure.

A command, a publication or the time goes in. What comes out waits in the queue of each connection,
and in `effects`: whose writer has to wake, and who has to go.

| connection | event | next |
|---|---|---|
| opened | `connect` with a token that counts | known |
| opened | 5 s pass (3502), another command (3501), a bad token (3500) | ended |
| known | any command | known; too many: 111 each, then 3013 |
| known | no pong (3012), too slow (3008), expired (3005), revoked (3500), shutdown (3001) | ended |

Invariants: the accounts of each channel balance; a client gets each offset of a channel at most
once and in order; what waits for a connection is bounded, and so are channels and their history.
"""

import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from callboard.messages.control.principals import Principal

from .channel import Channel
from .limits import HubLimits
from .messages import ChannelKind
from .outgoing import TOO_SLOW, Effects, Outgoing
from .ports import ChannelSource, Closing, Codec
from .protocol import Client, Connected, Disconnect, ErrorCode, Failed, Publication, Unsubscribed
from .rates import Bucket
from .subscription import Accounts, Subscription

__all__ = ["Connection", "HubCore"]

REFUSED: Final = Failed(ErrorCode.TOO_MANY_REQUESTS, "too many commands a second", temporary=True)
TOO_MANY: Final = Closing(Disconnect.TOO_MANY_REQUESTS, "too many commands")
STALE: Final = Closing(Disconnect.STALE, "the client has not connected in time")
NO_PONG: Final = Closing(Disconnect.NO_PONG, "the client does not answer pings")
EXPIRED: Final = Closing(Disconnect.EXPIRED, "the token has expired")
REVOKED: Final = Closing(Disconnect.INVALID_TOKEN, "the token has been revoked")
UNASKED_PONG: Final = Closing(Disconnect.BAD_REQUEST, "a pong answers no ping")
RESUBSCRIBE: Final = 2500
"""The code with which an SDK subscribes again, from its position."""
SUBSCRIPTION_EXPIRED: Final = 2501
SWEPT_EACH_TICK: Final = 1_000


class Connection:
    """The state of one connection."""

    __slots__ = (
        "bucket",
        "is_expiring",
        "opened_at_s",
        "out",
        "ping_at_s",
        "pong_due_s",
        "principal",
        "refused",
        "remote",
        "subscriptions",
    )

    def __init__(self, out: Outgoing, remote: str, limits: HubLimits, now_s: float) -> None:
        self.out: Final = out
        self.remote: Final = remote
        self.opened_at_s: Final = now_s
        self.principal: Principal | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.bucket: Final = Bucket(limits.commands_per_s, limits.commands_burst, now_s)
        self.refused = 0
        self.pong_due_s: float | None = None
        # The first pings are spread over the second half of the interval, by the client's id.
        share = zlib.crc32(self.client.encode()) % 1_000 / 1_000
        self.ping_at_s = now_s + limits.ping_s * (0.5 + share / 2)

    @property
    def client(self) -> str:
        """The id of the client."""
        return self.out.client

    @property
    def is_open(self) -> bool:
        """Whether it has not been ended."""
        return self.out.closing is None


class HubCore:
    """The state of one hub. `epoch` is unique for each start of a hub."""

    def __init__(self, epoch: str, limits: HubLimits) -> None:
        self.epoch: Final = epoch
        self.limits: Final = limits
        self.effects: Final = Effects()
        self.connections: dict[str, Connection] = {}
        self.channels: OrderedDict[str, Channel] = OrderedDict()
        """The channel that was published to last is last."""
        self.history_bytes = 0
        """The size of all rings."""
        self._users: dict[str, int] = {}
        self._idle_since_s: OrderedDict[str, float] = OrderedDict()
        self._channels_made = 0
        self._past = Accounts()
        self._is_closed = False

    # --- connections ---------------------------------------------------------------------------

    def open(self, client: str, codec: Codec, remote: str, now_s: float) -> Connection:
        """A new connection."""
        out = Outgoing(client, codec, self.limits, self.effects)
        connection = Connection(out, remote, self.limits, now_s)
        self.connections[client] = connection
        if self._is_closed:
            out.end(Closing(Disconnect.SHUTDOWN, "the hub stops"))
        return connection

    def connect(
        self, connection: Connection, principal: Principal, wall_s: float
    ) -> Connected | Closing:
        """The client is known from now on, or has too many connections."""
        count = self._users.get(principal.subject, 0)
        if count >= self.limits.user_connections_max:
            return Closing(Disconnect.CONNECTION_LIMIT, "too many connections of this user")
        self._users[principal.subject] = count + 1
        connection.principal = principal
        return Connected(
            client=connection.client,
            expires_ttl_s=ttl_s(principal.expires_at, wall_s),
            ping_s=int(self.limits.ping_s),
            wants_pong=connection.out.codec.answers_pings,
            time_ms=int(wall_s * 1000),
        )

    def admit(self, connection: Connection, now_s: float) -> Failed | None:
        """Whether the connection may have another command done now; ends one that never stops."""
        if connection.bucket.take(now_s):
            return None
        connection.refused += 1
        if connection.refused > self.limits.refused_max:
            connection.out.end(TOO_MANY)
        return REFUSED

    def pong(self, connection: Connection) -> None:
        """The client has answered a ping."""
        if connection.pong_due_s is None:
            connection.out.end(UNASKED_PONG)
        connection.pong_due_s = None

    def forget(self, connection: Connection, now_s: float) -> None:
        """The connection has ended, whoever ended it. May be called twice."""
        if self.connections.pop(connection.client, None) is None:
            return
        for subscription in tuple(connection.subscriptions.values()):
            self._leave(subscription, now_s)
        connection.subscriptions.clear()
        connection.out.drop_all()
        if connection.principal is not None:
            subject = connection.principal.subject
            self._users[subject] -= 1
            if not self._users[subject]:
                del self._users[subject]

    def close(self) -> None:
        """End all connections, and each one that still comes: the hub stops."""
        self._is_closed = True
        for connection in self.connections.values():
            connection.out.end(Closing(Disconnect.SHUTDOWN, "the hub stops"))

    # --- channels ------------------------------------------------------------------------------

    def channel(
        self,
        name: str,
        kind: ChannelKind,
        now_s: float,
        *,
        source: ChannelSource | None = None,
        position: int = 0,
    ) -> Channel:
        """The channel of a name, made on first use."""
        found = self.channels.get(name)
        if found is None:
            epoch = source.epoch if source is not None and kind is ChannelKind.JOURNAL else ""
            self._channels_made += 1
            found = self.channels[name] = Channel(
                name,
                kind,
                epoch or f"{self.epoch}-{self._channels_made}",
                self.limits,
                source=source,
                position=position,
            )
            self._idle_since_s[name] = now_s
            if len(self.channels) > self.limits.channels_kept_max and len(self._idle_since_s) > 1:
                self._drop_channel(next(iter(self._idle_since_s)))
        return found

    def publish(self, channel: Channel, publication: Publication, now_s: float) -> None:
        """A publication of a channel. Raises `UsageError` for one that is out of order."""
        before = channel.ring.size_bytes
        channel.publish(publication, now_s)
        self.history_bytes += channel.ring.size_bytes - before
        self.channels.move_to_end(channel.name)
        if channel.name in self._idle_since_s:
            self._idle_since_s[channel.name] = now_s
            self._idle_since_s.move_to_end(channel.name)
        while self.history_bytes > self.limits.rings_bytes_max:
            self._trim_one()

    def _trim_one(self) -> None:
        channel = next(iter(self.channels.values()))
        if channel.ring.publications:
            before = channel.ring.size_bytes
            channel.ring.evict()
            self.history_bytes += channel.ring.size_bytes - before
        else:
            self.channels.move_to_end(channel.name)

    def join(self, connection: Connection, subscription: Subscription) -> None:
        """A client begins to subscribe."""
        connection.subscriptions[subscription.channel] = subscription
        self.channels[subscription.channel].join(subscription)
        self._idle_since_s.pop(subscription.channel, None)

    def unsubscribe(
        self,
        connection: Connection,
        name: str,
        now_s: float,
        push: Unsubscribed | None = None,
    ) -> None:
        """End a subscription, if there is one; with a push the client hears of it."""
        subscription = connection.subscriptions.pop(name, None)
        if subscription is None:
            return
        connection.out.forget(subscription)
        self._leave(subscription, now_s)
        if push is not None:
            connection.out.push(push)

    def _leave(self, subscription: Subscription, now_s: float) -> None:
        channel = self.channels[subscription.channel]  # With members it is not forgotten.
        channel.leave(subscription)
        if not channel.members:
            self._idle_since_s[channel.name] = now_s
            self._idle_since_s.move_to_end(channel.name)

    def resubscribe(self, connection: Connection, push: Unsubscribed, now_s: float) -> None:
        """Have a client subscribe again, from its position.

        An SDK cannot do so for a subscription of the server: it connects again, for all of them.
        """
        subscription = connection.subscriptions.get(push.channel)
        is_of_server = subscription is not None and subscription.is_of_server
        self.unsubscribe(connection, push.channel, now_s, None if is_of_server else push)
        if is_of_server:
            connection.out.end(Closing(Disconnect.INSUFFICIENT_STATE, push.reason))

    def restart_channel(self, channel: Channel, now_s: float) -> None:
        """Forget a channel; its clients subscribe again, from where they are."""
        push = Unsubscribed(channel.name, RESUBSCRIBE, "the channel begins again")
        for client in tuple(channel.members):
            self.resubscribe(self.connections[client], push, now_s)
        self._drop_channel(channel.name)

    def _drop_channel(self, name: str) -> None:
        self._idle_since_s.pop(name, None)
        channel = self.channels.pop(name)
        self.history_bytes -= channel.ring.size_bytes
        self._past = self._past.plus(channel.accounts())

    # --- time ----------------------------------------------------------------------------------

    def tick(self, now_s: float, wall_s: float) -> None:
        """Do what is due: pings, ends, notices of dropped events, channels to forget."""
        for connection in tuple(self.connections.values()):
            if connection.is_open:
                self._tick_one(connection, now_s, wall_s)
        for _ in range(SWEPT_EACH_TICK):
            name = next(iter(self._idle_since_s), None)
            if name is None or now_s - self._idle_since_s[name] < self.limits.idle_s:
                break
            self._drop_channel(name)

    def _tick_one(self, connection: Connection, now_s: float, wall_s: float) -> None:
        out, limits, principal = connection.out, self.limits, connection.principal
        if principal is None:
            if now_s - connection.opened_at_s > limits.connect_s:
                out.end(STALE)
            return
        if connection.pong_due_s is not None and now_s > connection.pong_due_s:
            out.end(NO_PONG)
        elif out.is_too_old(now_s):
            out.end(TOO_SLOW)
        elif is_over(principal.expires_at, wall_s, limits.refresh_s):
            out.end(EXPIRED)
        elif now_s >= connection.ping_at_s:
            self._ping(connection, now_s)
        connection.refused = max(0, connection.refused - 1)
        for name, subscription in tuple(connection.subscriptions.items()):
            if is_over(subscription.expires_at, wall_s, limits.refresh_s):
                push = Unsubscribed(name, SUBSCRIPTION_EXPIRED, "the subscription has expired")
                self.unsubscribe(connection, name, now_s, push)
                continue
            if subscription.paced:
                subscription.release(now_s)
            if subscription.left_out and out.room > 0 and not out.held:
                out.inform(subscription)

    def _ping(self, connection: Connection, now_s: float) -> None:
        connection.ping_at_s = now_s + self.limits.ping_s
        connection.out.put(connection.out.codec.ping())
        if connection.out.codec.answers_pings:
            connection.pong_due_s = now_s + self.limits.pong_s

    def revoke(self, tokens: Collection[str]) -> None:
        """End all connections of these tokens."""
        for connection in self.connections.values():
            if connection.principal is not None and connection.principal.token in tokens:
                connection.out.end(REVOKED)

    def tokens(self) -> frozenset[str]:
        """The ids of the tokens of all connections."""
        found = (each.principal.token for each in self.connections.values() if each.principal)
        return frozenset(token for token in found if token)

    # --- figures -------------------------------------------------------------------------------

    def accounts(self) -> Accounts:
        """What became of all events of all channels, of now and before."""
        total = self._past
        for channel in self.channels.values():
            total = total.plus(channel.accounts())
        return total

    def figures(self) -> Mapping[str, float]:
        """Counts for metrics and views."""
        return {
            "connections": len(self.connections),
            "channels": len(self.channels),
            "subscriptions": sum(len(each.subscriptions) for each in self.connections.values()),
            "history_bytes": self.history_bytes,
            "queue_bytes": sum(each.out.size_bytes for each in self.connections.values()),
        }

    def clients(self, channel: Channel) -> Iterator[Client]:
        """Who is subscribed to a channel."""
        return (member.client for member in channel.members.values())


def ttl_s(expires_at: float, wall_s: float) -> int | None:
    """The seconds until a token ends, as replies say it; None for no end."""
    return None if not expires_at else max(1, int(expires_at - wall_s))


def is_over(expires_at: float, wall_s: float, grace_s: float) -> bool:
    """Whether a token has ended, and its client has had the time to bring a new one."""
    return bool(expires_at) and wall_s > expires_at + grace_s
