"""The rules of OTP's documentation for a supervisor's children, as a table.

The sources are the supervisor's manual and the design principles, not this code:

- permanent: always restarted; transient: restarted only after an abnormal exit, which is
  any reason but normal and shutdown; temporary: never restarted, even when the strategy
  stops it with others, and its specification is dropped.
- one_for_one: only the child restarts. one_for_all: all others stop, and all restart.
  rest_for_one: the children after it in start order stop, and restart with it.
- Stops happen in reverse start order, starts in start order.

Each level (actors in a host, hosts in a cluster) makes one test for each of `CELLS` and
`EXTRAS`: `test_<strategy>_<restart>_<reason>` and `test_<strategy>_<extra>`.
"""

from dataclasses import dataclass
from typing import Final, Literal

from callboard.messages.control.lifecycle import ENDED_NORMALLY, SHUT_DOWN, Exit, ExitReason
from callboard.messages.control.spec import Restart, Strategy

__all__ = [
    "CELLS",
    "CHILDREN",
    "EXITS",
    "EXTRAS",
    "SUBJECT",
    "Cell",
    "Outcome",
    "names",
]

SUBJECT: Final = "subject"
CHILDREN: Final = ("first", SUBJECT, "next", "last")
"""In start order. All are permanent but the subject, and "last", which is temporary."""

EXITS: Final[dict[str, Exit]] = {
    "normal": ENDED_NORMALLY,
    "shutdown": SHUT_DOWN,
    "abnormal": Exit(ExitReason.FAILED, {"message": "boom"}),
    "killed": Exit(ExitReason.KILLED),
    "lost": Exit(ExitReason.HOST_LOST),
}
"""The exits of the subject; OTP has the first two and "any other term"."""


@dataclass(frozen=True)
class Outcome:
    """The expected outcome at rest."""

    stops: tuple[str, ...] = ()
    """Siblings that stop, in order."""
    starts: tuple[str, ...] = ()
    """Children that start again, in order."""
    subject: Literal["running", "down", "forgotten"] = "running"
    last: Literal["running", "forgotten"] = "running"


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix."""

    strategy: Strategy
    restart: Restart
    reason: str
    outcome: Outcome

    @property
    def name(self) -> str:
        """The name of its test."""
        return f"test_{self.strategy}_{self.restart}_{self.reason}"


_ALONE: Final = Outcome(starts=(SUBJECT,))
_ALL: Final = Outcome(
    stops=("last", "next", "first"), starts=("first", SUBJECT, "next"), last="forgotten"
)
_REST: Final = Outcome(stops=("last", "next"), starts=(SUBJECT, "next"), last="forgotten")
_DOWN: Final = Outcome(subject="down")
_FORGOTTEN: Final = Outcome(subject="forgotten")

_TABLE: Final[dict[Restart, dict[str, dict[Strategy, Outcome]]]] = {
    Restart.PERMANENT: {
        reason: {
            Strategy.ONE_FOR_ONE: _ALONE,
            Strategy.ONE_FOR_ALL: _ALL,
            Strategy.REST_FOR_ONE: _REST,
        }
        for reason in ("normal", "shutdown", "abnormal", "killed", "lost")
    },
    Restart.TRANSIENT: {
        **{
            reason: dict.fromkeys(Strategy, _DOWN)  # its specification is kept
            for reason in ("normal", "shutdown")
        },
        **{
            reason: {
                Strategy.ONE_FOR_ONE: _ALONE,
                Strategy.ONE_FOR_ALL: _ALL,
                Strategy.REST_FOR_ONE: _REST,
            }
            for reason in ("abnormal", "killed", "lost")
        },
    },
    Restart.TEMPORARY: {
        reason: dict.fromkeys(Strategy, _FORGOTTEN)
        for reason in ("normal", "shutdown", "abnormal", "killed", "lost")
    },
}

CELLS: Final = tuple(
    Cell(strategy, restart, reason, _TABLE[restart][reason][strategy])
    for strategy in Strategy
    for restart in Restart
    for reason in EXITS
)

EXTRAS: Final = (
    "escalation",  # one restart too many: all stop in reverse, and the parent decides
    "start_fails_half_way",  # the running children stop in reverse, and the start fails
    "restart_that_fails",  # the supervisor tries again, and answers meanwhile
    "ordered_stop",  # is the exact reverse of the start
)
"""Tests of every strategy at every level, in addition to the cells."""


def names(extras: tuple[str, ...] = EXTRAS) -> list[str]:
    """The names of the tests that a level must have."""
    return [cell.name for cell in CELLS] + [
        f"test_{strategy}_{extra}" for strategy in Strategy for extra in extras
    ]
