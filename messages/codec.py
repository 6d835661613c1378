"""The one serialiser: contracts to msgpack and back. No pickle for messages, ever.

A message's fields go to msgpack as they stand (`__dict__` of a frozen model), so a
plain message costs no Python code per field. What msgpack does not know travels as an
extension type; what a contract nests travels by one of two rules:

- a plain pydantic model is its fields, and the field's annotation says what it is;
- a contract is self-describing (name, version, schema), so that a subclass stays what
  it is, and so that nested contracts are upcast like outer ones.

Arrays are not copied into the message: their buffers ride beside the body and come back as read-only views of the received memory.
"""

import datetime as dt
import enum
import functools
import math
import pathlib
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import msgpack
import numpy as np
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from .contract import Contract, ContractRegistry, describe_contract
from .errors import CallboardError, InvalidMessage, PayloadTooLarge
from .limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

__all__ = ["Array", "Buffers", "Codec", "External", "size_bytes"]


class Ext(enum.IntEnum):
    """Extension types on the wire. Numbers are for ever: never reuse one."""

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


class External(Protocol):
    """Something that is not data but may ride in a message, such as an actor's reference."""

    def to_external(self) -> Any:
        """What `Codec`'s `internalise` turns back into this, as plain data."""


Buffers = tuple[bytes | memoryview, ...]
"""The array buffers that ride beside a message's body."""


class _ArraySchema:
    """Lets a contract declare a numpy array field; see `Array`."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(np.ndarray)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> "JsonSchemaValue":
        return {"type": "array", "format": "ndarray"}


Array = Annotated[np.ndarray[Any, np.dtype[Any]], _ArraySchema()]
"""A numpy array as a field of a contract. It arrives read-only, without a copy."""


def _timedelta_parts(value: dt.timedelta) -> bytes:
    return _pack_plain((value.days, value.seconds, value.microseconds))


def _pack_plain(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


class Codec:
    """Encodes and decodes for one host; holds no state between messages.

    `internalise` turns the data of an `External` back into it (a reference is bound to
    the host that received it). Not safe for use by two threads at once.
    """

    __slots__ = ("_buffers", "_inline_bytes_max", "_internalise", "_limits", "_pack", "_registry", "_unpack")

    def __init__(
        self,
        registry: ContractRegistry,
        limits: Limits = DEFAULT_LIMITS,
        internalise: Callable[[Any], Any] | None = None,
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._inline_bytes_max = limits.inline_bytes_max
        self._internalise = internalise
        self._buffers: list[Any] = []
        self._pack: Callable[[Any], bytes] = msgpack.Packer(default=self._encode_other).pack
        self._unpack: Callable[[bytes], Any] = functools.partial(
            msgpack.unpackb,
            ext_hook=self._decode_extension,
            strict_map_key=False,
            max_array_len=limits.items_max,
            max_map_len=limits.items_max,
        )

    def encode(self, message: Contract) -> tuple[bytes, Buffers]:
        """The body of a message, and the buffers beside it (most messages have none).

        Raises `InvalidMessage` for a value that has no encoding and `PayloadTooLarge`
        for one over the limits; both name the contract.
        """
        buffers = self._buffers
        try:
            body = self._pack(message.__dict__)
        except CallboardError:
            buffers.clear()
            raise
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            buffers.clear()
            raise _unencodable(message, error) from error
        if not buffers:
            if len(body) > self._inline_bytes_max:
                self._check_size(type(message), len(body))
            return body, ()
        beside = tuple(buffers)
        buffers.clear()
        self._check_size(type(message), size_bytes(body, beside))
        return body, beside

    def decode(
        self, body: bytes, build: Callable[[dict[str, Any]], Contract], buffers: Any = ()
    ) -> Contract:
        """The message in `body`; `build` comes from `ContractRegistry.resolve`.

        Raises `InvalidMessage` or `PayloadTooLarge`; never anything else, whatever the bytes.
        """
        self._buffers = buffers
        try:
            fields = self._unpack(body)
        except CallboardError:
            raise
        except Exception as error:
            raise InvalidMessage(
                f"a message of {len(body)} bytes does not decode: {type(error).__name__}: {error}.",
                advice="Sender and receiver must run the same release of Callboard.",
            ) from error
        finally:
            self._buffers = []
        if type(fields) is not dict:
            raise InvalidMessage(
                f"a message of {len(body)} bytes holds a {type(fields).__name__}, not fields.",
                advice="Sender and receiver must run the same release of Callboard.",
            )
        try:
            return build(fields)
        except RecursionError as error:
            raise PayloadTooLarge(
                "a message nests too deep to validate.",
                advice="Flatten it, or put it into a store and send a reference.",
            ) from error

    def _check_size(self, cls: type[Contract], size_bytes: int) -> None:
        if size_bytes > self._limits.payload_bytes_max:
            raise PayloadTooLarge(
                f"a {cls.contract_name} has {size_bytes} bytes, "
                f"the limit is {self._limits.payload_bytes_max}.",
                advice="Put the large part into a store and send a reference to it.",
                contract=cls.contract_name,
            )

    # --- encoding what msgpack does not know ----------------------------------

    def _encode_other(self, value: Any) -> Any:  # noqa: PLR0911 - one line a type reads best
        if isinstance(value, BaseModel):
            if isinstance(value, Contract):
                return self._encode_contract(value)
            return value.__dict__
        encode = _ENCODERS.get(type(value))
        if encode is not None:
            return encode(value)
        if isinstance(value, np.ndarray):
            return self._encode_array(value)
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, enum.Enum):
            return value.value
        if isinstance(value, pathlib.PurePath):
            return str(value)
        external = getattr(value, "to_external", None)
        if external is not None:
            return msgpack.ExtType(Ext.EXTERNAL, self._nested(external()))
        for cls, encode in _ENCODERS.items():
            if isinstance(value, cls):
                return encode(value)
        raise TypeError(f"a {type(value).__qualname__} has no encoding")

    def _nested(self, value: Any) -> bytes:
        # A packer is not re-entrant: what is inside an extension gets one of its own.
        packed: bytes = msgpack.packb(value, default=self._encode_other)
        return packed

    def _encode_contract(self, value: Contract) -> msgpack.ExtType:
        key = describe_contract(type(value)).key
        return msgpack.ExtType(
            Ext.CONTRACT,
            self._nested((key.name, key.version, key.fingerprint, value.__dict__)),
        )

    def _encode_array(self, value: "np.ndarray[Any, Any]") -> msgpack.ExtType:
        if value.dtype.hasobject:
            raise TypeError(f"an array of dtype {value.dtype} holds Python objects")
        index = len(self._buffers)
        contiguous = value if value.flags.c_contiguous else np.ascontiguousarray(value)
        # The view keeps the array alive; the copy, if any, is the transport's.
        view = memoryview(contiguous.reshape(-1).view(np.uint8)) if value.size else b""
        self._buffers.append(view)
        described = (index, np.lib.format.dtype_to_descr(value.dtype), value.shape)
        return msgpack.ExtType(Ext.ARRAY, _pack_plain(described))

    # --- decoding extensions ----------------------------------------------------

    def _decode_extension(self, code: int, data: bytes) -> Any:
        if code == Ext.CONTRACT:
            name, version, fingerprint, fields = self._unpack(data)
            return self._registry.resolve(name, version, fingerprint)(fields)
        if code == Ext.ARRAY:
            return self._decode_array(data)
        if code == Ext.EXTERNAL:
            value = self._unpack(data)
            return value if self._internalise is None else self._internalise(value)
        decode = _DECODERS.get(code)
        if decode is None:
            raise ValueError(f"unknown extension type {code}")
        return decode(data)

    def _decode_array(self, data: bytes) -> "np.ndarray[Any, Any]":
        index, description, shape = msgpack.unpackb(data)
        dtype = np.dtype(_tuples(description))
        if dtype.hasobject or index < 0:
            raise ValueError(f"an array of dtype {dtype} cannot come from outside")
        buffer = self._buffers[index]
        if math.prod(shape) * dtype.itemsize != len(buffer) or any(side < 0 for side in shape):
            raise ValueError(f"an array of shape {shape} does not fit its {len(buffer)} bytes")
        array = np.frombuffer(buffer, dtype=dtype).reshape(shape)
        array.flags.writeable = False
        return array


def size_bytes(body: bytes, buffers: Buffers) -> int:
    """The size of a message: its body and the buffers beside it."""
    return len(body) + sum(len(buffer) for buffer in buffers)


def _tuples(description: Any) -> Any:
    """A structured dtype's description, as msgpack gave it (lists) and numpy wants it."""
    if isinstance(description, list):
        return [
            tuple(_tuples(p) if isinstance(p, list) else p for p in field) for field in description
        ]
    return description


def _unencodable(message: Contract, error: Exception) -> CallboardError:
    name = type(message).contract_name
    if isinstance(error, RecursionError) or "recursion" in str(error):
        return PayloadTooLarge(
            f"a {name} nests too deep to encode.",
            advice="Flatten it, or put it into a store and send a reference.",
            contract=name,
        )
    return InvalidMessage(
        f"a {name} cannot be encoded: {error}.",
        advice="Use contracts, pydantic models, arrays and plain values as fields.",
        contract=name,
    )


def _extension(code: Ext, text: Callable[[Any], bytes]) -> Callable[[Any], msgpack.ExtType]:
    return lambda value: msgpack.ExtType(code, text(value))


_ENCODERS: Final[dict[type, Callable[[Any], Any]]] = {
    dt.datetime: _extension(Ext.DATETIME, lambda value: value.isoformat().encode()),
    dt.date: _extension(Ext.DATE, lambda value: value.isoformat().encode()),
    dt.time: _extension(Ext.TIME, lambda value: value.isoformat().encode()),
    dt.timedelta: _extension(Ext.TIMEDELTA, _timedelta_parts),
    uuid.UUID: _extension(Ext.UUID, lambda value: value.bytes),
    Decimal: _extension(Ext.DECIMAL, lambda value: str(value).encode()),
    complex: _extension(Ext.COMPLEX, lambda value: _pack_plain((value.real, value.imag))),
    int: _extension(Ext.BIG_INT, lambda value: f"{value:x}".encode()),
    set: list,
    frozenset: list,
}
# The order matters for subclasses: a datetime is a date too, so it comes first.

_DECODERS: Final[dict[int, Callable[[bytes], Any]]] = {
    Ext.DATETIME: lambda data: dt.datetime.fromisoformat(data.decode()),
    Ext.DATE: lambda data: dt.date.fromisoformat(data.decode()),
    Ext.TIME: lambda data: dt.time.fromisoformat(data.decode()),
    Ext.TIMEDELTA: lambda data: dt.timedelta(*msgpack.unpackb(data)),
    Ext.UUID: lambda data: uuid.UUID(bytes=data),
    Ext.DECIMAL: lambda data: Decimal(data.decode()),
    Ext.COMPLEX: lambda data: complex(*msgpack.unpackb(data)),
    Ext.BIG_INT: lambda data: int(data.decode(), 16),
}
