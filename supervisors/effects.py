"""The instructions of a supervisor core: a closed vocabulary of frozen effects.

The shell that holds a core performs its effects in the order given, and reports the outcomes
as events with the same id and incarnation. An incarnation names one start of one child and
occurs once in a supervisor, so the core recognises a report about an older start as stale.

The shell owes the core these reports:

- for every StartChild one `child_started` or `child_start_failed`, and for StartChildren
  one for each of its children;
- for every StopChild one `child_exited`, within its timeout: the shell asks the child to
  stop, kills it when the timeout has passed, and reports the exit. The core may stop a child
  that still starts (`child_start_failed` is an answer then, too);
- for every exit of a started child one `child_exited`, on request or not;
- for every timer that is not cancelled one `timer_fired`, at its time or later.
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
    """Start these children from the spec that they share, independently of each other.

    Their incarnations are consecutive. The shell answers for each child alone, or with
    `children_started` for all that run at once.
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
    """Whether it stops to start again with its group."""


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
    """Every initial child runs: for its own parent, this supervisor has started."""


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
"""The effects of most events: none."""
