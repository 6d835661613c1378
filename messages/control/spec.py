"""Supervision as data: the children of a supervisor, and its policy.

The words and their meaning are Erlang/OTP's. A spec is frozen and validated once, when it
is made. A spec never says what the child is, so the same specs describe actors in a host
and hosts in a cluster.

Invariant: a combination that OTP refuses raises `SpecError`, whose `details["field"]` names
the field.
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
"""The name of a child inside its supervisor: usually an int or a str."""

BACKOFF_STEP_S: Final = 0.1
"""The delay of the second restart in a row, in seconds, when the first one is immediate."""

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
    except TypeError:  # the only sure test: a tuple of lists passes for Hashable
        return False
    return True


@final
@unique
class Restart(StrEnum):
    """After which exits a supervisor restarts a child."""

    PERMANENT = "permanent"
    """After every exit."""

    TRANSIENT = "transient"
    """After an abnormal exit (see `ExitReason.is_abnormal`)."""

    TEMPORARY = "temporary"
    """Never. The child is removed, even when the restart of a sibling stops it."""


@final
@unique
class Strategy(StrEnum):
    """Which siblings a supervisor restarts together with a child that ended."""

    ONE_FOR_ONE = "one_for_one"
    """None: children are independent."""

    ONE_FOR_ALL = "one_for_all"
    """All: each child needs all others."""

    REST_FOR_ONE = "rest_for_one"
    """Those that started after it: a child may need the children before it."""


@final
@unique
class AutoShutdown(StrEnum):
    """Whether a supervisor shuts down when its significant children have ended by themselves."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


@final
@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits between repeated attempts, such as the restarts of a child; in seconds.

    The n-th attempt in a row (n = 1, 2, ...) waits, with `random` in [0, 1),

        delay(n) = base(n) * (1 - jitter * random)

        base(n)  = min(max_s, min_s * factor ** (n - 1))             if min_s > 0
        base(1)  = 0                                                 if min_s = 0
        base(n)  = min(max_s, BACKOFF_STEP_S * factor ** (n - 2))    if min_s = 0, n > 1

    With `min_s = 0` the first attempt does not wait. The delay never exceeds `max_s`.
    Jitter only shortens a delay: jitter around the cap would cut half of all delays to the
    cap itself, and children that failed together would restart together.

    A supervisor starts again with n = 1 once a child has run for `max_s`. Raises `SpecError`
    for a field out of its range.
    """

    min_s: float = 0.0
    """The first wait; 0 for none."""
    max_s: float = 30.0
    """The longest wait."""
    factor: float = 2.0
    """By how much each wait is longer than the one before."""
    jitter: float = 0.2
    """The share of each wait that chance may take away, from 0 to 1."""

    def __post_init__(self) -> None:
        _check_number("Backoff.min_s", self.min_s, low=0.0)
        _check_number("Backoff.max_s", self.max_s, low=0.0)
        _check_number("Backoff.factor", self.factor, low=1.0)
        _check_number("Backoff.jitter", self.jitter, low=0.0, high=1.0)
        if math.inf in (self.min_s, self.max_s, self.factor):
            _refuse("Backoff.max_s", "or another field is infinite", "Give finite numbers.")
        if self.min_s > self.max_s:
            _refuse(
                "Backoff.max_s",
                f"is {self.max_s:g}, below min_s {self.min_s:g}",
                "Raise max_s or lower min_s.",
            )

    def delay_s(self, failures: int, random: float = 0.0) -> float:
        """The wait in seconds after this many failures in a row, from 1."""
        assert failures >= 1, "failures are counted from 1"
        first_s, power = self.min_s, failures - 1
        if first_s == 0.0:
            if failures == 1:
                return 0.0
            first_s, power = BACKOFF_STEP_S, failures - 2
        try:
            # `float` first: an int power grows without bound and never overflows.
            base_s = min(self.max_s, first_s * float(self.factor) ** power)
        except OverflowError:
            base_s = self.max_s
        return base_s * (1.0 - self.jitter * random)


@final
@dataclass(frozen=True, slots=True)
class Intensity:
    """How many restarts within a period a supervisor allows.

    With one more than `restarts` within `period_s` seconds (both ends included), the
    supervisor stops all children and fails itself. 0 allows no restart.

    OTP's default is 1 in 5 s. With an immediate first restart, the default of `Backoff`, a
    supervisor would fail at the second crash. The default here is Elixir's: 3 in 5 s. It
    survives a bad message that arrives twice, and still ends a crash loop before the
    back-off exceeds a second. The window is per supervisor: give a supervisor of thousands
    of independent children a larger one.
    """

    restarts: int = 3
    """The most restarts within the period."""
    period_s: float = 5.0
    """The period."""

    def __post_init__(self) -> None:
        _check_number("Intensity.restarts", self.restarts, low=0, high=CHILDREN_MAX)
        _check_type("Intensity.restarts", self.restarts, int)
        _check_number("Intensity.period_s", self.period_s, low=0.0)
        if self.period_s == 0.0:
            _refuse("Intensity.period_s", "is 0", "Give a period of more than 0 s.")


@final
@dataclass(frozen=True, slots=True)
class StopTimeout:
    """How long a child may take to stop before its supervisor kills it.

    `StopTimeout(5.0)` asks the child to stop, waits 5 s and kills it. `StopTimeout.INFINITY`
    never kills; it suits a supervisor as a child, whose own children need time.
    `StopTimeout.KILL` kills at once.
    """

    INFINITY: ClassVar[Self]
    """Never kills."""
    KILL: ClassVar[Self]
    """Kills at once."""

    seconds: float
    """The seconds to wait; infinite for `INFINITY`."""

    def __post_init__(self) -> None:
        _check_number("StopTimeout.seconds", self.seconds, low=0.0)

    @property
    def is_infinite(self) -> bool:
        """Whether the child is never killed."""
        return self.seconds == math.inf

    @property
    def is_brutal(self) -> bool:
        """Whether the child is killed at once."""
        return self.seconds == 0.0


StopTimeout.INFINITY = StopTimeout(math.inf)
StopTimeout.KILL = StopTimeout(0.0)

STOP_TIMEOUT_DEFAULT: Final = StopTimeout(5.0)
"""OTP's default for a worker."""


@final
@dataclass(frozen=True, slots=True)
class ChildSpec:
    """The supervision of one child: its id, and how it is restarted and stopped.

    A `significant` child can shut its supervisor down when it ends (see `AutoShutdown`), so
    it cannot be permanent. Many dynamic children that differ only in their id may share a
    spec.
    """

    id: ChildId
    restart: Restart = Restart.PERMANENT
    stop_timeout: StopTimeout = STOP_TIMEOUT_DEFAULT
    significant: bool = False
    backoff: Backoff | None = None
    """Its own back-off; None for its supervisor's. A group that restarts waits as long as the
    child that failed."""

    def __post_init__(self) -> None:
        if self.id is None or self.id == "" or not _is_hashable(self.id):
            _refuse("ChildSpec.id", f"is {self.id!r}", "Give an int, or a text that is not empty.")
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
    """The policy of a supervisor for all its children."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    """Which siblings a failed child takes along."""
    intensity: Intensity = Intensity()
    """How many restarts it allows."""
    backoff: Backoff = Backoff()
    """The waits before restarts, of children without their own."""
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    """Whether the end of significant children ends the supervisor."""
    children_max: int = CHILDREN_MAX
    """The most children at a time."""

    def __post_init__(self) -> None:
        _check_type("SupervisorSpec.strategy", self.strategy, Strategy)
        _check_type("SupervisorSpec.intensity", self.intensity, Intensity)
        _check_type("SupervisorSpec.backoff", self.backoff, Backoff)
        _check_type("SupervisorSpec.auto_shutdown", self.auto_shutdown, AutoShutdown)
        _check_number("SupervisorSpec.children_max", self.children_max, low=1)
        _check_type("SupervisorSpec.children_max", self.children_max, int)
