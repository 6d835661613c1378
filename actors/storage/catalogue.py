"""The port of catalogues: which segments exist and where, and the moves that are under way.

A catalogue lies in the database of the hot store. Its commit is the only moment that counts: before
it a row is in the hot store or in the old segment, after it in the new one.

A reader that reads the hot store first, and asks the catalogue after it, finds each row at least
once; rows that it finds twice are equal, or one of them has a higher revision. It may use the
segments that it was given for `LEASE_S` seconds; their files last longer than that.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from .moves import Move
from .segments import TIME_MAX_NS, TIME_MIN_NS, Block, Segment, SegmentState

__all__ = ["LEASE_S", "Catalogue"]

LEASE_S: Final = 60.0
"""How long a reader may read the segments of one answer: the lease ends by itself."""


class Catalogue(Protocol):
    """The segments and moves of one owner, whose datasets begin with its name and a slash.

    Every method blocks: call it in a thread. Every method raises what an `EventStore` raises, and
    `WriterFenced` where it takes a `fence` that is lower than the highest one claimed.
    """

    @property
    def name(self) -> str:
        """The kind and the place of the store, for people."""

    @property
    def owner(self) -> str:
        """Whose segments these are."""

    def open(self) -> None:
        """See `EventStore.open`."""

    def claim(self, fence: int) -> None:
        """Refuse from now on the writes with lower tokens."""

    # --- reading -------------------------------------------------------------------------------

    def segments(
        self, dataset: str, from_ns: int = TIME_MIN_NS, to_ns: int = TIME_MAX_NS
    ) -> list[Segment]:
        """The segments of a dataset that readers read, and that overlap this time, by their time.

        One that is `CORRUPT` is among them: a reader must not take it for an empty one.
        """

    def all_segments(self) -> list[Segment]:
        """All segments of the owner, also those whose files are about to be deleted."""

    def find(self, names: Sequence[str]) -> list[Segment]:
        """The segments of these names, those that exist."""

    def open_moves(self) -> list[Move]:
        """The moves that have not ended, the oldest first."""

    def stamp(self, block: Block) -> str:
        """The stamp of hot rows; see `HotRows.stamp`."""

    def last_move(self) -> int:
        """The highest number that was ever given to a move."""

    def suspects(self, location: str) -> Mapping[str, float]:
        """The objects of a location that nothing refers to, and when that was first seen."""

    # --- writing -------------------------------------------------------------------------------

    def plan(self, fence: int, moves: Sequence[Move]) -> list[Move]:
        """Record new moves, and give them their numbers.

        Leaves out a move that an open one conflicts with: the answer has the others.
        """

    def advance(self, fence: int, move: Move) -> None:
        """Record the step that a move has reached, unless the switch or a later one."""

    def switch(self, fence: int, move: Move) -> Move | None:
        """In one transaction, list the target, retire the sources, and delete the hot rows.

        `move` is in the state `SWITCHED`. Gives None, and changes nothing, when the hot rows have
        another stamp than the move's, or a source is not live any more.
        """

    def finish(self, fence: int, move: Move) -> None:
        """Forget the sources of a move in the state `DELETED`, and close the move."""

    def mark(self, fence: int, name: str, state: SegmentState) -> None:
        """Mark a segment that readers read as `LIVE` or `CORRUPT`."""

    def suspect(self, fence: int, location: str, suspects: Mapping[str, float]) -> None:
        """Replace the suspects of a location."""

    def close(self) -> None:
        """See `EventStore.close`."""
