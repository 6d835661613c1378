"""What a supervisor core can want done: a closed vocabulary of frozen instructions.

Whoever holds a core performs its effects in the order given, and reports what came of
them as events with the same id and incarnation. An incarnation names one start of one
child and is never used twice in a supervisor, so a report about an older start is
recognised as stale.

What the performer owes the core:

- every StartChild is answered once, by `child_started` or `child_start_failed`, and
  StartChildren once for each of its children;
- every StopChild is answered by `child_exited`, within its timeout: the performer asks
  the child to stop, kills it when the timeout has passed, and reports the exit. A child
  may be stopped while it still starts (`child_start_failed` is an answer then, too);
- every end of a started child is reported by `child_exited`, asked for or not;
- a timer that is not cancelled is reported by `timer_fired`, at its time or later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, final

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import ChildId, ChildSpec, StopTimeout

__all__ = [
    "NOTHING",
    "CancelTimer",
    "ChildGone",
    "Effect",
    "Effects",
    "Escalate",
    "SetTimer",
    "StartChild",
    "StartChildren",
    "StopChild",
    "SupervisorStarted",
    "SupervisorStopped",
]


@final
@dataclass(frozen=True, slots=True)
class StartChild:
    """Start the child from its spec."""

    id: ChildId
    incarnation: int
    spec: ChildSpec


@final
@dataclass(frozen=True, slots=True)
class StartChildren:
    """Start these children from the spec that they share, each for itself.

    Their incarnations are consecutive. It is answered child by child, or for all those
    that run at once by `children_started`.
    """

    ids: Sequence[ChildId]
    first_incarnation: int
    spec: ChildSpec


@final
@dataclass(frozen=True, slots=True)
class StopChild:
    """Ask the child to stop with `reason`; kill it once `timeout` has passed."""

    id: ChildId
    incarnation: int
    timeout: StopTimeout
    reason: Exit
    comes_back: bool = False
    """Whether it is stopped to be started again with its group."""


@final
@dataclass(frozen=True, slots=True)
class SetTimer:
    """Report `timer_fired` with this id and incarnation at the time `at_s`."""

    id: ChildId
    incarnation: int
    at_s: float


@final
@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Forget the timer; a report that is already under way is ignored as stale."""

    id: ChildId
    incarnation: int


@final
@dataclass(frozen=True, slots=True)
class ChildGone:
    """The child ended with `exit` and the supervisor has forgotten it."""

    id: ChildId
    exit: Exit


@final
@dataclass(frozen=True, slots=True)
class SupervisorStarted:
    """Every initial child runs: as somebody's child, this supervisor has started."""


@final
@dataclass(frozen=True, slots=True)
class SupervisorStopped:
    """The last effect of a supervisor that stopped in order; no child runs any more."""

    exit: Exit


@final
@dataclass(frozen=True, slots=True)
class Escalate:
    """The last effect of a supervisor that gave up; no child runs any more.

    Its own supervisor must treat it as a child that ended with `exit`.
    """

    exit: Exit


Effect: TypeAlias = (
    StartChild
    | StartChildren
    | StopChild
    | SetTimer
    | CancelTimer
    | ChildGone
    | SupervisorStarted
    | SupervisorStopped
    | Escalate
)

Effects: TypeAlias = tuple[Effect, ...]

NOTHING: Final[Effects] = ()
"""Most events need nothing done."""
