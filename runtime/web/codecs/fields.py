"""Centrifugo's client protocol as plain fields, before they are JSON or Protobuf.

    {"id": 1, "subscribe": {"channel": "events", "recover": True, "offset": 7, "epoch": "a"}}

The names are those of the protocol, so JSON needs nothing else; `schema.py` has their numbers.
A payload is `Raw`: bytes of JSON that are written as they are. What a client left out is absent,
and what we leave out is empty, as the protocol's clients do.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias, assert_never

from pydantic import ValidationError

from callboard.actors.streaming.messages import RateLimitConfig
from callboard.actors.streaming.protocol import (
    Began,
    Client,
    Command,
    Connect,
    Connected,
    Dropped,
    Failed,
    HistoryPage,
    HistoryQuery,
    Join,
    Leave,
    Message,
    Position,
    Presence,
    PresenceQuery,
    PresenceStats,
    PresenceStatsQuery,
    Publication,
    PublishCommand,
    Push,
    Refresh,
    Refreshed,
    Reply,
    Rpc,
    RpcResult,
    Send,
    SubRefresh,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
)
from callboard.messages.control.filters import StreamFilter

from .payload import BadFrame, dump, is_text, parse

__all__ = [
    "Fields",
    "Raw",
    "command_of",
    "fields_of_push",
    "fields_of_reply",
    "filter_of",
    "rate_limit_of",
]

Fields: TypeAlias = Mapping[str, Any]

ID_MAX: Final = 2**32 - 1
NUMBER_MAX: Final = 2**63 - 1
REJECTS_GAP: Final = 2
"""The flag of a subscription that wants an error, and not `recovered: false`."""
FILTER_DEPTH_MAX: Final = 16
FILTER_PARTS_MAX: Final = 256
"""Conditions and values of a filter that are read; the hub allows fewer."""
OVERSIZE: Final = StreamFilter(op="too large")
"""Stands for a filter that was not read: the hub refuses its operation, and the client goes on."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes of JSON, which a codec copies."""

    data: bytes


# --- from fields -------------------------------------------------------------------------------


def command_of(fields: Any) -> tuple[int, Command | None]:
    """The number of a command and the command; 0 and None for a pong. Raises `BadFrame`."""
    if not isinstance(fields, Mapping):
        raise BadFrame("A command is not an object.")
    number = _number(fields, "id", ID_MAX)
    found = [name for name in fields if name in READERS]
    if not found:
        if number or any(name != "id" for name in fields):
            raise BadFrame("A command has no name that the protocol knows.")
        return 0, None
    if len(found) > 1:
        raise BadFrame("A command has two names.")
    [name] = found
    if not number and name != "send":
        raise BadFrame("A command has no number.")
    request = fields[name]
    if not isinstance(request, Mapping):
        raise BadFrame("The fields of a command are not an object.")
    return number, READERS[name](request)


def _connect(fields: Fields) -> Connect:
    subs = fields.get("subs") or {}
    if not isinstance(subs, Mapping):
        raise BadFrame("`subs` is not an object.")
    return Connect(
        token=_text(fields, "token"),
        data=_raw(fields, "data"),
        name=_text(fields, "name"),
        version=_text(fields, "version"),
        subs={
            _channel({"channel": channel}): _recovery(_object(subs, channel)) for channel in subs
        },
    )


def _subscribe(fields: Fields) -> Subscribe:
    return Subscribe(
        channel=_channel(fields),
        token=_text(fields, "token"),
        recover=_recovery(fields),
        refuses_gap=bool(_number(fields, "flag", NUMBER_MAX) & REJECTS_GAP),
        positioned=_flag(fields, "positioned"),
        recoverable=_flag(fields, "recoverable"),
        join_leave=_flag(fields, "join_leave"),
        filter=filter_of(fields["tf"]) if fields.get("tf") is not None else None,
        rate_limit=_rate_limit(_raw(fields, "data")),
        data=_raw(fields, "data"),
        is_other_type=_number(fields, "type", NUMBER_MAX) > 0,
    )


def _rate_limit(data: bytes) -> RateLimitConfig | None:
    """Our own part of a subscription: `{"rate_limit": {"per_second": 5, "burst": 10}}`."""
    asked = parse(data) if b'"rate_limit"' in data else None
    return rate_limit_of(asked.get("rate_limit")) if isinstance(asked, Mapping) else None


def rate_limit_of(fields: Any) -> RateLimitConfig | None:
    """A rate limit in the protocol's form; None for none. Raises `BadFrame`."""
    if fields is None:
        return None
    try:
        return RateLimitConfig.model_validate(fields, strict=True)
    except ValidationError:
        raise BadFrame("A rate limit needs `per_second`, a number above 0, and `burst`.") from None


def _history(fields: Fields) -> HistoryQuery:
    since = fields.get("since")
    return HistoryQuery(
        channel=_channel(fields),
        limit=_number(fields, "limit", NUMBER_MAX, least=-1),
        since=None if since is None else _position(_object(fields, "since")),
        reverse=_flag(fields, "reverse"),
    )


READERS: Final[Mapping[str, Callable[[Fields], Command]]] = {
    "connect": _connect,
    "subscribe": _subscribe,
    "unsubscribe": lambda fields: Unsubscribe(_channel(fields)),
    "publish": lambda fields: PublishCommand(_channel(fields), _raw(fields, "data")),
    "presence": lambda fields: PresenceQuery(_channel(fields)),
    "presence_stats": lambda fields: PresenceStatsQuery(_channel(fields)),
    "history": _history,
    "rpc": lambda fields: Rpc(_text(fields, "method"), _raw(fields, "data")),
    "send": lambda fields: Send(_raw(fields, "data")),
    "refresh": lambda fields: Refresh(_text(fields, "token")),
    "sub_refresh": lambda fields: SubRefresh(_channel(fields), _text(fields, "token")),
}


def filter_of(fields: Any) -> StreamFilter:
    """A filter in the protocol's form; one with too many parts becomes one that no hub takes."""
    parts_left = [FILTER_PARTS_MAX]

    def read(part: Any, depth: int) -> StreamFilter:
        if not isinstance(part, Mapping):
            raise BadFrame("A condition of a filter is not an object.")
        nodes, values = _list(part, "nodes"), _list(part, "vals")
        if not all(map(is_text, values)):
            raise BadFrame("A value of a filter is not a text.")
        parts_left[0] -= 1 + len(values)
        if depth > FILTER_DEPTH_MAX or parts_left[0] < len(nodes):
            return OVERSIZE
        found = tuple(read(node, depth + 1) for node in nodes)
        if OVERSIZE in found:
            return OVERSIZE
        return StreamFilter(
            op=_text(part, "op"),
            nodes=found,
            key=_text(part, "key"),
            cmp=_text(part, "cmp"),
            val=_text(part, "val"),
            vals=tuple(values),
        )

    return read(fields, 1)


def _recovery(fields: Fields) -> Position | None:
    return _position(fields) if _flag(fields, "recover") else None


def _position(fields: Fields) -> Position:
    return Position(_number(fields, "offset", NUMBER_MAX), _text(fields, "epoch"))


def _channel(fields: Fields) -> str:
    channel = _text(fields, "channel")
    if not channel:
        raise BadFrame("A command names no channel.")
    return channel


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not is_text(value):
        raise BadFrame(f"`{name}` is not a text.")
    return str(value)


def _number(fields: Fields, name: str, most: int, *, least: int = 0) -> int:
    value = fields.get(name)
    if value is None:
        return 0
    if type(value) is not int or not least <= value <= most:
        raise BadFrame(f"`{name}` is not a number from {least} to {most}.")
    return value


def _flag(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadFrame(f"`{name}` is neither true nor false.")
    return bool(value)


def _raw(fields: Fields, name: str) -> bytes:
    value = fields.get(name)
    if value is not None and not isinstance(value, Raw):
        raise BadFrame(f"`{name}` is not JSON.")
    return b"" if value is None else value.data


def _object(fields: Fields, name: str) -> Fields:
    value = fields[name]
    if not isinstance(value, Mapping):
        raise BadFrame("A part of a command is not an object.")
    return value


def _list(fields: Fields, name: str) -> list[Any]:
    value = fields.get(name)
    if value is not None and not isinstance(value, list):
        raise BadFrame(f"`{name}` is not a list.")
    return value or []


# --- to fields ---------------------------------------------------------------------------------


def fields_of_reply(number: int, command: Command, reply: Reply | None) -> Fields:
    """The answer to a command. None is the empty result of those that return nothing."""
    if isinstance(reply, Failed):
        error = {"code": reply.code, "message": reply.message, "temporary": reply.temporary}
        return {"id": number, "error": _present(error)}
    return {"id": number, NAMES[type(command)]: _result(reply)}


NAMES: Final[Mapping[type[Any], str]] = {
    Connect: "connect",
    Subscribe: "subscribe",
    Unsubscribe: "unsubscribe",
    PublishCommand: "publish",
    PresenceQuery: "presence",
    PresenceStatsQuery: "presence_stats",
    HistoryQuery: "history",
    Rpc: "rpc",
    Send: "send",
    Refresh: "refresh",
    SubRefresh: "sub_refresh",
}


def _result(reply: Connected | Subscribed | Unsubscribed | Presence | Any) -> Fields:
    match reply:
        case Connected():
            return _connected(reply)
        case Subscribed():
            return _subscribed(reply)
        case Presence():
            found = {client: _client(info) for client, info in reply.clients.items()}
            return {"presence": found}
        case PresenceStats():
            return {"num_clients": reply.num_clients, "num_users": reply.num_users}
        case HistoryPage():
            pages = [_publication(publication) for publication in reply.publications]
            return {"publications": pages, **_present(_place(reply.position))}
        case RpcResult():
            return _present({"data": reply.data})
        case Refreshed():
            return _present(_expiry(reply.expires_ttl_s))
        case _:
            return {}


def _connected(reply: Connected) -> Fields:
    return _present(
        {
            "client": reply.client,
            "version": reply.version,
            **_expiry(reply.expires_ttl_s),
            "data": reply.data,
            "subs": {channel: _subscribed(sub) for channel, sub in reply.subs.items()},
            "ping": reply.ping_s,
            "pong": reply.wants_pong,
            "time": reply.time_ms,
        }
    )


def _subscribed(reply: Subscribed) -> Fields:
    return _present(
        {
            **_expiry(reply.expires_ttl_s),
            "recoverable": reply.recoverable,
            "positioned": reply.positioned,
            **({} if reply.position is None else _place(reply.position)),
            "publications": [_publication(publication) for publication in reply.publications],
            "was_recovering": reply.was_recovering,
            "recovered": reply.recovered,
            "data": reply.data,
        }
    )


def _began(subscribed: Subscribed) -> Fields:
    names = ("recoverable", "epoch", "offset", "positioned", "data")
    return {name: value for name, value in _subscribed(subscribed).items() if name in names}


def fields_of_push(push: Push) -> Fields:
    """A push, as the protocol has it."""
    match push:
        case Publication():
            body: Fields = {"channel": push.channel, "pub": _publication(push)}
        case Began():
            body = {"channel": push.channel, "subscribe": _began(push.subscribed)}
        case Join():
            body = {"channel": push.channel, "join": {"info": _client(push.client)}}
        case Leave():
            body = {"channel": push.channel, "leave": {"info": _client(push.client)}}
        case Message():
            body = {"message": {"data": Raw(push.data)}}
        case Dropped():
            body = {"message": {"data": Raw(dump({"dropped": asdict(push)}))}}
        case Unsubscribed():
            left = _present({"code": push.code, "reason": push.reason})
            body = {"channel": push.channel, "unsubscribe": left}
        case _:
            assert_never(push)
    return {"push": body}


def _publication(publication: Publication) -> Fields:
    info = publication.info
    return _present(
        {
            "data": publication.data,
            "offset": publication.offset,
            "tags": dict(publication.tags),
            "info": None if info is None else _client(info),
            "time": publication.time_ms,
            "key": publication.key,
        }
    )


def _client(client: Client) -> Fields:
    return _present(
        {
            "user": client.user,
            "client": client.client,
            "conn_info": client.conn_info,
            "chan_info": client.chan_info,
        }
    )


def _place(position: Position) -> dict[str, Any]:
    return {"epoch": position.epoch, "offset": position.offset}


def _expiry(ttl_s: int | None) -> dict[str, Any]:
    return {} if ttl_s is None else {"expires": True, "ttl": ttl_s}


def _present(fields: dict[str, Any]) -> Fields:
    """Without what is empty; bytes become `Raw`."""
    return {
        name: Raw(value) if isinstance(value, bytes) else value
        for name, value in fields.items()
        if value
    }
