"""The hot windows of an SQLite file, as a catalogue in the same file takes them."""

import hashlib
import sqlite3
from typing import Final

from callboard.actors.metrics.tiers.rules import width_of
from callboard.actors.storage.segments import Block

from ..window_blocks import period_ns
from .windows import drop_windows

__all__ = ["SqliteHotWindows"]

ENDS: Final = (
    "SELECT id, length(data), substr(data, -8) FROM window_blocks "
    "WHERE width = ? AND period >= ? AND period < ? AND shard = ? ORDER BY id"
)
"""A block's data ends with a checksum of its content. The ids alone would not do: SQLite gives the
id of a deleted row again."""


class SqliteHotWindows:
    """See `HotRows`."""

    def stamp(self, connection: sqlite3.Connection, block: Block) -> str:
        """See `HotRows.stamp`."""
        width_ns = width_of(block.dataset)
        period = period_ns(width_ns)
        values = (width_ns, block.from_ns // period, block.to_ns // period, block.part)
        found = connection.execute(ENDS, values).fetchall()
        return hashlib.sha256(repr(found).encode()).hexdigest() if found else ""

    def delete(self, connection: sqlite3.Connection, block: Block, stamp: str) -> bool:
        """See `HotRows.delete`."""
        if self.stamp(connection, block) != stamp:
            return False
        drop_windows(connection, block.part, width_of(block.dataset), block.from_ns, block.to_ns)
        return True
