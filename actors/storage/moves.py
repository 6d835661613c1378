"""Moves: how rows come from the hot store into a segment, from segments into another, or away.

Each step is written into the catalogue before the next one begins, and each can be repeated.

| step | what is done | what readers see |
|---|---|---|
| planned | nothing | the sources |
| copied | the target is in the object store, under a name that no other move uses | the sources |
| verified | the target was read back: its digest and its rows are right | the sources |
| switched | one transaction: the target is listed, the sources are not | the target |
| deleted | after the longest lease of a reader, the files of the sources are deleted | the target |

A move that only deletes has no target. It is verified when the rules allow it.
"""

import dataclasses
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from callboard.messages.core.names import shown
from callboard.messages.storage.errors import StoreDamaged

from .segments import Block, Segment, SegmentState

__all__ = [
    "NEXT_STATES",
    "Move",
    "MoveKind",
    "MoveState",
    "move_from_text",
    "move_to_text",
    "segment_from_data",
    "segment_to_data",
]


@enum.unique
class MoveKind(enum.Enum):
    """What a move is for."""

    STORE = "store"
    """Hot rows become a segment."""
    MERGE = "merge"
    """Segments become one; or one goes to another location, or is compressed again."""
    EXPIRE = "expire"
    """Rows whose time is over are deleted, from segments or from the hot store."""


@enum.unique
class MoveState(enum.Enum):
    """The step that a move has reached."""

    PLANNED = "planned"
    COPIED = "copied"
    VERIFIED = "verified"
    SWITCHED = "switched"
    DELETED = "deleted"
    """The end: nothing of the sources is left."""
    ABANDONED = "abandoned"
    """Given up before the switch: the sources are as they were. `reason` says why."""

    @property
    def is_open(self) -> bool:
        """Whether something is left to do."""
        return self not in (MoveState.DELETED, MoveState.ABANDONED)


NEXT_STATES: Final[Mapping[MoveState, frozenset[MoveState]]] = {
    MoveState.PLANNED: frozenset({MoveState.COPIED, MoveState.VERIFIED, MoveState.ABANDONED}),
    # Back to the plan when the hot rows have changed, or the target does not read back.
    MoveState.COPIED: frozenset({MoveState.VERIFIED, MoveState.PLANNED, MoveState.ABANDONED}),
    MoveState.VERIFIED: frozenset({MoveState.SWITCHED, MoveState.PLANNED, MoveState.ABANDONED}),
    MoveState.SWITCHED: frozenset({MoveState.DELETED}),
    MoveState.DELETED: frozenset(),
    MoveState.ABANDONED: frozenset(),
}
"""The table of transitions: no way leads back from the switch."""


@dataclass(frozen=True, slots=True)
class Move:
    """One move and its progress."""

    kind: MoveKind
    block: Block
    sources: tuple[str, ...] = ()
    """The names of the segments that it replaces; none when it takes the hot rows of the block."""
    location: str = ""
    """The object store of the target; empty when there is none."""
    number: int = 0
    """Given by the catalogue, and never again."""
    state: MoveState = MoveState.PLANNED
    target: Segment | None = None
    stamp: str = ""
    """What the hot rows of the block were when they were copied."""
    tries: int = 0
    """How often it went back to the plan."""
    reason: str = ""
    """Why it was planned, or given up."""
    switched_at: float = 0.0

    def to(self, state: MoveState, **changes: Any) -> "Move":
        """The move in its next state."""
        assert state in NEXT_STATES[self.state], (self.state, state)
        return dataclasses.replace(self, state=state, **changes)


def segment_to_data(segment: Segment) -> dict[str, Any]:
    """A segment as plain values."""
    data = dataclasses.asdict(segment)
    return {**data, "block": list(segment.block), "state": segment.state.value}


def segment_from_data(data: Mapping[str, Any]) -> Segment:
    """Read what `segment_to_data` has written."""
    return Segment(**{**data, "block": Block(*data["block"]), "state": SegmentState(data["state"])})


def move_to_text(move: Move) -> str:
    """A move as the catalogue keeps it."""
    data = {
        **{field.name: getattr(move, field.name) for field in dataclasses.fields(move)},
        "kind": move.kind.value,
        "state": move.state.value,
        "target": None if move.target is None else segment_to_data(move.target),
    }
    return json.dumps(data, sort_keys=True)


def move_from_text(text: str) -> Move:
    """Read what `move_to_text` has written. Raises `StoreDamaged` for anything else."""
    try:
        data = json.loads(text)
        target = data["target"]
        return Move(
            **{
                **data,
                "kind": MoveKind(data["kind"]),
                "block": Block(*data["block"]),
                "sources": tuple(data["sources"]),
                "state": MoveState(data["state"]),
                "target": None if target is None else segment_from_data(target),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreDamaged(
            f"the catalogue has a move that cannot be read: {shown(text)} ({error}).",
            advice="Keep a copy of the database, and restore a backup.",
            may_have_run=False,
        ) from error
