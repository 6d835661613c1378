"""What clients and the hub say to each other, before any codec: commands, replies and pushes.

The meaning is that of Centrifugo's client protocol. A codec turns bytes into these values and
back: Centrifugo's JSON and Protobuf, the plain JSON of the data-flow document, server-sent events.
Payloads (`data`, `info`) are bytes of JSON, encoded once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from callboard.messages.control.filters import StreamFilter

from .messages import RateLimitConfig

__all__ = [
    "Began",
    "Client",
    "Command",
    "Connect",
    "Connected",
    "Disconnect",
    "Dropped",
    "ErrorCode",
    "Failed",
    "HistoryPage",
    "HistoryQuery",
    "Join",
    "Leave",
    "Message",
    "Position",
    "Presence",
    "PresenceQuery",
    "PresenceStats",
    "PresenceStatsQuery",
    "Publication",
    "PublishCommand",
    "Push",
    "Refresh",
    "Refreshed",
    "Reply",
    "Rpc",
    "RpcResult",
    "Send",
    "SubRefresh",
    "Subscribe",
    "Subscribed",
    "Unsubscribe",
    "Unsubscribed",
]

NO_BYTES: Final = b""


class ErrorCode(IntEnum):
    """The codes of errors in replies; part of the protocol."""

    INTERNAL = 100
    UNAUTHORIZED = 101
    UNKNOWN_CHANNEL = 102
    PERMISSION_DENIED = 103
    METHOD_NOT_FOUND = 104
    ALREADY_SUBSCRIBED = 105
    LIMIT_EXCEEDED = 106
    BAD_REQUEST = 107
    NOT_AVAILABLE = 108
    TOKEN_EXPIRED = 109
    EXPIRED = 110
    TOO_MANY_REQUESTS = 111
    UNRECOVERABLE_POSITION = 112


class Disconnect(IntEnum):
    """The codes of disconnections; clients reconnect below 3500, and from 3500 on they do not."""

    SHUTDOWN = 3001
    INTERNAL = 3004
    EXPIRED = 3005
    SUBSCRIPTION_EXPIRED = 3006
    SLOW = 3008
    INSUFFICIENT_STATE = 3010
    FORCE_RECONNECT = 3011
    NO_PONG = 3012
    TOO_MANY_REQUESTS = 3013
    INVALID_TOKEN = 3500
    BAD_REQUEST = 3501
    STALE = 3502
    FORCE_NO_RECONNECT = 3503
    CONNECTION_LIMIT = 3504
    CHANNEL_LIMIT = 3505
    PERMISSION_DENIED = 3507
    NOT_AVAILABLE = 3508


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a channel: an offset, and the epoch in which it counts."""

    offset: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Client:
    """Who is on a channel, or published to it."""

    user: str
    client: str
    conn_info: bytes = NO_BYTES
    chan_info: bytes = NO_BYTES


@dataclass(slots=True)
class Publication:
    """One event of a channel."""

    channel: str
    data: bytes
    """The event as JSON."""
    offset: int = 0
    """Its position in the channel; 0 in a channel without positions."""
    tags: Mapping[str, str] = field(default_factory=dict)
    epoch: str = ""
    """The epoch in which its offset counts."""
    time_ms: int = 0
    info: Client | None = None
    """Who published it, if a client did."""
    key: str = ""
    """The value that it replaces, in a channel of kind `newest`."""


# --- commands ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connect:
    """The first command of a connection."""

    token: str = ""
    data: bytes = NO_BYTES
    name: str = ""
    version: str = ""
    subs: Mapping[str, Position | None] = field(default_factory=dict)
    """Server-side subscriptions that the client had, with the positions to resume from."""
    takes_subs: bool = True
    """Whether the hub may subscribe the client by itself."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to a channel; with `recover`, resume after this position."""

    channel: str
    token: str = ""
    recover: Position | None = None
    refuses_gap: bool = False
    """Whether a gap is an error (112) and not `recovered: false`."""
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    filter: StreamFilter | None = None
    rate_limit: RateLimitConfig | None = None
    data: bytes = NO_BYTES
    is_other_type: bool = False
    """Whether it asks for a kind of subscription that the hub does not have (refused with 108)."""


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """End a subscription."""

    channel: str


@dataclass(frozen=True, slots=True)
class PublishCommand:
    """Publish to a channel, as a client."""

    channel: str
    data: bytes


@dataclass(frozen=True, slots=True)
class PresenceQuery:
    """Who is subscribed to a channel."""

    channel: str


@dataclass(frozen=True, slots=True)
class PresenceStatsQuery:
    """How many are subscribed to a channel."""

    channel: str


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Publications of a channel. `limit` 0 asks for the position only, -1 for all up to the cap."""

    channel: str
    limit: int = 0
    since: Position | None = None
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Rpc:
    """Call a method of the server."""

    method: str
    data: bytes = NO_BYTES


@dataclass(frozen=True, slots=True)
class Send:
    """A message to the server, without a reply."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Refresh:
    """A new token for the connection."""

    token: str


@dataclass(frozen=True, slots=True)
class SubRefresh:
    """A new token for a subscription."""

    channel: str
    token: str


Command = (
    Connect
    | Subscribe
    | Unsubscribe
    | PublishCommand
    | PresenceQuery
    | PresenceStatsQuery
    | HistoryQuery
    | Rpc
    | Send
    | Refresh
    | SubRefresh
)

# --- replies -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failed:
    """The command is refused."""

    code: int
    message: str
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The subscription stands from here on; publications after this reply come as pushes."""

    recoverable: bool = False
    positioned: bool = False
    position: Position | None = None
    was_recovering: bool = False
    recovered: bool = False
    publications: tuple[Publication, ...] = ()
    expires_ttl_s: int | None = None
    data: bytes = NO_BYTES
    """A snapshot of the channel, if it has one."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The client is known; `subs` are the server-side subscriptions."""

    client: str
    version: str = ""
    expires_ttl_s: int | None = None
    ping_s: int = 25
    wants_pong: bool = True
    data: bytes = NO_BYTES
    subs: Mapping[str, Subscribed] = field(default_factory=dict)
    time_ms: int = 0


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """The subscription has ended (also as a push, with its code)."""

    channel: str = ""
    code: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is subscribed, by the ids of clients."""

    clients: Mapping[str, Client]


@dataclass(frozen=True, slots=True)
class PresenceStats:
    """How many are subscribed."""

    num_clients: int
    num_users: int


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Publications of a channel, and its newest position."""

    publications: tuple[Publication, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class RpcResult:
    """What a method returned."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The new token counts."""

    expires_ttl_s: int | None = None


Reply = (
    Failed
    | Connected
    | Subscribed
    | Unsubscribed
    | Presence
    | PresenceStats
    | HistoryPage
    | RpcResult
    | Refreshed
)
"""None stands for the empty result of `publish`."""

# --- pushes ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Join:
    """A client subscribed."""

    channel: str
    client: Client


@dataclass(frozen=True, slots=True)
class Leave:
    """A client's subscription ended."""

    channel: str
    client: Client


@dataclass(frozen=True, slots=True)
class Began:
    """The server has subscribed the client, which did not ask for it."""

    channel: str
    subscribed: Subscribed


@dataclass(frozen=True, slots=True)
class Message:
    """A message from the server outside of any channel: for example, a count of dropped events."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Dropped:
    """Events of a channel that the client does not get, because it is slow or wants few."""

    channel: str
    count: int
    reason: str
    """`slow` or `rate`."""
    first: int = 0
    """The lowest offset that was left out."""
    last: int = 0
    """The highest offset that was left out; those between need not be left out."""


Push = Publication | Began | Join | Leave | Message | Dropped | Unsubscribed
