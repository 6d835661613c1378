"""Centrifugo's two codecs say the same, and what the protocol's own clients understand."""

import base64
import contextlib
import json
from dataclasses import asdict
from typing import Any

import pytest
from centrifuge.codecs import _JsonCodec, _ProtobufCodec  # type: ignore[import-untyped]
from centrifuge.protocol import client_pb2  # type: ignore[import-untyped]
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.streaming.messages import RateLimitConfig
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
from callboard.messages.control.filters import StreamFilter
from callboard.runtime.web.codecs.centrifugo_json import COMMANDS_MAX, CentrifugoJson
from callboard.runtime.web.codecs.centrifugo_protobuf import CentrifugoProtobuf
from callboard.runtime.web.codecs.fields import OVERSIZE
from callboard.runtime.web.codecs.payload import FRAME_BYTES_MAX, BadFrame
from callboard.runtime.web.codecs.schema import encode_varint, read_varint
from tests.thoroughness import examples

JSON = CentrifugoJson()
PROTOBUF = CentrifugoProtobuf()
CODECS = [pytest.param(JSON, id="json"), pytest.param(PROTOBUF, id="protobuf")]

numbers = st.integers(0, 2**53)
counts = st.integers(0, 2**31)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
channels = names.filter(bool)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
).filter(lambda value: value is not None)


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


payloads = values.map(compact)
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
        case _:
            return {SIMPLE[type(command)]: asdict(command)}


SIMPLE = {
    Unsubscribe: "unsubscribe",
    PublishCommand: "publish",
    PresenceQuery: "presence",
    PresenceStatsQuery: "presence_stats",
    Rpc: "rpc",
    Send: "send",
    Refresh: "refresh",
    SubRefresh: "sub_refresh",
}


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
        *[st.booleans()] * 4,
        st.none() | filters,
        st.none(),
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
    names,
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
    st.tuples(st.just(PresenceStatsQuery("a")), st.builds(PresenceStats, counts, counts)),
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


def for_protobuf(value: Any, name: str = "") -> Any:
    """A reply in JSON, in the form in which Protobuf's own reader takes JSON."""
    if name in {"data", "conn_info", "chan_info"}:
        return base64.b64encode(compact(value)).decode()
    if isinstance(value, dict):
        return {key: for_protobuf(part, key) for key, part in value.items()}
    return [for_protobuf(part) for part in value] if isinstance(value, list) else value


def read_with_protobuf(data: bytes) -> Any:
    length, at = read_varint(data, 0)
    assert len(data) == at + length
    return client_pb2.Reply.FromString(data[at:])


@given(replies, st.integers(1, 2**32 - 1))
@settings(max_examples=examples(400))
def test_a_reply_is_the_same_to_the_clients_readers(
    answer: tuple[Command, Reply | None], number: int
) -> None:
    command, reply = answer
    [seen] = _JsonCodec.decode_replies(JSON.reply(number, command, reply).decode())
    expected = ParseDict(for_protobuf(seen), client_pb2.Reply())
    assert expected.id == number
    assert read_with_protobuf(PROTOBUF.reply(number, command, reply)) == expected


@given(pushes)
@settings(max_examples=examples(400))
def test_a_push_is_the_same_to_the_clients_readers(push: Push) -> None:
    [seen] = _JsonCodec.decode_replies(JSON.push(push).decode())
    expected = ParseDict(for_protobuf(seen), client_pb2.Reply())
    assert read_with_protobuf(PROTOBUF.push(push)) == expected


@given(st.lists(pushes, min_size=1, max_size=5), st.booleans())
@settings(max_examples=examples(100))
def test_a_joined_frame_has_its_parts_in_order(found: list[Push], is_json: bool) -> None:
    if is_json:
        text = JSON.join([JSON.push(push) for push in found]).decode()
        assert _JsonCodec.decode_replies(text) == [json.loads(JSON.push(push)) for push in found]
    else:
        frame = PROTOBUF.join([PROTOBUF.push(push) for push in found])
        alone = [_ProtobufCodec.decode_replies(PROTOBUF.push(push))[0] for push in found]
        assert _ProtobufCodec.decode_replies(frame) == alone


@pytest.mark.parametrize("codec", CODECS)
def test_a_ping_is_an_empty_reply_and_a_pong_an_empty_command(codec: Any) -> None:
    assert codec.decode(codec.ping()) == [(0, None)]
    assert _JsonCodec.decode_replies(JSON.ping().decode()) == [{}]
    assert _ProtobufCodec.decode_replies(PROTOBUF.ping()) == [{}]


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.binary(max_size=200))
@settings(max_examples=examples(600))
def test_any_bytes_are_commands_or_refused(codec: Any, data: bytes) -> None:
    with contextlib.suppress(BadFrame):
        codec.decode(data)


@given(commands, st.data())
@settings(max_examples=examples(400))
def test_a_damaged_message_is_read_or_refused(command: Command, data: st.DataObject) -> None:
    for codec, sent in ((JSON, sent_as_json(1, command)), (PROTOBUF, sent_as_protobuf(1, command))):
        place = data.draw(st.integers(0, len(sent) - 1))
        damaged = sent[:place] + data.draw(st.binary(max_size=3)) + sent[place + 1 :]
        with contextlib.suppress(BadFrame):
            codec.decode(damaged)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(
        ["connect", "subscribe", "publish", "history", "rpc", "send", "refresh", "unsubscribe"]
    ),
    st.dictionaries(
        st.sampled_from(
            [
                "channel",
                "token",
                "data",
                "subs",
                "tf",
                "flag",
                "offset",
                "recover",
                "since",
                "limit",
            ]
        ),
        json_values,
        max_size=4,
    ),
)
@settings(max_examples=examples(600))
def test_fields_of_any_kind_are_read_or_refused(name: str, fields: dict[str, Any]) -> None:
    with contextlib.suppress(BadFrame):
        JSON.decode(json.dumps({"id": 1, name: fields}).encode())


NESTED = b'{"id":1,"rpc":{"data":' + b"[" * 1_000 + b"]" * 1_000 + b"}}"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\n\n",
        b"nonsense",
        b"[]",
        b"null",
        b'{"id":1}',
        b'{"id":0,"subscribe":{"channel":"a"}}',
        b'{"id":-1,"subscribe":{"channel":"a"}}',
        b'{"id":true,"subscribe":{"channel":"a"}}',
        b'{"id":4294967296,"subscribe":{"channel":"a"}}',
        b'{"id":1.0,"subscribe":{"channel":"a"}}',
        b'{"subscribe":{"channel":"a"}}',
        b'{"id":1,"subscribe":{}}',
        b'{"id":1,"subscribe":[]}',
        b'{"id":1,"subscribe":{"channel":5}}',
        b'{"id":1,"subscribe":{"channel":"\\ud800"}}',
        b'{"id":1,"unheard_of":{}}',
        b'{"unheard_of":{}}',
        b'{"id":1,"connect":{},"subscribe":{"channel":"a"}}',
        b'{"id":1,"rpc":{"data":NaN}}',
        b'{"id":1,"rpc":{"data":1e999}}',
        b'{"id":1,"rpc":{"data":' + b"9" * 5_000 + b"}}",
        b'{"id":1,"rpc":{"data":"\xff"}}',
        b'{"id":1,"history":{"channel":"a","limit":-2}}',
        b'{"id":1,"history":{"channel":"a","since":7}}',
        b'{"id":1,"subscribe":{"channel":"a","offset":99999999999999999999,"recover":true}}',
        b'{"id":1,"subscribe":{"channel":"a","tf":[]}}',
        b'{"id":1,"subscribe":{"channel":"a","data":{"rate_limit":{"per_second":-1}}}}',
        NESTED,
        b"[" * FRAME_BYTES_MAX,
        b"{}\n" * (COMMANDS_MAX + 1),
        b'"' + b"a" * FRAME_BYTES_MAX + b'"',
    ],
    ids=lambda frame: frame[:40].decode("latin-1"),
)
def test_a_wrong_json_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        JSON.decode(frame)


def message(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return encode_varint(len(body)) + body


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x05",
        b"\xff" * 11,
        message(b"\x08\x01"),
        message(b"\x08" + b"\xff" * 9 + b"\x02"),
        message(b"\x2a\x03\x0a\x01a"),
        message(b"\x08\x01\x2a\x00"),
        message(b"\x08\x01\x2a\x7f\x0a"),
        message(b"\x08\x01\x2a\x03\x0a\x01\xff"),
        message(b"\x08\x01\x2a\x02\x08\x01"),
        message(b"\x0b\x0c"),
        message(b"\x02\x00"),
        message(b"\x08\x01\x6a\x05\x0a\x03NaN"),
        bytes(COMMANDS_MAX + 1),
    ],
    ids=lambda frame: frame[:20].hex() or "empty",
)
def test_a_wrong_protobuf_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        PROTOBUF.decode(frame)


def test_unknown_fields_are_ignored() -> None:
    assert JSON.decode(b'{"id":1,"unsubscribe":{"channel":"a","x":[1]},"y":{}}') == [
        (1, Unsubscribe("a"))
    ]
    tail = b"\xf8\x06\x05" + b"\xfd\x06abcd" + b"\xf9\x06abcdefgh" + b"\xfa\x06\x02xy"
    frame = message(b"\x08\x01\x32\x03\x0a\x01a", tail)
    assert PROTOBUF.decode(frame) == [(1, Unsubscribe("a"))]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", ["wide", "deep", "values"])
def test_a_huge_filter_costs_its_client_the_subscription_only(codec: Any, shape: str) -> None:
    leaf = StreamFilter(key="a", cmp="in", vals=("b",) * (1_000 if shape == "values" else 1))
    condition = StreamFilter(op="or", nodes=(leaf,) * (1_000 if shape == "wide" else 1))
    for _ in range(20 if shape == "deep" else 0):
        condition = StreamFilter(op="not", nodes=(condition,))
    sent = sent_as_json if codec is JSON else sent_as_protobuf
    [(number, command)] = codec.decode(sent(1, Subscribe("a", filter=condition)))
    assert (number, command) == (1, Subscribe("a", filter=OVERSIZE))


def test_a_subscription_may_bring_its_rate_limit() -> None:
    data = b'{"rate_limit":{"per_second":5,"burst":10}}'
    frame = b'{"id":1,"subscribe":{"channel":"a","data":' + data + b"}}"
    expected = Subscribe("a", rate_limit=RateLimitConfig(per_second=5, burst=10), data=data)
    assert JSON.decode(frame) == [(1, expected)]


def test_a_line_break_in_a_payload_does_not_end_its_object() -> None:
    push = JSON.push(Publication("a", b'{\n "x":\r\n 1}'))
    assert b"\n" not in push
    assert json.loads(push)["push"]["pub"]["data"] == {"x": 1}
