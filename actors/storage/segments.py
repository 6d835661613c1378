"""Segments: immutable files of rows, and the blocks of hot rows that they are made of.

A dataset is a collection of like rows, such as the windows of one width. Its rows have a time and
belong to a part, such as a shard. A block is what a dataset has of one part in a span of time.
"""

import enum
import hashlib
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = [
    "TIME_MAX_NS",
    "TIME_MIN_NS",
    "Block",
    "Segment",
    "SegmentState",
    "digest_of",
    "move_of",
    "segment_name",
]

TIME_MIN_NS: Final = -(2**63)
TIME_MAX_NS: Final = 2**63 - 1


class Block(NamedTuple):
    """The rows of one part of a dataset whose time is in `[from_ns, to_ns)`."""

    dataset: str
    part: int
    from_ns: int
    to_ns: int

    def overlaps(self, other: "Block") -> bool:
        """Whether a row could belong to both."""
        return (
            self.dataset == other.dataset
            and self.part == other.part
            and self.from_ns < other.to_ns
            and other.from_ns < self.to_ns
        )

    def __str__(self) -> str:
        seconds = f"{self.from_ns // 10**9}..{self.to_ns // 10**9} s"
        return f"{self.dataset}, part {self.part}, {seconds}"


@enum.unique
class SegmentState(enum.Enum):
    """What the catalogue knows of a segment."""

    LIVE = "live"
    """Readers read it."""
    CORRUPT = "corrupt"
    """Its file is missing or has another size: readers fail on it, and nothing removes it."""
    RETIRED = "retired"
    """Another segment has its rows, or they have expired; its file is deleted after the leases."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file in an object store. Its name and its content never change."""

    name: str
    """The name of its object: the dataset, the number of the move that wrote it, the digest."""
    digest: str
    """SHA-256 of its content, as hexadecimal digits."""
    block: Block
    rows: int
    size_bytes: int
    location: str
    """The name of the object store that has it."""
    state: SegmentState = SegmentState.LIVE


def digest_of(data: bytes) -> str:
    """The digest that names a content."""
    return hashlib.sha256(data).hexdigest()


def segment_name(dataset: str, move: int, digest: str) -> str:
    """The name of a segment's object.

    It begins with the number of its move, which is never given again. So a name whose move has
    ended without it never comes into use, and its file can be removed without a race.
    """
    return f"{dataset}/{move:010d}-{digest}"


def move_of(name: str) -> int | None:
    """The number of the move that wrote an object; None for an object of somebody else."""
    number, _, digest = name.rpartition("/")[2].partition("-")
    return int(number) if number.isdecimal() and len(digest) == 64 else None
