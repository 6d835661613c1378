"""What a move needs of a hot store: blocks of closed rows, a stamp of each, and their deletion."""

from typing import Any, NamedTuple, Protocol

from .segments import Block

__all__ = ["HotBlock", "HotRows"]


class HotBlock(NamedTuple):
    """What the hot store has of one start of a dataset and a part."""

    part: int
    start_ns: int
    rows: int


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

    def delete(self, connection: Any, block: Block) -> None:
        """Delete the rows of the block."""
