"""Extension types: the encoding of plain Python values that msgpack does not know.

A value travels as its exact type. A value of a subclass of one of these types would arrive as
another type, so it has no encoding here.

The decoders run on bytes from outside and may raise anything; the codec makes an
`InvalidMessage` of it.
"""

import datetime as dt
import enum
import ipaddress
import pathlib
import uuid
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgpack
import numpy as np
import pydantic.networks
from pydantic_core import TzInfo

__all__ = ["DECODERS", "ENCODERS", "LEAVES", "TEXTS", "URLS", "Ext", "numpy_of", "pack_plain"]


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
    """A contract as earlier releases wrote it."""
    ARRAY = 9
    EXTERNAL = 10
    COMPLEX = 11
    MESSAGE = 12
    """A contract: the length of its key, its key, and its fields."""
    NAMED = 13
    """A model, dataclass, enum member or named tuple: the name of its class, and its parts."""
    TUPLE = 14
    SET = 15
    FROZENSET = 16
    DEQUE = 17
    ORDERED_DICT = 18
    COUNTER = 19
    TEXT = 20
    """A path, an address, a URL, a fraction or a zone: its type and its text."""
    ZONED = 21
    """A time or datetime whose zone is more than an offset."""
    NUMPY = 22
    """A scalar of numpy."""


FOLD: Final = b"~"
"""Marks the second of two equal local times (`fold=1`), which ISO 8601 cannot express."""

ZONE: Final = b"|"
"""Stands between a local time and the key of its zone."""

DECIMAL_EXPONENT_MAX: Final = 6_144
"""The exponent of decimal128, beyond the digits that are written out. Without a limit, twelve
bytes could name a number whose conversion to an integer takes seconds."""


def pack_plain(value: Any) -> bytes:
    """The bytes of a value that msgpack knows."""
    packed: bytes = msgpack.packb(value)
    return packed


def _timedelta_parts(value: dt.timedelta) -> bytes:
    return pack_plain((value.days, value.seconds, value.microseconds))


def _iso(value: dt.datetime | dt.time) -> msgpack.ExtType:
    code = Ext.DATETIME if isinstance(value, dt.datetime) else Ext.TIME
    zone = value.tzinfo
    if zone is None or type(zone) is dt.timezone:
        text = value.isoformat().encode()
        return msgpack.ExtType(code, text + FOLD if value.fold else text)
    inner = value.replace(tzinfo=None).isoformat().encode() + (FOLD if value.fold else b"")
    if type(zone) is TzInfo:
        # As pydantic makes them of a text.
        offset = zone.utcoffset(None)
        assert offset is not None
        key = f"{int(offset.total_seconds())}"
    elif type(zone) is ZoneInfo and zone.key is not None:
        key = zone.key
    else:
        raise TypeError(f"the zone {zone!r} has no encoding: use zoneinfo.ZoneInfo")
    return msgpack.ExtType(Ext.ZONED, bytes((code,)) + inner + ZONE + key.encode())


def _zoned(data: bytes) -> dt.datetime | dt.time:
    inner, _, key = data[1:].partition(ZONE)
    text = key.decode()
    zone = ZoneInfo(text) if text[:1].isalpha() else TzInfo(int(text))
    return (_datetime if data[0] == Ext.DATETIME else _time)(inner).replace(tzinfo=zone)


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


def _texts() -> dict[str, tuple[type, Callable[[str], Any]]]:
    """The types that travel as text, by name, and what makes a value of a text."""
    plain: tuple[type, ...] = (
        pathlib.PurePosixPath,
        pathlib.PosixPath,
        pathlib.PureWindowsPath,
        pathlib.WindowsPath,
        ipaddress.IPv4Address,
        ipaddress.IPv4Interface,
        ipaddress.IPv4Network,
        ipaddress.IPv6Address,
        ipaddress.IPv6Interface,
        ipaddress.IPv6Network,
        ZoneInfo,
    )
    found: dict[str, tuple[type, Callable[[str], Any]]] = {
        cls.__name__: (cls, cls) for cls in plain
    }
    found["Fraction"] = (Fraction, _fraction)
    for name in pydantic.networks.__all__:
        url = getattr(pydantic.networks, name)
        if isinstance(url, type) and issubclass(url, URLS):
            found[name] = (url, url)
    return found


def _fraction(text: str) -> Fraction:
    numerator, _, denominator = text.partition("/")
    return Fraction(int(numerator, 16), int(denominator, 16))


def _text_of(value: Any) -> msgpack.ExtType:
    cls = type(value)
    if cls is Fraction:
        text = f"{value.numerator:x}/{value.denominator:x}"
    elif cls is ZoneInfo and value.key is None:
        raise TypeError("a zone without a key has no encoding")
    else:
        text = str(value)
    return msgpack.ExtType(Ext.TEXT, f"{cls.__name__}|{text}".encode())


def _text(data: bytes) -> Any:
    name, _, text = data.decode().partition("|")
    return TEXTS[name][1](text)


def numpy_of(value: "np.generic[Any]") -> msgpack.ExtType:
    """A scalar of numpy as an extension. Raises `TypeError` for one of Python objects."""
    if value.dtype.hasobject:
        raise TypeError(f"a scalar of dtype {value.dtype} holds Python objects")
    described = (np.lib.format.dtype_to_descr(value.dtype), value.tobytes())
    return msgpack.ExtType(Ext.NUMPY, pack_plain(described))


# The classes of pydantic's URLs have no public base.
URLS: Final = pydantic.AnyUrl.__mro__[1] | pydantic.PostgresDsn.__mro__[1]
"""The base classes of pydantic's URLs."""
TEXTS: Final = _texts()

ENCODERS: Final[dict[type, Callable[[Any], Any]]] = {
    dt.datetime: _iso,
    dt.date: _extension(Ext.DATE, lambda value: value.isoformat().encode()),
    dt.time: _iso,
    dt.timedelta: _extension(Ext.TIMEDELTA, _timedelta_parts),
    uuid.UUID: _extension(Ext.UUID, lambda value: value.bytes),
    Decimal: _extension(Ext.DECIMAL, _decimal_text),
    complex: _extension(Ext.COMPLEX, lambda value: pack_plain((value.real, value.imag))),
    int: _extension(Ext.BIG_INT, lambda value: f"{value:x}".encode()),
    **{cls: _text_of for cls, _ in TEXTS.values()},
}

LEAVES: Final = frozenset((*ENCODERS, bool, bytes, float, str))

DECODERS: Final[dict[int, Callable[[bytes], Any]]] = {
    Ext.DATETIME: _datetime,
    Ext.DATE: lambda data: dt.date.fromisoformat(data.decode()),
    Ext.TIME: _time,
    Ext.TIMEDELTA: lambda data: dt.timedelta(*msgpack.unpackb(data)),
    Ext.UUID: lambda data: uuid.UUID(bytes=data),
    Ext.DECIMAL: lambda data: _in_range(Decimal(data.decode()), len(data)),
    Ext.COMPLEX: lambda data: complex(*msgpack.unpackb(data)),
    Ext.BIG_INT: lambda data: int(data.decode(), 16),
    Ext.TEXT: _text,
    Ext.ZONED: _zoned,
}
