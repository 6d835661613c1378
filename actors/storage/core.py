"""The decisions of moves: which step comes next, which moves conflict, and what a scrub finds."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from callboard.messages.core.errors import SpecError

from .moves import Move, MoveState
from .objects import ObjectInfo
from .segments import Segment, SegmentState, move_of

__all__ = ["MoveLimits", "Review", "Step", "conflict", "next_step", "review"]


@dataclass(frozen=True, slots=True)
class MoveLimits:
    """The times and numbers of moves."""

    lease_s: float = 90.0
    """The time between the switch and the deletion of the sources: the longest lease of a reader
    (`catalogue.LEASE_S`), and a grace for clocks and slow threads."""
    tries: int = 5
    """How often a move may begin again before it is given up."""
    steps: int = 200
    """The most steps of one round."""
    failures: int = 3
    """After so many failures a round ends."""
    orphan_s: float = 3_600.0
    """The least time between the two looks after which a file is removed."""

    def __post_init__(self) -> None:
        if self.lease_s < 0 or self.orphan_s < 0 or min(self.tries, self.steps, self.failures) < 1:
            raise SpecError(
                f"{self} has a time below 0, or a number below 1.",
                advice="Give times of 0 s or more, and numbers of 1 or more.",
            )


@enum.unique
class Step(enum.Enum):
    """What a move needs next."""

    COPY = "copy"
    """Write the target into its object store."""
    VERIFY = "verify"
    """Read the target back; without a target, ask whether the rules allow the deletion."""
    SWITCH = "switch"
    DELETE = "delete"
    WAIT = "wait"
    """Readers may still have a lease on the sources."""
    NONE = "none"
    """The move has ended."""


def next_step(move: Move, now: float, limits: MoveLimits) -> Step:
    """The next step of a move. The same after a crash as without one."""
    match move.state:
        case MoveState.PLANNED:
            return Step.COPY if move.location else Step.VERIFY
        case MoveState.COPIED:
            return Step.VERIFY
        case MoveState.VERIFIED:
            return Step.SWITCH
        case MoveState.SWITCHED:
            # A clock that went back makes a wait longer, never shorter than a lease.
            is_due = not move.sources or now - move.switched_at >= limits.lease_s
            return Step.DELETE if is_due else Step.WAIT
        case MoveState.DELETED | MoveState.ABANDONED:
            return Step.NONE
        case _:
            assert_never(move.state)


def conflict(new: Move, under_way: Move) -> bool:
    """Whether a new move would take the rows of one that is under way."""
    if not new.sources and not under_way.sources:
        has_taken = under_way.state is MoveState.SWITCHED
        return not has_taken and new.block.overlaps(under_way.block)
    return not set(new.sources).isdisjoint(under_way.sources)


class Review(NamedTuple):
    """What a scrub has found in one location."""

    suspects: dict[str, float]
    """Objects that nothing refers to, and when that was first seen."""
    orphans: list[str]
    """Objects that nothing has referred to at two looks: remove them."""
    missing: list[Segment]
    """Segments whose file is missing or has another size: alarm, and remove nothing."""
    found: list[Segment]
    """Corrupt segments that have a file of the right size again: check its digest."""
    foreign: int
    """Objects that no move of this catalogue has written; they stay."""


def review(
    objects: Iterable[ObjectInfo],
    segments: Sequence[Segment],
    open_moves: Sequence[Move],
    last_move: int,
    suspects: Mapping[str, float],
    now: float,
    limits: MoveLimits,
) -> Review:
    """Compare a location with the catalogue.

    The rule is not symmetric. An object without a reference goes, at the second look. A reference
    without an object stays, for a person to see: the file may come back from a backup.

    An object of a move that the catalogue has not given yet is foreign: the catalogue may itself
    come from a backup, and these objects be the newer ones.
    """
    sizes = {each.name: each.size_bytes for each in objects}
    listed = {segment.name for segment in segments}
    under_way = {move.number for move in open_moves}
    begun: dict[str, float] = {}
    orphans: list[str] = []
    foreign = 0
    for name in sizes:
        number = move_of(name)
        if name in listed or number in under_way:
            continue
        if number is None or number > last_move:
            foreign += 1
            continue
        since = min(suspects.get(name, now), now)
        begun[name] = since
        if name in suspects and now - since >= limits.orphan_s:
            orphans.append(name)
    missing, found = [], []
    for segment in segments:
        is_there = sizes.get(segment.name) == segment.size_bytes
        if segment.state is SegmentState.LIVE and not is_there:
            missing.append(segment)
        elif segment.state is SegmentState.CORRUPT and is_there:
            found.append(segment)
    return Review(begun, orphans, missing, found, foreign)
