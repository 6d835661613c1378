"""Views of a supervisor: frozen values, made on request."""

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
    """The lifecycle of a supervisor; it only moves down this list."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


@final
@unique
class Decision(StrEnum):
    """A supervisor's decision about a child that ended."""

    RESTARTED = "restarted"
    RESTARTED_GROUP = "restarted with its group"
    RESTARTED_AS_MEMBER = "restarted because its sibling failed"
    ENDED_AS_MEMBER = "ended because its sibling failed"
    GAVE_UP = "gave up: one restart too many"
    START_UNDONE = "gave up: a first start failed"
    LEFT_DOWN = "left down"
    FORGOTTEN = "forgotten"
    SHUT_DOWN = "ended with its significant child"


@final
@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One exit of one child, or of a sibling that took the child with it, and the decision."""

    at_s: float
    """The time, on the clock of the child's host."""
    incarnation: int
    """The incarnation that failed: the sibling's, if there is one."""
    kind: ExitReason
    message: str
    traceback: str
    decision: Decision
    delay_s: float
    """The back-off before the restart."""
    sibling: ChildId = None
    """The sibling that failed; None if the child itself did."""


@final
@dataclass(frozen=True, slots=True)
class ChildHistory:
    """The last exits of one child, and those of siblings that ended it, oldest first."""

    id: ChildId
    entries: tuple[HistoryEntry, ...]


@final
@dataclass(frozen=True, slots=True)
class ChildView:
    """One child, at the time of the query."""

    id: ChildId
    spec: ChildSpec
    state: ChildState
    incarnation: int
    restarts: int
    """Restarts that this child caused; those that a sibling caused count there."""
    group_restarts: int
    """Restarts of this child that a sibling caused."""
    last_exit: Exit | None

    @property
    def is_down(self) -> bool:
        """Whether it stays down until a request, or its group, starts it again."""
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
    """Restarts in the window at the last restart."""
    undecided: int
    """Exits postponed until the running sequence is over."""
    last_event_at_s: float


def view_of(child: Child) -> ChildView:
    """The current view of a child."""
    return ChildView(
        id=child.id,
        spec=child.spec,
        state=child.state,
        incarnation=child.incarnation,
        restarts=0 if child.history is None else child.history.restarts,
        group_restarts=0 if child.history is None else child.history.group_restarts,
        last_exit=child.last_exit,
    )
