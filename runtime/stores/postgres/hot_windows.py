"""The hot windows of a schema in PostgreSQL, as a catalogue in the same schema takes them."""

import hashlib
from typing import Final

from callboard.actors.metrics.tiers.rules import width_of
from callboard.actors.storage.segments import Block

from ..window_blocks import period_ns
from .connection import StoreConnection
from .tables import statement
from .windows import drop_windows

__all__ = ["PostgresHotWindows"]

# An aggregator locks the row of its shard before it writes: so nothing joins the block between its
# stamp and its deletion. The rows of the block themselves are locked against their packing.
SHARD: Final = "SELECT 1 FROM {s}.window_shards WHERE shard = $1::integer FOR UPDATE"
ENDS: Final = (
    "SELECT id, length(data), substr(data, greatest(1, length(data) - 7)) "
    "FROM {s}.window_blocks WHERE width = $1::bigint AND period >= $2::bigint "
    "AND period < $3::bigint AND shard = $4::integer ORDER BY id FOR UPDATE"
)


class PostgresHotWindows:
    """See `HotRows`."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._ends = statement(ENDS, schema)
        self._shard = statement(SHARD, schema)

    def stamp(self, connection: StoreConnection, block: Block) -> str:
        """See `HotRows.stamp`."""
        width_ns = width_of(block.dataset)
        period = period_ns(width_ns)
        connection.rows(self._shard, block.part)
        found = connection.rows(
            self._ends, width_ns, block.from_ns // period, block.to_ns // period, block.part
        )
        plain = [(number, length, bytes(end)) for number, length, end in found]
        return hashlib.sha256(repr(plain).encode()).hexdigest() if plain else ""

    def delete(self, connection: StoreConnection, block: Block, stamp: str) -> bool:
        """See `HotRows.delete`."""
        if self.stamp(connection, block) != stamp:
            return False
        drop_windows(
            connection,
            self._schema,
            block.part,
            width_of(block.dataset),
            block.from_ns,
            block.to_ns,
        )
        return True
