"""The plain JSON of the data-flow document: one object a frame, for clients without any library.

    > {"type": "authenticate", "token": "…", "after": {"news": "epoch:7"}}
    < {"type": "connection_established", "clientId": "…", "timestamp": 1767225600.0}
    < {"type": "subscribed", "subscriptionId": "news", "byServer": true, "position": "epoch:7"}
    > {"type": "subscribe", "subscriptionId": "s1", "channel": "events", "filters": [],
       "rateLimit": {"perSecond": 5, "burst": 10}, "after": "epoch:12"}
    < {"type": "subscribed", "subscriptionId": "s1", "recovered": true, "position": "epoch:12"}
    < {"type": "stream_event", "subscriptionId": "s1", "position": "epoch:13", "event": {…}}
    < {"type": "dropped", "subscriptionId": "s1", "count": 3, "from": 14, "to": 16}
    > {"type": "unsubscribe", "subscriptionId": "s1"}

A subscription is one channel, `events` unless it says otherwise, and all of its filters must hold;
a filter has the form of Centrifugo's. A channel has one subscription on a connection. Those of the
server, which the token brings, have the names of their channels; `after` of `authenticate` says
where the client was in them. A command may have an `id`, a number, which its answer repeats.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from callboard.actors.streaming.messages import RateLimitConfig
from callboard.actors.streaming.protocol import (
    Began,
    Command,
    Connect,
    Connected,
    Dropped,
    Failed,
    Message,
    Position,
    Publication,
    Push,
    Reply,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
)
from callboard.messages.control.filters import StreamFilter

from .fields import filter_of, rate_limit_of
from .payload import BadFrame, is_text, one_line, parse

__all__ = ["DEFAULT_CHANNEL", "PlainJson", "position_of", "text_of"]

DEFAULT_CHANNEL: Final = "events"
SUBSCRIPTION_CHARS_MAX: Final = 128
SUBSCRIPTIONS_MAX: Final = 512
"""Names of subscriptions that one connection may have: more than the hub gives it channels."""
OFFSET_MAX: Final = 2**63 - 1


def position_of(text: str) -> Position:
    """The position in a text such as `epoch:12`. Raises `BadFrame`."""
    epoch, _, offset = text.rpartition(":")
    if not (offset.isascii() and offset.isdigit() and len(offset) < 20):
        raise BadFrame("A position is not `epoch:offset`.")
    if int(offset) > OFFSET_MAX:
        raise BadFrame("An offset has more than 63 bits.")
    return Position(int(offset), epoch)


def text_of(position: Position) -> str:
    """A position as one text, which `position_of` reads."""
    return f"{position.epoch}:{position.offset}"


class PlainJson:
    """The codec of one connection: it keeps which subscription is on which channel."""

    name: Final = "plain"
    is_shared: Final = False
    is_text: Final = True
    answers_pings: Final = False

    def __init__(self) -> None:
        self._channels: Final[dict[str, str]] = {}
        """The channels of subscriptions, by their ids."""
        self._ids: Final[dict[str, str]] = {}
        """The same the other way round."""

    def decode(self, frame: bytes) -> list[tuple[int, Command | None]]:
        """The command of a frame. Raises `BadFrame`."""
        fields = parse(frame)
        if not isinstance(fields, Mapping):
            raise BadFrame("A message is not an object.")
        number = fields.get("id", 0)
        if type(number) is not int or not 0 <= number <= OFFSET_MAX:
            raise BadFrame("`id` is not a number.")
        match fields.get("type"):
            case "authenticate":
                return [(number, Connect(token=_text(fields, "token"), subs=_subs(fields)))]
            case "subscribe":
                return [(number, self._subscribe(fields))]
            case "unsubscribe":
                subscription = _text(fields, "subscriptionId")
                return [(number, Unsubscribe(self._channels.get(subscription, subscription)))]
            case _:
                raise BadFrame("`type` is not `authenticate`, `subscribe` or `unsubscribe`.")

    def _subscribe(self, fields: Mapping[str, Any]) -> Subscribe:
        channel = _text(fields, "channel") or DEFAULT_CHANNEL
        subscription = _text(fields, "subscriptionId") or channel
        if len(subscription) > SUBSCRIPTION_CHARS_MAX or len(self._ids) >= SUBSCRIPTIONS_MAX:
            raise BadFrame("A subscription has too long a name, or the connection too many.")
        if channel not in self._ids and subscription not in self._channels:
            self._ids[channel], self._channels[subscription] = subscription, channel
        after = _text(fields, "after")
        return Subscribe(
            channel=channel,
            recover=position_of(after) if after else None,
            filter=_filter(fields.get("filters")),
            rate_limit=_rate_limit(fields.get("rateLimit")),
        )

    def reply(self, number: int, command: Command, reply: Reply | None) -> bytes:
        """The answer to a command, and after it the publications that it brings."""
        head: dict[str, Any] = {"id": number} if number else {}
        if isinstance(command, Subscribe | Unsubscribe):
            head["subscriptionId"] = self._ids.get(command.channel, command.channel)
        match reply:
            case Failed():
                if isinstance(command, Subscribe) and reply.code != ALREADY:
                    self._forget(command.channel)
                return _object("error", head, code=reply.code, message=reply.message)
            case Connected():
                at = reply.time_ms / 1000
                begun = _object("connection_established", head, clientId=reply.client, timestamp=at)
                return self.join([begun, *(self._began(*each) for each in reply.subs.items())])
            case Subscribed() if isinstance(command, Subscribe):
                return self._subscribed(head, reply)
            case Unsubscribed() if isinstance(command, Unsubscribe):
                self._forget(command.channel)
                return _object("unsubscribed", head)
            case _:
                return _object("done", head)

    def _began(self, channel: str, subscribed: Subscribed) -> bytes:
        """A subscription of the server, under the name of its channel."""
        if channel not in self._ids:
            name = channel
            while name in self._channels:  # The client uses the name for another channel.
                name += "'"
            self._ids[channel], self._channels[name] = name, channel
        head = {"subscriptionId": self._ids[channel], "channel": channel, "byServer": True}
        return self._subscribed(head, subscribed)

    def _subscribed(self, head: dict[str, Any], reply: Subscribed) -> bytes:
        more: dict[str, Any] = {}
        if reply.position is not None:
            more["position"] = text_of(reply.position)
        if reply.was_recovering:
            more["recovered"] = reply.recovered
        begun = _object("subscribed", head, **more)
        if reply.data:
            begun = begun[:-1] + b',"snapshot":' + one_line(reply.data) + b"}"
        return self.join([begun, *map(self.push, reply.publications)])

    def push(self, push: Push) -> bytes:
        """A push, as one object."""
        if isinstance(push, Publication):
            return self._event(push)
        if isinstance(push, Began):
            return self._began(push.channel, push.subscribed)
        if isinstance(push, Message):
            return b'{"type":"message","data":' + one_line(push.data) + b"}"
        head: dict[str, Any] = {"subscriptionId": self._ids.get(push.channel, push.channel)}
        match push:
            case Dropped():
                more = {"from": push.first, "to": push.last, "reason": push.reason}
                return _object("dropped", head, count=push.count, **more)
            case Unsubscribed():
                self._forget(push.channel)
                return _object("unsubscribed", head, code=push.code, reason=push.reason)
            case joined_or_left:
                kind = type(joined_or_left).__name__.lower()
                return _object(kind, head, clientId=joined_or_left.client.client)

    def _event(self, publication: Publication) -> bytes:
        head: dict[str, Any] = {
            "subscriptionId": self._ids.get(publication.channel, publication.channel)
        }
        if publication.offset:
            head["position"] = text_of(Position(publication.offset, publication.epoch))
        begun = _object("stream_event", head, timestamp=publication.time_ms / 1000)
        return begun[:-1] + b',"event":' + one_line(publication.data) + b"}"

    def _forget(self, channel: str) -> None:
        self._channels.pop(self._ids.pop(channel, ""), None)

    def ping(self) -> bytes:
        """Nothing: clients of this codec answer the pings of the WebSocket itself."""
        return b""

    def join(self, parts: Sequence[bytes]) -> bytes:
        """Objects joined by line breaks; the server sends each line as a frame of its own."""
        return b"\n".join(parts)


ALREADY: Final = 105


def _object(kind: str, head: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"type": kind, **head, **more}, separators=(",", ":")).encode()


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not is_text(value):
        raise BadFrame(f"`{name}` is not a text.")
    return str(value)


def _subs(fields: Mapping[str, Any]) -> dict[str, Position | None]:
    after = fields.get("after") or {}
    if not isinstance(after, Mapping) or len(after) > SUBSCRIPTIONS_MAX:
        raise BadFrame("`after` is not an object of channels and positions.")
    return {str(channel): position_of(_text(after, channel)) for channel in after}


def _filter(found: Any) -> StreamFilter | None:
    if found is None or found == []:
        return None
    if not isinstance(found, list):
        raise BadFrame("`filters` is not a list.")
    return filter_of({"op": "and", "nodes": found})


def _rate_limit(found: Any) -> RateLimitConfig | None:
    if not isinstance(found, Mapping):
        return rate_limit_of(found)
    return rate_limit_of(
        {{"perSecond": "per_second"}.get(str(name), name): part for name, part in found.items()}
    )
