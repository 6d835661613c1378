"""What a mover needs of the owner of datasets: how rows become a file, and what rules allow."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from .moves import Move
from .segments import Block, Segment

__all__ = ["Content", "Encoded"]


class Encoded(NamedTuple):
    """The content of a target."""

    data: bytes
    rows: int
    block: Block
    """The block of the move, with the times that the rows really have."""


class Content(Protocol):
    """The datasets of one owner. Every method blocks, and raises the stores' errors."""

    def encode(self, move: Move, sources: Sequence[tuple[Segment, bytes]]) -> Encoded | None:
        """The target's content, from the hot rows of the block or from the sources.

        Equal rows give equal bytes. None when there are no rows.
        """

    def count(self, dataset: str, data: bytes) -> int:
        """The number of rows in a file, read from the file itself. Raises `StoreDamaged`."""

    def refusal(self, move: Move, sources: Sequence[tuple[Segment, bytes]]) -> str:
        """Why the rows may not be deleted; empty when they may."""
