"""What a supervisor shows of itself: frozen values, made when somebody looks."""

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import final

from callboard.messages.lifecycle import Exit
from callboard.messages.spec import ChildId, ChildSpec

from .tree import Child, ChildState

__all__ = ["ChildView", "SupervisorState", "SupervisorStatistics", "view_of"]


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
