"""What is streamed, and who asked for it: the contracts of the hub."""

from enum import StrEnum, auto
from typing import Any, Final

from pydantic import Field

from callboard.messages.control.filters import StreamFilter
from callboard.messages.control.principals import Principal
from callboard.messages.core.contract import Contract

__all__ = [
    "CHANNEL_BYTES_MAX",
    "EVENT_BYTES_MAX",
    "AuthenticationInfo",
    "ChannelKind",
    "LogLine",
    "Outbound",
    "Publish",
    "PublishBatch",
    "RateLimitConfig",
    "StreamEvent",
    "StreamMetadata",
    "StreamSubscription",
    "is_of_parts",
    "is_reserved",
    "problem_of",
]

CHANNEL_BYTES_MAX: Final = 255
"""The longest name of a channel, in bytes of UTF-8."""
EVENT_BYTES_MAX: Final = 1 << 16
"""The largest payload of an event, in bytes of JSON; larger ones are refused by name."""
RESERVED: Final = (
    "system", "executions", "execution:", "events", "metrics:", "alerts", "letters", "logs:",
    "partials:", "pipelines", "connections", "approvals",
)  # fmt: skip
"""Channels that only the system publishes to; a name with a colon covers all behind it."""
OF_PARTS: Final = ("logs:", "partials:")
"""Those of them that have no source: parts of the system on any host publish to them."""


def problem_of(channel: str, bytes_max: int = CHANNEL_BYTES_MAX) -> str:
    """What is wrong with the name of a channel; empty if nothing is."""
    if not channel:
        return "the channel has no name"
    if not channel.isprintable():
        return "the name of the channel has control characters"
    if len(channel.encode("utf-8", "replace")) > bytes_max:
        return f"the name of the channel is longer than {bytes_max} bytes"
    return ""


def is_reserved(channel: str) -> bool:
    """Whether only the system publishes to a channel of this name."""
    return _is_among(channel, RESERVED)


def is_of_parts(channel: str) -> bool:
    """Whether parts of the system publish to a channel of this name, from any host."""
    return _is_among(channel, OF_PARTS)


def _is_among(channel: str, names: tuple[str, ...]) -> bool:
    return any(
        channel.startswith(name) if name.endswith(":") else channel == name for name in names
    )


class ChannelKind(StrEnum):
    """What a channel promises to a slow or absent client."""

    JOURNAL = auto()
    """Each event once: a slow client is cut off, and resumes from its position."""
    NEWEST = auto()
    """The newest value for each key; the values between are skipped, and counted."""
    TAIL = auto()
    """A line of events; the oldest is dropped when there is no room, and counted."""


class StreamMetadata(Contract, name="callboard.streaming.metadata"):
    """The flat part of an event, by which clients filter."""

    tags: dict[str, str] = Field(default_factory=dict)
    """Texts by name: `type`, `source`, `host`, `level`, `execution` and others."""
    version: int = Field(default=1, ge=1)
    """The version of the payload's form."""


class StreamEvent(Contract, name="callboard.streaming.event"):
    """One event of a channel. The names follow the data-flow document."""

    event_id: str
    """An id that no other event of its channel has."""
    event_type: str
    """The kind of event, such as `execution.state_changed`."""
    timestamp: float
    """Seconds since 1970, by the clock of its source."""
    source: str
    """The path of the actor, or the name of the part, that it came from."""
    payload: Any = None
    """Plain values, as JSON has them."""
    metadata: StreamMetadata = StreamMetadata()
    """What clients filter by."""


class Publish(Contract, name="callboard.streaming.publish"):
    """Publish an event to a channel; `ctx.publish` sends it to the hub."""

    channel: str
    event: StreamEvent
    key: str = ""
    """In a channel of kind `newest`: the name of the value that this event replaces."""


class Outbound(Contract, name="callboard.streaming.outbound"):
    """An event on its way to the hubs, encoded."""

    channel: str
    data: bytes
    """The event as JSON."""
    tags: dict[str, str] = Field(default_factory=dict)
    key: str = ""
    time_ms: int = 0
    user: str = ""
    """Who published it, if a client did."""
    client: str = ""
    """The id of that client."""


class PublishBatch(Contract, name="callboard.streaming.publish_batch"):
    """Events for one hub, in their order. Hubs offer this contract."""

    items: tuple[Outbound, ...]
    """The events, each with its channel."""


class LogLine(Contract, name="callboard.streaming.log_line"):
    """One line of a log, as the payload of an event in `logs:HOST` has it."""

    path: str
    """The path of the actor that logged it; empty for the host itself."""
    level: str
    """`debug`, `info`, `warning`, `error` or `critical`."""
    time: float
    """Seconds since 1970."""
    text: str
    """The message."""
    execution: str = ""
    """The id of the execution that it belongs to, if there is one."""


class RateLimitConfig(Contract, name="callboard.streaming.rate_limit"):
    """The most events that a subscription gets; the rest is counted, and the client is informed."""

    per_second: float = Field(gt=0.0)
    burst: int = Field(default=1, ge=1)
    """Events that may come at once."""


class AuthenticationInfo(Contract, name="callboard.streaming.authentication"):
    """Who subscribed, and until when the client is believed."""

    principal: Principal
    expires_at: float = Field(default=0.0, ge=0.0)
    """Seconds since 1970; 0 for never."""


class StreamSubscription(Contract, name="callboard.streaming.subscription"):
    """One client's subscription to one channel."""

    subscription_id: str
    client_id: str
    channel: str
    filters: tuple[StreamFilter, ...] = ()
    """All of them must hold."""
    rate_limit: RateLimitConfig | None = None
    authentication: AuthenticationInfo
