"""Extension types: the encoding of plain Python values that msgpack does not know.

The decoders run on bytes from outside and may raise anything; the codec makes an
`InvalidMessage` of it.
"""

import datetime as dt
import enum
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgpack

__all__ = ["DECODERS", "ENCODERS", "Ext", "pack_plain"]


class Ext(enum.IntEnum):
    """Extension types on the wire. Never reuse a number."""

    DATETIME = 1
    DATE = 2
    TIME = 3
    TIMEDELTA = 4
    UUID = 5
    DECIMAL = 6
    BIG_INT = 7
    CONTRACT = 8
    ARRAY = 9
    EXTERNAL = 10
    COMPLEX = 11


FOLD: Final = b"~"
"""Marks the second of two equal local times (`fold=1`), which ISO 8601 cannot express."""

DECIMAL_EXPONENT_MAX: Final = 6_144
"""The exponent of decimal128, beyond the digits that are written out. Without a limit, twelve
bytes could name a number whose conversion to an integer takes seconds."""


def pack_plain(value: Any) -> bytes:
    """The bytes of a value that msgpack knows."""
    packed: bytes = msgpack.packb(value)
    return packed


def _timedelta_parts(value: dt.timedelta) -> bytes:
    return pack_plain((value.days, value.seconds, value.microseconds))


def _iso(value: dt.datetime | dt.time) -> bytes:
    text = value.isoformat().encode()
    return text + FOLD if value.fold else text


def _datetime(data: bytes) -> dt.datetime:
    if data.endswith(FOLD):
        return dt.datetime.fromisoformat(data[:-1].decode()).replace(fold=1)
    return dt.datetime.fromisoformat(data.decode())


def _time(data: bytes) -> dt.time:
    if data.endswith(FOLD):
        return dt.time.fromisoformat(data[:-1].decode()).replace(fold=1)
    return dt.time.fromisoformat(data.decode())


def _in_range(value: Decimal, digits: int) -> Decimal:
    if value.is_finite() and abs(value.adjusted()) > DECIMAL_EXPONENT_MAX + digits:
        raise ValueError(f"the exponent of a Decimal is over {DECIMAL_EXPONENT_MAX}")
    return value


def _decimal_text(value: Decimal) -> bytes:
    text = str(value).encode()
    _in_range(value, len(text))
    return text


def _extension(code: Ext, text: Callable[[Any], bytes]) -> Callable[[Any], msgpack.ExtType]:
    return lambda value: msgpack.ExtType(code, text(value))


ENCODERS: Final[dict[type, Callable[[Any], Any]]] = {
    dt.datetime: _extension(Ext.DATETIME, _iso),
    dt.date: _extension(Ext.DATE, lambda value: value.isoformat().encode()),
    dt.time: _extension(Ext.TIME, _iso),
    dt.timedelta: _extension(Ext.TIMEDELTA, _timedelta_parts),
    uuid.UUID: _extension(Ext.UUID, lambda value: value.bytes),
    Decimal: _extension(Ext.DECIMAL, _decimal_text),
    complex: _extension(Ext.COMPLEX, lambda value: pack_plain((value.real, value.imag))),
    int: _extension(Ext.BIG_INT, lambda value: f"{value:x}".encode()),
    set: list,
    frozenset: list,
}
# The order matters for subclasses: a datetime is a date too, so it comes first.

DECODERS: Final[dict[int, Callable[[bytes], Any]]] = {
    Ext.DATETIME: _datetime,
    Ext.DATE: lambda data: dt.date.fromisoformat(data.decode()),
    Ext.TIME: _time,
    Ext.TIMEDELTA: lambda data: dt.timedelta(*msgpack.unpackb(data)),
    Ext.UUID: lambda data: uuid.UUID(bytes=data),
    Ext.DECIMAL: lambda data: _in_range(Decimal(data.decode()), len(data)),
    Ext.COMPLEX: lambda data: complex(*msgpack.unpackb(data)),
    Ext.BIG_INT: lambda data: int(data.decode(), 16),
}
