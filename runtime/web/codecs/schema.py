"""The messages of Centrifugo's client protocol by their numbers, and how Protobuf writes them.

Source: the field numbers of Centrifugo's client protocol, and the Protocol Buffers encoding. Only
what the hub speaks is here: other fields of a client are skipped, as the encoding asks for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .fields import Fields, Raw
from .payload import BadFrame, parse

__all__ = ["decode_message", "encode_message", "encode_varint", "read_varint"]

VARINT: Final = 0
FIXED_64: Final = 1
LENGTH: Final = 2
FIXED_32: Final = 5
VARINT_BYTES_MAX: Final = 10
DEPTH_MAX: Final = 32
"""Messages within messages; a filter that is deeper than this is refused with its frame."""

SCHEMA_TEXT: Final = """
Command: id 1 number, connect 4 Connect, subscribe 5 Subscribe, unsubscribe 6 Channel,
  publish 7 Publish, presence 8 Channel, presence_stats 9 Channel, history 10 History,
  send 12 Send, rpc 13 Rpc, refresh 14 Refresh, sub_refresh 15 Refresh2
Connect: token 1 text, data 2 json, subs 3 {Subscribe}, name 4 text, version 5 text
Subscribe: channel 1 text, token 2 text, recover 3 flag, epoch 6 text, offset 7 number,
  data 8 json, positioned 9 flag, recoverable 10 flag, join_leave 11 flag, tf 13 Filter,
  flag 14 number, type 15 number
Filter: op 1 text, key 2 text, cmp 3 text, val 4 text, vals 5 [text], nodes 6 [Filter]
Channel: channel 1 text
Publish: channel 1 text, data 2 json
History: channel 1 text, limit 7 number, since 8 Position, reverse 9 flag
Position: offset 1 number, epoch 2 text
Send: data 1 json
Rpc: data 1 json, method 2 text
Refresh: token 1 text
Refresh2: channel 1 text, token 2 text
Reply: id 1 number, error 2 Error, push 4 Push, connect 5 Connected, subscribe 6 Subscribed,
  unsubscribe 7 Nothing, publish 8 Nothing, presence 9 Presence, presence_stats 10 Stats,
  history 11 Page, rpc 13 Result, refresh 14 Refreshed, sub_refresh 15 Refreshed2
Error: code 1 number, message 2 text, temporary 3 flag
Push: channel 2 text, pub 4 Publication, join 5 Member, leave 6 Member, unsubscribe 7 Left,
  message 8 Result, subscribe 9 Began
Began: recoverable 1 flag, epoch 4 text, offset 5 number, positioned 6 flag, data 7 json
Publication: data 4 json, info 5 Client, offset 6 number, tags 7 {text}, time 9 number, key 11 text
Client: user 1 text, client 2 text, conn_info 3 json, chan_info 4 json
Member: info 1 Client
Left: code 2 number, reason 3 text
Connected: client 1 text, version 2 text, expires 3 flag, ttl 4 number, data 5 json,
  subs 6 {Subscribed}, ping 7 number, pong 8 flag, time 11 number
Subscribed: expires 1 flag, ttl 2 number, recoverable 3 flag, epoch 6 text,
  publications 7 [Publication], recovered 8 flag, offset 9 number, positioned 10 flag,
  data 11 json, was_recovering 12 flag
Presence: presence 1 {Client}
Stats: num_clients 1 number, num_users 2 number
Page: publications 1 [Publication], epoch 2 text, offset 3 number
Result: data 1 json
Refreshed: expires 3 flag, ttl 4 number
Refreshed2: expires 1 flag, ttl 2 number
Nothing:
"""
"""Name, number and kind of each field; `[kind]` is a list, `{kind}` a map with texts as keys."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    number: int
    kind: str
    many: str
    """`[` for a list, `{` for a map."""


def _read_schema(text: str) -> dict[str, list[_Field]]:
    found: dict[str, list[_Field]] = {}
    for line in text.strip().replace("\n  ", " ").splitlines():
        name, _, rest = line.partition(":")
        found[name] = []
        for part in filter(None, rest.strip().split(", ")):
            field, number, kind = part.split()
            many = kind[0] if kind[0] in "[{" else ""
            found[name].append(_Field(field, int(number), kind.strip("[]{}"), many))
    return found


SCHEMA: Final[Mapping[str, list[_Field]]] = _read_schema(SCHEMA_TEXT)
BY_NUMBER: Final[Mapping[str, Mapping[int, _Field]]] = {
    name: {field.number: field for field in fields} for name, fields in SCHEMA.items()
}
BY_NAME: Final[Mapping[str, Mapping[str, _Field]]] = {
    name: {field.name: field for field in fields} for name, fields in SCHEMA.items()
}
KEY: Final = _Field("key", 1, "text", "")


# --- to bytes ----------------------------------------------------------------------------------


def encode_varint(number: int) -> bytes:
    """A number of up to 64 bits; a negative one as its two's complement."""
    number &= 2**64 - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def encode_message(name: str, fields: Fields) -> bytes:
    """The fields of a message of this name, in their order."""
    by_name = BY_NAME[name]
    parts: list[bytes] = []
    for field_name, value in fields.items():
        field = by_name[field_name]
        if field.many == "{":
            parts += (_entry(field, key, part) for key, part in value.items())
        elif field.many:
            parts += (_encode_field(field, part) for part in value)
        else:
            parts.append(_encode_field(field, value))
    return b"".join(parts)


def _entry(field: _Field, key: str, value: Any) -> bytes:
    entry = _encode_field(KEY, key) + _encode_field(_Field("", 2, field.kind, ""), value)
    return encode_varint(field.number << 3 | LENGTH) + encode_varint(len(entry)) + entry


def _encode_field(field: _Field, value: Any) -> bytes:
    match field.kind:
        case "number" | "flag":
            return encode_varint(field.number << 3 | VARINT) + encode_varint(int(value))
        case "text":
            data: bytes = value.encode("utf-8", "backslashreplace")
        case "json":
            data = value.data
        case message:
            data = encode_message(message, value)
    return encode_varint(field.number << 3 | LENGTH) + encode_varint(len(data)) + data


# --- from bytes --------------------------------------------------------------------------------


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at this place, and the place after it. Raises `BadFrame`."""
    number = 0
    for index, byte in enumerate(data[at : at + VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if number >= 2**64:
                break
            return number, at + index + 1
    raise BadFrame("A number has no end, or more than 64 bits.")


def decode_message(name: str, data: bytes, depth: int = 1) -> Fields:
    """The fields of a message of this name. Raises `BadFrame`."""
    if depth > DEPTH_MAX:
        raise BadFrame(f"A message nests deeper than {DEPTH_MAX} levels.")
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        field = BY_NUMBER[name].get(tag >> 3)
        value, at = _read_value(data, at, tag & 7)
        if not tag >> 3:
            raise BadFrame("A field has the number 0.")
        if field is None:
            continue
        decoded = _decode_field(field, value, depth)
        if field.many == "{":
            found.setdefault(field.name, {}).update(decoded)
        elif field.many:
            found.setdefault(field.name, []).append(decoded)
        else:
            found[field.name] = decoded
    return found


def _read_value(data: bytes, at: int, wire: int) -> tuple[int | bytes, int]:
    if wire == VARINT:
        return read_varint(data, at)
    if wire == LENGTH:
        length, at = read_varint(data, at)
    else:
        length = {FIXED_64: 8, FIXED_32: 4}.get(wire, len(data) + 1)
    if at + length > len(data):
        raise BadFrame("A field goes beyond the end of its message.")
    return data[at : at + length], at + length


def _decode_field(field: _Field, value: int | bytes, depth: int) -> Any:
    is_number = field.kind in {"number", "flag"} and not field.many
    if isinstance(value, int) != is_number:
        raise BadFrame(f"`{field.name}` is of another kind.")
    if isinstance(value, int):
        if field.kind == "flag":
            return bool(value)
        return value - 2**64 if value >= 2**63 else value
    if field.many == "{":
        return _decode_entry(field, value, depth)
    match field.kind:
        case "text":
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise BadFrame(f"`{field.name}` is not UTF-8.") from None
        case "json":
            return _json(value)
        case message:
            return decode_message(message, value, depth + 1)


def _decode_entry(field: _Field, data: bytes, depth: int) -> dict[str, Any]:
    key, part = "", b""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        value, at = _read_value(data, at, tag & 7)
        if tag >> 3 == 1:
            key = _decode_field(KEY, value, depth)
        elif tag >> 3 == 2 and isinstance(value, bytes):
            part = value
    return {key: _decode_field(_Field(field.name, 2, field.kind, ""), part, depth)}


def _json(data: bytes) -> Raw | None:
    """A payload, unchanged; the hub takes JSON only, from clients of this codec as well."""
    if not data:
        return None
    parse(data)
    return Raw(data)
