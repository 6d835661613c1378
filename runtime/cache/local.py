"""The first tier: a cache inside this process, bounded by entries and by bytes.

The least recently read entry goes first. An entry lasts at most its time to live, and up to
`jitter` of it less, so that entries that were cached together do not expire together.

Invariants: there are never more than `entries_max` entries or `bytes_max` bytes. An entry is never
served after its expiry. A refused value leaves no earlier value behind.

It is for one event loop. Nothing here waits: methods are `async` only to fit the port.
"""

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = [
    "ENTRY_BYTES",
    "JITTER",
    "TOMBSTONE_S",
    "LocalCache",
    "LocalStatistics",
    "is_older",
]

ENTRIES_MAX: Final = 100_000
BYTES_MAX: Final = 64 * 2**20
ENTRY_BYTES: Final = 300
"""The approximate size of the objects of an entry, without the lengths of its key and value."""

JITTER: Final = 0.1
"""How much sooner an entry may expire, as a share of its time to live."""

TOMBSTONE_S: Final = 10.0
"""How long after a delete the key stays empty, where the newest value wins.

This refuses a value that was read before the delete and is cached late. It also refuses a new value
of the key, which costs its readers speed and nothing else.
"""

VERSION_BYTES: Final = 8


def is_older(value: bytes, than: bytes) -> bool:
    """Whether a value's first bytes, its version, are lower than the other's."""
    return value[:VERSION_BYTES] < than[:VERSION_BYTES]


class _Entry(NamedTuple):
    value: bytes | None
    """None: the key was deleted, and no older value may take its place."""
    expires_s: float
    as_of_s: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LocalStatistics:
    """The contents of the cache, and its counters since it was made."""

    entries: int
    """Entries now."""
    bytes: int
    """Their size."""
    hits: int
    """Reads that found an entry."""
    misses: int
    """Reads that found none."""
    writes: int
    """Entries that were written."""
    deletes: int
    """Entries that were deleted on request."""
    expired: int
    """Reads that found an expired entry."""
    evicted: int
    """Entries that made room for others."""
    too_large: int
    """Values refused because they would take too much of the cache."""
    refused_older: int
    """Values refused because a newer one was there."""
    distrusted: int
    """Reads that found an entry too old to trust (see `TieredCache`)."""
    flushes: int
    """How often everything was dropped."""


class LocalCache:
    """The local tier; see the module.

    With `newest_wins`, values begin with a version of 8 bytes, big-endian, that grows. A lower
    version never replaces a higher one, and a delete holds for `TOMBSTONE_S`, so the order in which
    writes arrive does not matter.
    """

    def __init__(
        self,
        *,
        entries_max: int = ENTRIES_MAX,
        bytes_max: int = BYTES_MAX,
        jitter: float = JITTER,
        newest_wins: bool = False,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`clock` gives seconds, `chance` a number from 0 to below 1."""
        self.newest_wins: Final = newest_wins
        self.clock: Final = clock
        self._entries_max = max(1, entries_max)
        self._bytes_max = bytes_max
        self._jitter = jitter
        self._chance = chance
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0
        self._hits = self._misses = self._writes = self._deletes = self._expired = 0
        self._evicted = self._too_large = self._refused_older = self._distrusted = 0
        self._flushes = 0

    # --- the port --------------------------------------------------------------------------

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `Cache`."""
        return self.read(keys)

    async def set_many(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        """See `Cache`. A time to live of 0 or less stores nothing."""
        for key, value in values.items():
            self.write(key, value, ttl_s)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See `Cache`."""
        self.delete(keys)

    async def close(self) -> None:
        """See `Cache`. The cache is empty afterwards."""
        self.clear()

    # --- synchronous -------------------------------------------------------------------

    def read(self, keys: Sequence[str], not_before_s: float | None = None) -> list[bytes | None]:
        """The values of these keys; if given, only those true at `not_before_s` or later."""
        entries, now = self._entries, self.clock()
        found: list[bytes | None] = []
        for key in keys:
            entry = entries.get(key)
            if entry is None:
                found.append(None)
            elif now >= entry.expires_s:
                self._remove(key)
                self._expired += 1
                found.append(None)
            elif not_before_s is not None and entry.as_of_s < not_before_s:
                self._distrusted += 1
                found.append(None)
            else:
                entries.move_to_end(key)
                found.append(entry.value)
        misses = found.count(None)
        self._misses += misses
        self._hits += len(found) - misses
        return found

    def write(self, key: str, value: bytes, ttl_s: float, as_of_s: float | None = None) -> bool:
        """Store a value that was true at `as_of_s` (now by default). False if it was refused."""
        now = self.clock()
        before = self._entries.get(key)
        if (
            self.newest_wins
            and before is not None
            and now < before.expires_s
            and (before.value is None or is_older(value, before.value))
        ):
            self._refused_older += 1
            return False
        self._remove(key)
        size_bytes = ENTRY_BYTES + len(key) + len(value)
        if size_bytes > self._bytes_max:
            self._too_large += 1
            return False
        if ttl_s <= 0:
            return False
        self._writes += 1
        expires_s = now + ttl_s * (1 - self._jitter * self._chance())
        self._put(key, _Entry(value, expires_s, now if as_of_s is None else as_of_s, size_bytes))
        return True

    def delete(self, keys: Collection[str]) -> None:
        """Remove keys that are deleted everywhere."""
        self._deletes += len(keys)
        for key in keys:
            self._remove(key)
            if self.newest_wins:
                now = self.clock()
                self._put(key, _Entry(None, now + TOMBSTONE_S, now, ENTRY_BYTES + len(key)))

    def drop(self, key: str, newer: bytes | None = None) -> None:
        """Remove a key because another node has another value.

        `newer` is the version of that value: an entry that is not older stays.
        """
        entry = self._entries.get(key)
        if entry is None or entry.value is None:
            return
        if newer is None or not self.newest_wins or is_older(entry.value, newer):
            self._remove(key)

    def clear(self) -> None:
        """Remove everything."""
        self._flushes += 1
        self._entries.clear()
        self._bytes = 0

    def statistics(self) -> LocalStatistics:
        """As of now."""
        return LocalStatistics(
            entries=len(self._entries),
            bytes=self._bytes,
            hits=self._hits,
            misses=self._misses,
            writes=self._writes,
            deletes=self._deletes,
            expired=self._expired,
            evicted=self._evicted,
            too_large=self._too_large,
            refused_older=self._refused_older,
            distrusted=self._distrusted,
            flushes=self._flushes,
        )

    def _put(self, key: str, entry: _Entry) -> None:
        self._entries[key] = entry
        self._bytes += entry.size_bytes
        while len(self._entries) > self._entries_max or self._bytes > self._bytes_max:
            _, evicted = self._entries.popitem(last=False)
            self._bytes -= evicted.size_bytes
            self._evicted += 1

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size_bytes
