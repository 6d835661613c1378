"""Centrifugo's two codecs say the same, and what the protocol's own clients understand."""

import json
from typing import Any

import pytest
from centrifuge.codecs import _JsonCodec, _ProtobufCodec
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.streaming.messages import StreamFilter
from callboard.actors.streaming.protocol import (
    Client,
    Command,
    Connect,
    Connected,
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
from callboard.runtime.web.codecs.centrifugo_json import CentrifugoJson
from callboard.runtime.web.codecs.centrifugo_protobuf import CentrifugoProtobuf
from tests.thoroughness import examples

JSON = CentrifugoJson()
PROTOBUF = CentrifugoProtobuf()
CODECS = [pytest.param(JSON, id="json"), pytest.param(PROTOBUF, id="protobuf")]

numbers = st.integers(0, 2**53)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
channels = names.filter(bool)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
).filter(lambda value: value is not None and value not in (float("inf"), float("-inf")))


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def is_json(text: str) -> bool:
    return "Infinity" not in text


payloads = values.map(compact).filter(lambda data: is_json(data.decode()))
positions = st.builds(Position, numbers, names)
filters = st.recursive(
    st.builds(
        StreamFilter,
        key=names,
        cmp=st.sampled_from(["eq", "in", "gt", "nonsense"]),
        val=names,
        vals=st.lists(names, max_size=3).map(tuple),
    ),
    lambda inner: st.builds(
        StreamFilter, op=st.sampled_from(["and", "or", "not"]), nodes=st.lists(inner).map(tuple)
    ),
    max_leaves=5,
)


def fields_of(command: Command) -> dict[str, Any]:
    """What a client would send: written here by hand, not by the code under test."""
    match command:
        case Connect():
            return {
                "connect": {
                    "token": command.token,
                    "data": command.data,
                    "name": command.name,
                    "version": command.version,
                    "subs": {
                        channel: {"recover": True, "offset": at.offset, "epoch": at.epoch}
                        if at
                        else {}
                        for channel, at in command.subs.items()
                    },
                    "headers": {"x": "y"},
                    "flag": 3,
                }
            }
        case Subscribe():
            at = command.recover
            recovery = {"recover": True, "offset": at.offset, "epoch": at.epoch} if at else {}
            return {
                "subscribe": {
                    "channel": command.channel,
                    "token": command.token,
                    **recovery,
                    "data": command.data,
                    "positioned": command.positioned,
                    "recoverable": command.recoverable,
                    "join_leave": command.join_leave,
                    "flag": 3 if command.refuses_gap else 1,
                    "delta": "fossil",
                    **({"tf": filter_fields(command.filter)} if command.filter else {}),
                }
            }
        case HistoryQuery():
            since = command.since
            place = {"since": {"offset": since.offset, "epoch": since.epoch}} if since else {}
            return {
                "history": {
                    "channel": command.channel,
                    "limit": command.limit,
                    "reverse": command.reverse,
                    **place,
                }
            }
        case Unsubscribe():
            return {"unsubscribe": {"channel": command.channel}}
        case PublishCommand():
            return {"publish": {"channel": command.channel, "data": command.data}}
        case PresenceQuery():
            return {"presence": {"channel": command.channel}}
        case PresenceStatsQuery():
            return {"presence_stats": {"channel": command.channel}}
        case Rpc():
            return {"rpc": {"method": command.method, "data": command.data}}
        case Send():
            return {"send": {"data": command.data}}
        case Refresh():
            return {"refresh": {"token": command.token}}
        case SubRefresh():
            return {"sub_refresh": {"channel": command.channel, "token": command.token}}


def filter_fields(condition: StreamFilter) -> dict[str, Any]:
    return {
        "op": condition.op,
        "key": condition.key,
        "cmp": condition.cmp,
        "val": condition.val,
        "vals": list(condition.vals),
        "nodes": [filter_fields(node) for node in condition.nodes],
    }


def sent_as_json(number: int, command: Command) -> bytes:
    fields = {"id": number, **fields_of(command)}
    return compact(_replace_bytes(fields, lambda data: json.loads(data) if data else None))


def sent_as_protobuf(number: int, command: Command) -> bytes:
    import base64

    fields = {"id": number, **fields_of(command)}
    encoded: bytes = _ProtobufCodec.encode_commands(
        [_replace_bytes(fields, lambda data: base64.b64encode(data).decode())]
    )
    return encoded


def _replace_bytes(value: Any, by: Any) -> Any:
    if isinstance(value, bytes):
        return by(value)
    if isinstance(value, dict):
        return {name: _replace_bytes(part, by) for name, part in value.items()}
    return value


commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        Connect,
        names,
        payloads,
        names,
        names,
        st.dictionaries(channels, positions | st.none(), max_size=2),
    ),
    st.builds(
        Subscribe,
        channels,
        names,
        positions | st.none(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.none() | filters,
        payloads,
    ),
    st.builds(HistoryQuery, channels, st.integers(-1, 2**31 - 1), st.none() | positions),
    st.builds(PublishCommand, channels, payloads),
    st.builds(Unsubscribe, channels),
    st.builds(PresenceQuery, channels),
    st.builds(PresenceStatsQuery, channels),
    st.builds(Rpc, names, payloads),
    st.builds(Send, payloads),
    st.builds(Refresh, names),
    st.builds(SubRefresh, channels, names),
)


@given(commands, st.integers(1, 2**32 - 1))
@settings(max_examples=examples(400))
def test_a_command_means_the_same_in_both_codecs(command: Command, number: int) -> None:
    from_json = JSON.decode(sent_as_json(number, command))
    from_protobuf = PROTOBUF.decode(sent_as_protobuf(number, command))
    assert from_json == from_protobuf == [(number, command)]


clients = st.builds(Client, names, names, payloads, payloads)
publications = st.builds(
    Publication,
    channels,
    payloads,
    numbers,
    st.dictionaries(names, names, max_size=3),
    numbers,
    st.none() | clients,
)
subscribed = st.builds(
    Subscribed,
    st.booleans(),
    st.booleans(),
    st.none() | positions,
    st.booleans(),
    st.booleans(),
    st.lists(publications, max_size=3).map(tuple),
    st.none() | st.integers(0, 2**31),
    payloads,
)
replies: st.SearchStrategy[tuple[Command, Reply | None]] = st.one_of(
    st.tuples(
        st.just(Connect()),
        st.builds(
            Connected,
            names,
            names,
            st.none() | st.integers(0, 2**31),
            st.integers(0, 100),
            st.booleans(),
            payloads,
            st.dictionaries(channels, subscribed, max_size=2),
            numbers,
        ),
    ),
    st.tuples(st.just(Subscribe("a")), subscribed),
    st.tuples(st.just(Unsubscribe("a")), st.just(Unsubscribed())),
    st.tuples(st.just(PublishCommand("a", b"1")), st.none()),
    st.tuples(
        st.just(PresenceQuery("a")),
        st.builds(Presence, st.dictionaries(names, clients, max_size=3)),
    ),
    st.tuples(st.just(PresenceStatsQuery("a")), st.builds(PresenceStats, numbers, numbers)),
    st.tuples(
        st.just(HistoryQuery("a")),
        st.builds(HistoryPage, st.lists(publications, max_size=3).map(tuple), positions),
    ),
    st.tuples(st.just(Rpc("m")), st.builds(RpcResult, payloads)),
    st.tuples(st.just(Refresh("t")), st.builds(Refreshed, st.none() | st.integers(0, 2**31))),
    st.tuples(
        st.just(SubRefresh("a", "t")), st.builds(Refreshed, st.none() | st.integers(0, 2**31))
    ),
    st.tuples(
        st.just(Subscribe("a")),
        st.builds(Failed, st.integers(100, 1999), names, st.booleans()),
    ),
)
pushes: st.SearchStrategy[Push] = st.one_of(
    publications,
    st.builds(Join, channels, clients),
    st.builds(Leave, channels, clients),
    st.builds(Message, payloads),
    st.builds(Unsubscribed, channels, st.integers(2000, 2600), names),
)


def as_seen_by_protobuf(value: Any, name: str = "") -> Any:
    """A reply in JSON, in the form in which Protobuf's own reader shows the same reply."""
    import base64

    if name in {"data", "conn_info", "chan_info"}:
        return base64.b64encode(compact(value)).decode()
    if isinstance(value, dict):
        shown = {key: as_seen_by_protobuf(part, key) for key, part in value.items()}
        return {key: part for key, part in shown.items() if part not in (0, "", False, [], None)}
    if isinstance(value, list):
        return [as_seen_by_protobuf(part) for part in value]
    if name in {"offset", "time"}:
        return str(value) if value else None
    return value


def without_numbers_as_texts(value: Any, name: str = "") -> Any:
    """Maps may be empty in one reader and absent in the other."""
    if isinstance(value, dict):
        return {
            key: without_numbers_as_texts(part, key)
            for key, part in value.items()
            if part not in ({}, [])
            or key in {"publish", "unsubscribe", "refresh", "sub_refresh", "subscribe"}
        }
    if isinstance(value, list):
        return [without_numbers_as_texts(part) for part in value]
    return value


@given(replies, st.integers(1, 2**32 - 1))
@settings(max_examples=examples(400))
def test_a_reply_is_the_same_to_the_clients_readers(
    answer: tuple[Command, Reply | None], number: int
) -> None:
    command, reply = answer
    [seen] = _JsonCodec.decode_replies(JSON.encode_reply(number, command, reply).decode())
    [also] = _ProtobufCodec.decode_replies(PROTOBUF.encode_reply(number, command, reply))
    assert without_numbers_as_texts(as_seen_by_protobuf(seen)) == without_numbers_as_texts(also)
