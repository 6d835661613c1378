"""The one serialiser: contracts to msgpack and back. Messages are never pickled.

msgpack takes a message's fields as they are (`__dict__` of a frozen model), so a plain
message costs no Python code per field. Types that msgpack does not know travel as
extension types. What arrives has the types of what was sent, or it was refused:

- the contract's `Travel` says which values may travel in a bare form, after which the annotation
  makes them again, and which name their type;
- a contract describes itself (name, version, schema), so that a subclass keeps its type,
  and nested contracts are upcast like outer ones.

Arrays are not copied into the body: their buffers travel separately and arrive as
read-only views of the received memory.

Whatever the bytes, decoding ends in a message or in a `ContractError`. The codec counts
nesting, because each level of extensions takes 32 KB of the C stack, and it trusts no
claimed length beyond the bytes that are there.
"""

import dataclasses
import enum
import functools
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import msgpack
import numpy as np
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, RootModel
from pydantic_core import core_schema

from .contract import (
    Build,
    Contract,
    ContractRegistry,
    check_depth,
    describe_contract,
)
from .errors import CallboardError, InvalidMessage, PayloadTooLarge
from .extensions import DECODERS, ENCODERS, Ext, numpy_of, pack_plain
from .limits import DEFAULT_LIMITS, Limits
from .travel import MARK, Travel, fields_of

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

__all__ = ["Array", "Buffers", "Codec", "External", "size_bytes"]

SAME_RELEASE: Final = "Sender and receiver must run the same release of Callboard."
FLATTEN: Final = "Flatten it, or put it into a store and send a reference."

_NATIVE: Final = frozenset({type(None), bool, float, str, bytes, list, dict})
_COLLECTIONS: Final[dict[type, tuple[int, Callable[[Any], Any]]]] = {
    tuple: (Ext.TUPLE, list),
    set: (Ext.SET, list),
    frozenset: (Ext.FROZENSET, list),
    deque: (Ext.DEQUE, lambda value: [value.maxlen, list(value)]),
    OrderedDict: (Ext.ORDERED_DICT, dict),
    Counter: (Ext.COUNTER, dict),
}
"""Collections that msgpack would take for lists and maps, and what stands in their extension."""
_COLLECTED: Final[dict[int, Callable[[Any], Any]]] = {
    Ext.TUPLE: tuple,
    Ext.SET: set,
    Ext.FROZENSET: frozenset,
    Ext.DEQUE: lambda parts: deque(parts[1], parts[0]),
    Ext.ORDERED_DICT: OrderedDict,
    Ext.COUNTER: Counter,
}
HEAD_BYTES: Final = 2
"""The length of the name or key at the head of an extension."""
_UNCHECKED_EXTENSIONS: Final = 8
"""Levels of extensions whose lists are not counted: msgpack stops each at 511 or 1,024
(by its release). Deeper than this, all of them together could exhaust the C stack."""


class External(Protocol):
    """An object that is no data but may travel in a message, such as an actor's reference."""

    def to_external(self) -> Any:
        """Plain data, from which the `internalise` of a `Codec` makes this object again."""


Buffers = tuple[bytes | memoryview, ...]
"""The array buffers that travel with a message's body."""


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


NOTHING: Final = Travel(Contract)


class Codec:
    """Encodes and decodes messages for one host; keeps no state between messages.

    `internalise` makes an `External` of its data again (a reference is bound to the host
    that received it). Two threads must not use one codec at the same time.
    """

    __slots__ = (
        "_buffers",
        "_depth",
        "_inline_bytes_max",
        "_internalise",
        "_limits",
        "_pack",
        "_pack_marked",
        "_registry",
        "_travel",
        "_unpack",
        "_unpack_options",
        "_unpack_quick",
        "_unpack_quick_bytes_max",
    )

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
        self._depth = 0
        self._travel = NOTHING
        """How the contract travels whose values are encoded or decoded now."""
        self._pack: Callable[[Any], bytes] = msgpack.Packer(default=self._encode_other).pack
        # Strict: a tuple is no list, and an object of a derived class is none of the base.
        self._pack_marked: Callable[[Any], bytes] = msgpack.Packer(
            default=self._encode_other, strict_types=True
        ).pack
        self._unpack_options: dict[str, Any] = {
            "ext_hook": self._decode_extension,
            "strict_map_key": False,
        }
        # msgpack itself bounds every claimed length by the bytes that are there, which is
        # tighter than `items_max` as long as there are fewer bytes than that.
        self._unpack_quick: Callable[[bytes | memoryview], Any] = functools.partial(
            msgpack.unpackb, **self._unpack_options
        )
        self._unpack_quick_bytes_max = min(
            limits.inline_bytes_max, limits.items_max, limits.payload_bytes_max
        )
        self._unpack: Callable[[bytes | memoryview], Any] = self._unpack_quick

    def copy(self) -> "Codec":
        """Another codec with the same settings: each thread needs its own."""
        return Codec(self._registry, self._limits, self._internalise)

    def encode(self, message: Contract) -> tuple[bytes, Buffers]:
        """The body of a message and its array buffers (most messages have none).

        Raises `InvalidMessage` for a value that has no encoding and `PayloadTooLarge`
        for a message over the limits; both name the contract.
        """
        buffers = self._buffers
        cls = type(message)
        info = cls.contract_info
        if info is None or info.cls is not cls:
            info = describe_contract(cls)
        self._travel = travel = info.travel
        fields = fields_of(message) if info.has_caches else message.__dict__
        try:
            if travel.is_marked:
                body = self._pack_marked({MARK: 1, **fields})
            else:
                body = self._pack(fields)
        except BaseException as error:
            buffers.clear()
            self._depth = 0
            if not isinstance(error, Exception):
                raise
            raise _unencodable(message, error, self._culprit(fields)) from error
        if not buffers:
            if len(body) > self._inline_bytes_max:
                self._check_size(type(message), len(body))
            return body, ()
        taken = tuple(buffers)
        buffers.clear()
        self._check_size(type(message), size_bytes(body, taken))
        return body, taken

    def _culprit(self, fields: dict[str, Any]) -> str:
        """The first field that cannot be encoded, for people; empty when it is none of them."""
        for name, value in fields.items():
            try:
                self._nested(value)
            except Exception:  # noqa: BLE001 - the error of this field is reported already
                return f"its field {name!r}: "
            finally:
                self._buffers.clear()
                self._depth = 0
        return ""

    def decode(self, body: bytes | memoryview, build: Build, buffers: Any = ()) -> Contract:
        """The message in `body`; `build` comes from `ContractRegistry.resolve`.

        Raises a `ContractError` and nothing else, whatever the bytes: `InvalidMessage` or
        `PayloadTooLarge`, and for a contract inside the message also what
        `ContractRegistry.resolve` raises.
        """
        self._buffers = buffers
        self._travel = build.travel
        try:
            if len(body) <= self._unpack_quick_bytes_max:
                fields = self._unpack_quick(body)
            else:
                fields = self._unpack_large(body)
            if type(fields) is dict:
                return build.make(fields)
        except CallboardError:
            raise
        except Exception as error:  # noqa: BLE001 - bytes from outside may be anything
            return self._decode_again(body, build, error)
        finally:
            self._buffers = []
        raise InvalidMessage(
            f"a message of {len(body)} bytes holds a {type(fields).__name__}, not fields.",
            advice=SAME_RELEASE,
        )

    def _decode_again(self, body: bytes | memoryview, build: Build, error: Exception) -> Contract:
        """Try again with keys that are tuples; raise the error that fits if that fails too."""
        if type(error) is TypeError and "unhashable" in str(error):
            try:
                self._unpack = functools.partial(
                    msgpack.unpackb, object_pairs_hook=_hashable_keys, **self._unpack_options
                )
                self._travel = build.travel
                return build.make(self._unpack(body))
            except CallboardError:
                raise
            except Exception as still:  # noqa: BLE001 - bytes from outside may be anything
                error = still
            finally:
                self._unpack = self._unpack_quick
        if isinstance(error, RecursionError):
            raise PayloadTooLarge(
                "a message nests too deep to validate.", advice=FLATTEN
            ) from error
        raise InvalidMessage(
            f"a message of {len(body)} bytes does not decode: {type(error).__name__}: {error}.",
            advice=SAME_RELEASE,
        ) from error

    def _unpack_large(self, body: bytes | memoryview) -> Any:
        limits = self._limits
        if len(body) > limits.payload_bytes_max:
            raise PayloadTooLarge(
                f"a message has {len(body)} bytes, the limit is {limits.payload_bytes_max}.",
                advice="Put the large part into a store and send a reference to it.",
            )
        items_max = min(len(body), limits.items_max)
        try:
            return msgpack.unpackb(
                body, max_array_len=items_max, max_map_len=items_max, **self._unpack_options
            )
        except ValueError as error:
            if "exceeds max_" not in str(error):
                raise
            raise PayloadTooLarge(
                f"a message of {len(body)} bytes has too many items: {error}.",
                advice="Split it, or put it into a store and send a reference.",
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

    def _encode_other(self, value: Any) -> Any:
        cls = type(value)
        encode = self._travel.encoders.get(cls)
        if encode is not None:
            return encode(value)
        if isinstance(value, Contract):
            return self._encode_contract(value)
        collection = _COLLECTIONS.get(cls)
        if collection is not None:
            code, parts_of = collection
            return msgpack.ExtType(code, self._nested(parts_of(value)))
        name = self._travel.name_of(cls)
        if name is not None:
            return self._encode_named(name, value)
        if isinstance(value, np.ndarray):
            return self._encode_array(value)
        if isinstance(value, np.generic):
            return numpy_of(value)
        external = getattr(value, "to_external", None)
        if external is not None:
            return msgpack.ExtType(Ext.EXTERNAL, self._nested(external()))
        raise TypeError(_no_encoding(value))

    def _encode_inner(self, value: Any) -> Any:
        # msgpack asks once per value: a value that replaces another must be encoded here.
        if type(value) in _NATIVE or (type(value) is int and -(2**63) <= value < 2**64):
            return value
        if type(value) is tuple and not self._travel.is_marked:
            return value
        return self._encode_other(value)

    def _encode_named(self, name: bytes, value: Any) -> Any:
        parts = self._travel.parts_of(value)
        if isinstance(value, RootModel) and not self._travel.is_marked:
            return self._encode_inner(parts)
        head = len(name).to_bytes(HEAD_BYTES) + name
        return msgpack.ExtType(Ext.NAMED, head + self._nested(parts))

    def _nested(self, value: Any) -> bytes:
        # A packer is not re-entrant: the content of an extension gets a packer of its own.
        depth = self._depth
        if depth >= self._limits.depth_max:
            raise RecursionError(f"deeper than {depth} extensions")
        if depth >= _UNCHECKED_EXTENSIONS:
            check_depth(value, self._limits.depth_max)
        self._depth = depth + 1
        packed: bytes = msgpack.packb(
            value, default=self._encode_other, strict_types=self._travel.is_marked
        )
        self._depth = depth
        return packed

    def _encode_contract(self, value: Contract) -> msgpack.ExtType:
        info = describe_contract(type(value))
        outer, travel = self._travel, info.travel
        fields = fields_of(value)
        self._travel = travel
        packed = self._nested({MARK: 1, **fields} if travel.is_marked else fields)
        self._travel = outer
        return msgpack.ExtType(Ext.MESSAGE, info.head + packed)

    def _encode_array(self, value: "np.ndarray[Any, Any]") -> msgpack.ExtType:
        if value.dtype.hasobject:
            raise TypeError(f"an array of dtype {value.dtype} holds Python objects")
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError("a masked array would lose its mask: send data and mask")
        if not value.dtype.itemsize:
            raise TypeError(f"an array of dtype {value.dtype} holds nothing")
        index = len(self._buffers)
        if index >= self._limits.buffers_max:
            raise PayloadTooLarge(
                f"the message holds more than {index} arrays",
                advice="Join them into fewer arrays.",
            )
        contiguous = np.ascontiguousarray(value)
        # The view keeps the array alive; the copy, if any, is the transport's.
        view = contiguous.reshape(-1).view(np.uint8).data if value.size else b""
        self._buffers.append(view)
        described = (index, np.lib.format.dtype_to_descr(value.dtype), value.shape)
        return msgpack.ExtType(Ext.ARRAY, pack_plain(described))

    # --- decoding extensions ----------------------------------------------------

    def _decode_extension(self, code: int, data: bytes) -> Any:
        decode = DECODERS.get(code)
        if decode is not None:
            return decode(data)
        if code == Ext.MESSAGE:
            return self._decode_contract(data)
        collect = _COLLECTED.get(code)
        if collect is not None:
            return collect(self._unpack_inner(data))
        if code == Ext.NAMED:
            name, parts = _split(data)
            return self._travel.made(name.decode(), self._unpack_inner(parts))
        if code == Ext.NUMPY:
            return _numpy(*msgpack.unpackb(data))
        if code == Ext.CONTRACT:
            name, version, fingerprint, fields = self._unpack_inner(data)
            return self._registry.resolve(name, version, fingerprint).make(fields)
        if code == Ext.ARRAY:
            return self._decode_array(data)
        if code == Ext.EXTERNAL:
            value = self._unpack_inner(data)
            return value if self._internalise is None else self._internalise(value)
        raise ValueError(f"unknown extension type {code}")

    def _decode_contract(self, data: bytes) -> Contract:
        key, packed = _split(data)
        build = self._registry.resolve_packed(key)
        outer = self._travel
        self._travel = build.travel
        fields = self._unpack_inner(packed)
        self._travel = outer
        if type(fields) is not dict:
            raise ValueError(f"a contract holds a {type(fields).__name__}, not fields")
        return build.make(fields)

    def _unpack_inner(self, data: bytes) -> Any:
        depth = self._depth
        if depth >= self._limits.depth_max:
            raise PayloadTooLarge(f"a message nests {depth} extensions.", advice=FLATTEN)
        self._depth = depth + 1
        try:
            if len(data) > self._unpack_quick_bytes_max:
                return self._unpack_large(data)
            return self._unpack(data)
        finally:
            self._depth = depth

    def _decode_array(self, data: bytes) -> "np.ndarray[Any, Any]":
        index, description, shape = msgpack.unpackb(data)
        dtype = np.lib.format.descr_to_dtype(_dtype_description(description))
        if dtype.hasobject or index < 0:
            raise ValueError(f"an array of dtype {dtype} cannot come from outside")
        buffer = self._buffers[index]
        if math.prod(shape) * dtype.itemsize != len(buffer) or any(side < 0 for side in shape):
            raise ValueError(f"an array of shape {shape} does not fit its {len(buffer)} bytes")
        array = np.frombuffer(buffer, dtype=dtype).reshape(shape)
        array.flags.writeable = False
        return array


def size_bytes(body: bytes, buffers: Buffers) -> int:
    """The size of a message in bytes: its body and its buffers."""
    return len(body) + sum(len(buffer) for buffer in buffers)


def _dtype_description(description: Any) -> Any:
    """A dtype's description as numpy takes it (tuples), made of msgpack's lists."""
    if isinstance(description, str):
        return description
    return [
        (
            tuple(name) if isinstance(name, list) else name,
            _dtype_description(kind),
            *(tuple(sides) for sides in shape),
        )
        for name, kind, *shape in description
    ]


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The head of an extension and the rest."""
    end = HEAD_BYTES + (data[0] << 8 | data[1])
    return data[HEAD_BYTES:end], data[end:]


def _numpy(description: Any, data: bytes) -> "np.generic[Any]":
    dtype = np.lib.format.descr_to_dtype(_dtype_description(description))
    if dtype.hasobject or dtype.itemsize != len(data):
        raise ValueError(f"a scalar of dtype {dtype} cannot come from outside")
    found: np.generic[Any] = np.frombuffer(data, dtype=dtype)[0]
    return found


def _no_encoding(value: Any) -> str:
    cls = type(value)
    if isinstance(value, BaseModel | enum.Enum) or dataclasses.is_dataclass(cls):
        return (
            f"a {cls.__qualname__} stands where no field declares this class: name it in the "
            "field's annotation, or make it a contract"
        )
    for known in ENCODERS | dict.fromkeys(_COLLECTIONS) | dict.fromkeys(_NATIVE):
        if isinstance(value, known):
            return (
                f"a {cls.__qualname__} would arrive as a {known.__qualname__}, from which it is "
                f"derived: send a {known.__qualname__}"
            )
    return f"a {cls.__qualname__} has no encoding"


def _hashable_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return {_hashable(key): value for key, value in pairs}


def _hashable(key: Any) -> Any:
    return tuple(_hashable(part) for part in key) if type(key) is list else key


def _unencodable(message: Contract, error: Exception, culprit: str) -> CallboardError:
    name = type(message).contract_name
    if isinstance(error, RecursionError) or "recursion" in str(error):
        return PayloadTooLarge(f"a {name} nests too deep to encode.", advice=FLATTEN, contract=name)
    if isinstance(error, PayloadTooLarge):
        text = f"a {name} is over a limit: {error.message}"
        return PayloadTooLarge(text, advice=error.advice, contract=name)
    reason = error.message if isinstance(error, CallboardError) else str(error)
    return InvalidMessage(
        f"a {name} cannot be encoded: {culprit}{reason or type(error).__name__}.",
        advice="Use contracts, declared classes, arrays and plain values as fields.",
        contract=name,
    )
