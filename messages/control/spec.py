"""Supervision as data: what a supervisor keeps alive, and how it goes about it.

The words and their meaning are Erlang/OTP's. A spec is frozen and validated once,
where it is made, so nobody who receives one checks it again. A spec never says what
the child is: `ChildSpec.start` is a recipe that only the one who performs the starts
can read, so the same specs describe actors in a host and hosts in a cluster.

Invariant: every combination that OTP refuses is refused here, with `SpecError`, whose
`details["field"]` names the field.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import ClassVar, Final, NoReturn, Self, final

from ..core.errors import SpecError

__all__ = [
    "BACKOFF_STEP_S",
    "CHILDREN_MAX",
    "STOP_TIMEOUT_DEFAULT",
    "AutoShutdown",
    "Backoff",
    "ChildId",
    "ChildSpec",
    "Intensity",
    "Restart",
    "StopTimeout",
    "Strategy",
    "SupervisorSpec",
]

ChildId = Hashable
"""What a child is called inside its supervisor: an int or a str, as a rule."""

BACKOFF_STEP_S: Final = 0.1
"""The delay of the second restart in a row when the first one is immediate."""

CHILDREN_MAX: Final = 1_000_000
"""Children of one supervisor by default: ten times what one host is measured with."""


def _refuse(field: str, problem: str, advice: str) -> NoReturn:
    raise SpecError(f"{field} {problem}.", advice=advice, field=field)


def _check_number(field: str, value: object, *, low: float, high: float = math.inf) -> None:
    # bool is an int to Python, and nan compares false with everything.
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        upper = "" if high == math.inf else f" and at most {high:g}"
        _refuse(field, f"is {value!r}", f"It must be a number of at least {low:g}{upper}.")


def _check_type(field: str, value: object, wanted: type) -> None:
    if not isinstance(value, wanted):
        article = "an" if wanted.__name__[0] in "AEIOU" else "a"
        _refuse(field, f"is {value!r}", f"It must be {article} {wanted.__name__}.")


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:  # the only sure way: a tuple of lists passes for Hashable
        return False
    return True


@final
@unique
class Restart(StrEnum):
    """When a child that ended by itself is started again."""

    PERMANENT = "permanent"
    """Always."""

    TRANSIENT = "transient"
    """After an abnormal end only (see `ExitReason.is_abnormal`)."""

    TEMPORARY = "temporary"
    """Never; it is forgotten, also when a sibling's restart takes it down."""


@final
@unique
class Strategy(StrEnum):
    """Which children are restarted together with the one that ended."""

    ONE_FOR_ONE = "one_for_one"
    """None: children do not need each other."""

    ONE_FOR_ALL = "one_for_all"
    """All: each needs each."""

    REST_FOR_ONE = "rest_for_one"
    """Those started after it: each may need what was started before it."""


@final
@unique
class AutoShutdown(StrEnum):
    """Whether a supervisor ends by itself once its significant children have ended."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


@final
@dataclass(frozen=True, slots=True)
class Backoff:
    """How long something that keeps failing waits for its next try: a child for its next start.

    The n-th try in a row (n = 1, 2, ...) waits, with `random` in [0, 1),

        delay(n) = base(n) * (1 - jitter * random)

        base(n)  = min(max_s, min_s * factor ** (n - 1))             if min_s > 0
        base(1)  = 0                                                 if min_s = 0
        base(n)  = min(max_s, BACKOFF_STEP_S * factor ** (n - 2))    if min_s = 0, n > 1

    so `min_s = 0` tries again at once the first time, and the delay is never over `max_s`.
    Jitter only shortens: spread around the cap, half of all delays would be the cap
    itself, and whatever failed together would come back together.

    A supervisor ends the row, so that n is 1 again, once a child has run for `max_s`.
    """

    min_s: float = 0.0
    max_s: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        _check_number("Backoff.min_s", self.min_s, low=0.0)
        _check_number("Backoff.max_s", self.max_s, low=0.0)
        _check_number("Backoff.factor", self.factor, low=1.0)
        _check_number("Backoff.jitter", self.jitter, low=0.0, high=1.0)
        if math.inf in (self.min_s, self.max_s, self.factor):
            _refuse("Backoff.max_s", "or another field is infinite", "A delay must end.")
        if self.min_s > self.max_s:
            _refuse(
                "Backoff.max_s",
                f"is {self.max_s:g}, below min_s {self.min_s:g}",
                "Raise max_s or lower min_s.",
            )

    def delay_s(self, failures: int, random: float = 0.0) -> float:
        """The wait in seconds after so many failures in a row, from 1; without jitter as it is."""
        assert failures >= 1, "failures are counted from 1"
        first_s, power = self.min_s, failures - 1
        if first_s == 0.0:
            if failures == 1:
                return 0.0
            first_s, power = BACKOFF_STEP_S, failures - 2
        try:
            # `float` first: an int factor would grow without a bound instead of overflowing.
            base_s = min(self.max_s, first_s * float(self.factor) ** power)
        except OverflowError:
            base_s = self.max_s
        return base_s * (1.0 - self.jitter * random)


@final
@dataclass(frozen=True, slots=True)
class Intensity:
    """How many restarts within how long a supervisor takes for its children's trouble.

    One more than `restarts` within `period_s` (both ends included), and the trouble is
    the supervisor's own: it stops all children and escalates. 0 escalates at once.

    OTP's default is 1 in 5 s. With an immediate first restart, as `Backoff` has it, that
    gives up 2 crashes after the first bad message, so the default here is Elixir's: 3 in
    5 s, which survives a message that is delivered twice and still ends a crash loop
    before the back-off grows past a second. The window is per supervisor, so one with
    thousands of children that fail independently must be given its own.
    """

    restarts: int = 3
    period_s: float = 5.0

    def __post_init__(self) -> None:
        _check_number("Intensity.restarts", self.restarts, low=0, high=CHILDREN_MAX)
        _check_type("Intensity.restarts", self.restarts, int)
        _check_number("Intensity.period_s", self.period_s, low=0.0)
        if self.period_s == 0.0:
            _refuse("Intensity.period_s", "is 0", "A window needs a length.")


@final
@dataclass(frozen=True, slots=True)
class StopTimeout:
    """How long a child may take to stop before it is killed.

    `StopTimeout(5.0)` asks it, waits 5 s and kills it; `StopTimeout.INFINITY` never
    kills (for a child that is a supervisor, whose own children need their time);
    `StopTimeout.KILL` does not ask.
    """

    INFINITY: ClassVar[Self]
    KILL: ClassVar[Self]

    seconds: float

    def __post_init__(self) -> None:
        _check_number("StopTimeout.seconds", self.seconds, low=0.0)

    @property
    def is_infinite(self) -> bool:
        """Whether the child is waited for as long as it takes."""
        return self.seconds == math.inf

    @property
    def is_brutal(self) -> bool:
        """Whether the child is killed without being asked to stop."""
        return self.seconds == 0.0


StopTimeout.INFINITY = StopTimeout(math.inf)
StopTimeout.KILL = StopTimeout(0.0)

STOP_TIMEOUT_DEFAULT: Final = StopTimeout(5.0)
"""OTP's default for a worker."""


@final
@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child: what it is called, how it is restarted and stopped.

    A `significant` child can end its supervisor (see `AutoShutdown`) by ending itself, so
    it cannot be permanent.

    One spec may serve many dynamic children that differ in their id only.
    """

    id: ChildId
    restart: Restart = Restart.PERMANENT
    stop_timeout: StopTimeout = STOP_TIMEOUT_DEFAULT
    significant: bool = False
    backoff: Backoff | None = None
    """Its own back-off; None: its supervisor's. A group waits as long as the child whose
    end took it down."""

    def __post_init__(self) -> None:
        if self.id is None or self.id == "" or not _is_hashable(self.id):
            _refuse("ChildSpec.id", f"is {self.id!r}", "Give an int or a name.")
        _check_type("ChildSpec.restart", self.restart, Restart)
        _check_type("ChildSpec.stop_timeout", self.stop_timeout, StopTimeout)
        _check_type("ChildSpec.significant", self.significant, bool)
        if self.backoff is not None:
            _check_type("ChildSpec.backoff", self.backoff, Backoff)
        if self.significant and self.restart is Restart.PERMANENT:
            _refuse(
                "ChildSpec.significant",
                f"is set, but child {self.id!r} is permanent and never ends by itself",
                "Make it transient or temporary.",
            )


@final
@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """How a supervisor treats its children, whoever they are."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = Intensity()
    backoff: Backoff = Backoff()
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    children_max: int = CHILDREN_MAX

    def __post_init__(self) -> None:
        _check_type("SupervisorSpec.strategy", self.strategy, Strategy)
        _check_type("SupervisorSpec.intensity", self.intensity, Intensity)
        _check_type("SupervisorSpec.backoff", self.backoff, Backoff)
        _check_type("SupervisorSpec.auto_shutdown", self.auto_shutdown, AutoShutdown)
        _check_number("SupervisorSpec.children_max", self.children_max, low=1)
        _check_type("SupervisorSpec.children_max", self.children_max, int)
