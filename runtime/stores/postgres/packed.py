"""Arrays in PostgreSQL's binary form. A group of events is a few of them, one for each column.

psycopg packs a list with one call per element. A commit of thousands of events would spend most of
its time there. The form, all big-endian: the number of dimensions, whether there are nulls, the
type of the elements, the length and the lower bound of the one dimension, then each element after
its length.
"""

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

import numpy as np
import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

__all__ = ["Packed", "big_integers", "blobs", "integers", "register", "texts"]

HEAD: Final = Struct("!iiIii")
LENGTH: Final = Struct("!i").pack
BYTEA, INT8, INT4, TEXT = 17, 20, 23, 25  # the numbers of the types, the same in every PostgreSQL
EMPTY: Final = Struct("!iiI")


class Packed:
    """A packed array. The statement casts it: `$1::bytea[]`."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data: Final = data


class _PackedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Packed) -> Buffer | None:
        return obj.data


def register(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Let the connection take `Packed` values."""
    connection.adapters.register_dumper(Packed, _PackedDumper)


def blobs(values: Sequence[bytes]) -> Packed:
    """A `bytea[]`."""
    return _of_bytes(values, BYTEA)


def texts(values: Iterable[str]) -> Packed:
    """A `text[]`. Raises `UnicodeEncodeError` for invalid text such as half a surrogate pair."""
    return _of_bytes([value.encode() for value in values], TEXT)


def big_integers(values: Sequence[int]) -> Packed:
    """A `bigint[]`."""
    return _of_numbers(values, INT8, ">i8")


def integers(values: Sequence[int]) -> Packed:
    """An `int[]`."""
    return _of_numbers(values, INT4, ">i4")


def _head(count: int, element: int) -> bytes:
    return HEAD.pack(1, 0, element, count, 1) if count else EMPTY.pack(0, 0, element)


def _of_bytes(values: Sequence[bytes], element: int) -> Packed:
    parts = [_head(len(values), element)]
    for value in values:
        parts.append(LENGTH(len(value)))
        parts.append(value)
    return Packed(b"".join(parts))


def _of_numbers(values: Sequence[int], element: int, kind: str) -> Packed:
    rows = np.empty(len(values), dtype=[("length", ">i4"), ("value", kind)])
    rows["length"] = np.dtype(kind).itemsize
    rows["value"] = values
    return Packed(_head(len(values), element) + rows.tobytes())
