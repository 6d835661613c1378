"""What a supervisor shows of itself: frozen values, made when somebody looks."""

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import final

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.spec import ChildId, ChildSpec

from .tree import Child, ChildState

__all__ = [
    "ChildHistory",
    "ChildView",
    "Decision",
    "HistoryEntry",
    "SupervisorState",
    "SupervisorStatistics",
    "view_of",
]


@final
@unique
class SupervisorState(StrEnum):
    """Where a supervisor is in its life; it only ever moves down this list."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


@final
@unique
class Decision(StrEnum):
    """What a supervisor did about a child that ended."""

    RESTARTED = "restarted"
    RESTARTED_GROUP = "restarted with its group"
    GAVE_UP = "gave up: one restart too many"
    START_UNDONE = "gave up: a first start failed"
    LEFT_DOWN = "left down"
    FORGOTTEN = "forgotten"
    SHUT_DOWN = "ended with its significant child"


@final
@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One end of one child, and what was decided about it."""

    at_s: float
    """When, on the clock of the child's host."""
    incarnation: int
    kind: ExitReason
    message: str
    traceback: str
    decision: Decision
    delay_s: float
    """How long the restart waited for its back-off."""


@final
@dataclass(frozen=True, slots=True)
class ChildHistory:
    """The last ends of one child, oldest first. Empty for one that never failed."""

    id: ChildId
    entries: tuple[HistoryEntry, ...]


@final
@dataclass(frozen=True, slots=True)
class ChildView:
    """One child, as it was when looked at."""

    id: ChildId
    spec: ChildSpec
    state: ChildState
    incarnation: int
    restarts: int
    """Restarts that this child caused; a sibling's count with the sibling."""
    last_exit: Exit | None

    @property
    def is_down(self) -> bool:
        """Whether it stays down until somebody, or its group, starts it again."""
        return self.state is ChildState.DOWN


@final
@dataclass(frozen=True, slots=True)
class SupervisorStatistics:
    """Counts of one supervisor."""

    state: SupervisorState
    children: int
    running: int
    starts: int
    restarts: int
    restarts_recent: int
    """How full the restart window was at the last restart."""
    undecided: int
    """Ends put aside until the running sequence is over."""
    last_event_at_s: float


def view_of(child: Child) -> ChildView:
    """The child, as it is now."""
    return ChildView(
        id=child.id,
        spec=child.spec,
        state=child.state,
        incarnation=child.incarnation,
        restarts=0 if child.history is None else child.history.restarts,
        last_exit=child.last_exit,
    )
