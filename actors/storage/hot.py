"""What a catalogue needs of the hot rows in its database: a stamp of a block, and its deletion."""

from typing import Any, Protocol

from .segments import Block

__all__ = ["HotRows"]


class HotRows(Protocol):
    """The rows of some datasets in the database of a catalogue.

    `connection` is the database's own, inside a transaction of the catalogue: a
    `sqlite3.Connection`, a `StoreConnection` of PostgreSQL, or None for memory, whose catalogue
    holds its lock meanwhile. The rows of a block are deleted in the transaction that lists their
    segment, so that a reader finds each of them in exactly one place.
    """

    def stamp(self, connection: Any, block: Block) -> str:
        """A text that changes with every change of the block's rows; empty when it has none.

        Such as the number of rows and the sum of their revisions.
        """

    def delete(self, connection: Any, block: Block, stamp: str) -> bool:
        """Delete the rows of the block if they still have this stamp; gives whether they had."""
