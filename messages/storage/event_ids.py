"""Ids for events: 16 unique bytes that grow with time.

A log keeps an index over the ids of all its events. An id that is larger than those before it
goes to the end of the index, which is in memory. A random id goes anywhere, and in a large log
each commit then reads and writes most of the index. So take ids from here where you can. Ids in
another order cost only speed.
"""

import hashlib
import os
import time
from typing import Final

__all__ = ["MARK", "NumberedIds", "mark_of", "new_event_id", "new_event_ids"]

NS_PER_MS: Final = 1_000_000
VERSION_7: Final = 0x7000
VARIANT: Final = 1 << 63
RANDOM: Final = (1 << 62) - 1
ROOM: Final = 1 << 61
"""The first of the random bits: 0 in the first id of a list, so that the ids can grow."""

SECONDS_BYTES: Final = 4
SECONDS: Final = 2 ** (8 * SECONDS_BYTES) - 1
"""Until the year 2106; then ids start small again, which costs only speed."""
MARK_BYTES: Final = 8
NUMBER_BYTES: Final = 4
MARK: Final = slice(SECONDS_BYTES, SECONDS_BYTES + MARK_BYTES)
"""The place of the writer's mark in a numbered id; see `mark_of`."""


def new_event_id() -> bytes:
    """A UUID of version 7: the time in steps of 0.25 µs, and 62 random bits."""
    ms, ns = divmod(time.time_ns(), NS_PER_MS)
    head = ms << 16 | VERSION_7 | (ns << 12) // NS_PER_MS
    tail = VARIANT | int.from_bytes(os.urandom(8)) & RANDOM
    return (head << 64 | tail).to_bytes(16)


def new_event_ids(count: int) -> list[bytes]:
    """Ids of events that are appended together, in order: each is the one before it plus 1.

    One id costs a tenth of a call of `new_event_id`.
    """
    first = int.from_bytes(new_event_id()) & ~ROOM
    return [(first + number).to_bytes(16) for number in range(count)]


class NumberedIds:
    """The ids of one writer's events, in order. Equal arguments give equal ids.

    `name` is a text that no other writer ever has; `began_at` is in seconds since 1970.
    """

    def __init__(self, name: str, began_at: float) -> None:
        self._prefix = (int(began_at) & SECONDS).to_bytes(SECONDS_BYTES) + mark_of(name)
        self._number = 0

    def next(self) -> bytes:
        """The next id. Raises `OverflowError` after 2**32 - 1 ids."""
        self._number = number = self._number + 1
        return self._prefix + number.to_bytes(NUMBER_BYTES)


def mark_of(name: str) -> bytes:
    """The part of an id that identifies the writer's name."""
    return hashlib.blake2b(name.encode(), digest_size=MARK_BYTES).digest()
