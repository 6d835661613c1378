"""Arrays in few bytes: numbers in the smallest type that holds them, and constants once.

The bytes begin with a mark, a version and a checksum. `unpack` raises `StoreDamaged` for whatever
`pack` did not write; the reader of the fields checks that their numbers fit together.
"""

import zlib
from typing import Any, Final

import msgpack
import numpy as np
import numpy.typing as npt

from callboard.messages.storage.errors import StoreDamaged, StoreTooNew

__all__ = ["NotPacked", "pack", "unpack"]

MARK: Final = b"cbw"
VERSION: Final = 1
HEAD_BYTES: Final = len(MARK) + 1 + 4
ARRAY: Final = 1
"""The extension of msgpack that holds an array."""
CONSTANT: Final = b"c"
TYPES: Final = tuple(
    np.dtype(name) for name in ("<u1", "<u2", "<u4", "<i1", "<i2", "<i4", "<i8", "<f8")
)
ELEMENTS_MAX: Final = 1 << 28


class NotPacked(ValueError):
    """The bytes are not what was packed; for the readers of fields, which makes it an error."""


def pack(fields: dict[str, Any]) -> bytes:
    """The bytes of plain data and arrays."""
    body: bytes = msgpack.packb(fields, default=_array)
    return MARK + bytes([VERSION]) + zlib.crc32(body).to_bytes(4, "little") + body


def unpack(data: bytes) -> dict[str, Any]:
    """What `pack` was given. Raises `StoreDamaged` or `StoreTooNew`, and nothing else."""
    if len(data) < HEAD_BYTES or data[: len(MARK)] != MARK:
        raise _damaged("it does not begin with the mark of metric windows")
    version = data[len(MARK)]
    if version > VERSION:
        raise StoreTooNew(
            f"the windows of a shard have version {version}, this release reads {VERSION}.",
            advice="Run the release that wrote them, or a later one.",
        )
    body = data[HEAD_BYTES:]
    if zlib.crc32(body).to_bytes(4, "little") != data[len(MARK) + 1 : HEAD_BYTES]:
        raise _damaged("its checksum is wrong")
    try:
        fields = msgpack.unpackb(body, ext_hook=_of_extension, strict_map_key=False)
    except Exception as error:
        raise _damaged(f"{type(error).__name__}: {error}") from error
    if not isinstance(fields, dict):
        raise _damaged("it holds no fields")
    return fields


def _damaged(what: str) -> StoreDamaged:
    return StoreDamaged(
        f"the stored windows of a shard are damaged: {what}.",
        advice="Restore the store from a backup.",
    )


def _array(value: Any) -> msgpack.ExtType:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{type(value).__name__} is no array")
    return msgpack.ExtType(ARRAY, _array_bytes(value))


def _array_bytes(array: npt.NDArray[Any]) -> bytes:
    head = len(array).to_bytes(4, "little")
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    if array.dtype.kind == "f":
        array = array.astype("<f8", copy=False)
        bits: npt.NDArray[Any] = array.view("<i8")
    else:
        bits = array
    if len(array) > 1 and (bits == bits[0]).all():
        array, head = array[:1], head + CONSTANT
    else:
        head += b" "
    dtype = array.dtype if array.dtype.kind == "f" else _smallest(array)
    return head + bytes([TYPES.index(dtype)]) + array.astype(dtype).tobytes()


def _smallest(array: npt.NDArray[Any]) -> np.dtype[Any]:
    low, high = (int(array.min()), int(array.max())) if len(array) else (0, 0)
    for dtype in TYPES[:-1]:
        info = np.iinfo(dtype)
        if info.min <= low and high <= info.max:
            return dtype
    raise AssertionError("an int64 holds every number of an int64")


def _of_extension(code: int, data: bytes) -> npt.NDArray[Any]:
    if code != ARRAY:
        raise NotPacked(f"extension {code}")
    length, form, dtype = int.from_bytes(data[:4], "little"), data[4:5], TYPES[data[5]]
    array: npt.NDArray[Any] = np.frombuffer(data, dtype, offset=6)
    if length > ELEMENTS_MAX or len(array) != (1 if form == CONSTANT else length):
        raise NotPacked(f"{len(array)} elements of {length}")
    if form == CONSTANT:
        array = np.repeat(array, length)
    return array.astype(np.float64 if dtype.kind == "f" else np.int64)
