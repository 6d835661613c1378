"""The plan of a roll-out: its waves, its deadlines, its checks, and who has to agree.

All times are in seconds. A plan that cannot work is refused when it is made, not in the middle of
a roll-out.
"""

import math
from collections.abc import Collection, Sequence
from statistics import NormalDist
from typing import Final

from pydantic import Field

from callboard.messages.control.spec import Backoff
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import UsageError

__all__ = [
    "OFFER_RETRY",
    "WAVES",
    "ApprovalPolicy",
    "Check",
    "RolloutPlan",
    "WaveSpec",
    "by_type",
    "exponential",
    "linear",
]

WAVES_MAX: Final = 1_000
CHECKS_MAX: Final = 64
OFFER_RETRY: Final = Backoff(min_s=0.5, max_s=10.0, jitter=0.0)
"""The wait before a target gets another offer after it did not answer one."""
TIME_S_MAX: Final = 30 * 86_400.0


class WaveSpec(Contract, name="callboard.configuration.wave"):
    """Which targets have the new version when this wave has been offered.

    The targets of all waves before are among them. The largest of the given ones counts.
    """

    targets: int = Field(default=0, ge=0)
    """So many of all."""
    percent: float = Field(default=0.0, ge=0.0, le=100.0)
    """Such a share of all, rounded down."""
    types: tuple[str, ...] = Field(default=(), max_length=1_000)
    """All targets of these types."""
    names: tuple[str, ...] = Field(default=(), max_length=1_000)
    """These targets."""


WAVES: Final = (
    WaveSpec(targets=1), WaveSpec(percent=5.0), WaveSpec(percent=25.0), WaveSpec(percent=100.0),
)  # fmt: skip


def linear(percent: float, first: int = 1) -> tuple[WaveSpec, ...]:
    """Some first targets, and then this share more with each wave. Raises `UsageError`."""
    if not 100.0 / (WAVES_MAX - 2) <= percent <= 100.0:
        raise UsageError(
            f"a linear roll-out has steps of {percent:g} %.", advice="Use 0.2 to 100 %."
        )
    count = math.ceil(100.0 / percent)
    steps = (WaveSpec(percent=min(100.0, (step + 1) * percent)) for step in range(count))
    return (WaveSpec(targets=first), *steps)


def exponential(percent: float, factor: float = 2.0, first: int = 1) -> tuple[WaveSpec, ...]:
    """Some first targets, then this share, and with each wave `factor` times as many.

    Raises `UsageError`.
    """
    if not (0.01 <= percent <= 100.0 and 1.1 <= factor <= 100.0):
        raise UsageError(
            f"an exponential roll-out begins with {percent:g} % and grows by {factor:g}.",
            advice="Begin with 0.01 to 100 %, and grow by 1.1 to 100.",
        )
    waves = [WaveSpec(targets=first)]
    while percent < 100.0:
        waves.append(WaveSpec(percent=percent))
        percent *= factor
    return (*waves, WaveSpec(percent=100.0))


def by_type(types: Sequence[str], first: int = 1) -> tuple[WaveSpec, ...]:
    """Some first targets, then all of one type after the other."""
    return (WaveSpec(targets=first), *(WaveSpec(types=(each,)) for each in types))


class Check(Contract, name="callboard.configuration.check"):
    """One rate that the new version must not raise: errors, slow answers, failed probes.

    An observation is good or bad. The shell says which: of a latency, those above a bound are bad.
    """

    name: str = Field(min_length=1, max_length=200)
    """Its name, by which observations come."""
    detectable: float = Field(default=0.05, gt=0.0, le=1.0)
    """The smallest rise of the rate that must be found."""
    expected: float = Field(default=0.01, ge=0.0, lt=1.0)
    """The rate that is usual; from it follows how many observations a verdict needs."""
    alpha: float = Field(default=0.01, gt=0.0, lt=0.5)
    """How often a version without a rise may fail."""
    power: float = Field(default=0.9, gt=0.5, lt=1.0)
    """How often a version with that rise must fail."""

    @property
    def observations_min(self) -> int:
        """How many observations of each side a verdict needs.

        The usual formula for two proportions, one-sided: Fleiss, Statistical Methods for Rates and
        Proportions, without the correction for continuity.
        """
        low, high = self.expected, min(1.0, self.expected + self.detectable)
        middle = (low + high) / 2.0
        normal = NormalDist()
        spread = normal.inv_cdf(1.0 - self.alpha) * math.sqrt(2.0 * middle * (1.0 - middle))
        spread += normal.inv_cdf(self.power) * math.sqrt(low * (1.0 - low) + high * (1.0 - high))
        return max(1, math.ceil(spread**2 / (high - low) ** 2))


class RolloutPlan(Contract, name="callboard.configuration.rollout_plan"):
    """How a package comes to its targets."""

    waves: tuple[WaveSpec, ...] = Field(default=WAVES, min_length=1, max_length=WAVES_MAX)
    """The waves, each with all targets of those before it."""
    checks: tuple[Check, ...] = Field(default=(), max_length=CHECKS_MAX)
    """The rates that the version must not raise."""
    alerts: tuple[str, ...] = Field(default=(), max_length=1_000)
    """Names of alerts; one that fires is a failure."""
    needs_health: bool = True
    """Whether a verdict needs a report on the health of each target that was moved."""
    nacks_max: int = Field(default=0, ge=0)
    """How many targets may refuse the version."""
    unhealthy_max: int = Field(default=0, ge=0)
    """How many targets may be unhealthy under the version."""
    unreachable_share_max: float = Field(default=0.1, ge=0.0, le=1.0)
    """With a larger share of unreachable targets among those offered, there is no data."""
    offer_s: float = Field(default=10.0, gt=0.0, le=TIME_S_MAX)
    """How long an answer to one offer may take."""
    offer_tries_max: int = Field(default=3, ge=1, le=100)
    """After so many offers without an answer a target counts as one that refuses."""
    settle_s: float = Field(default=1.0, ge=0.0, le=TIME_S_MAX)
    """The time between the last answer of a wave and its window."""
    judge_s: float = Field(default=30.0, ge=0.0, le=TIME_S_MAX)
    """The length of a window."""
    bake_s: float = Field(default=0.0, ge=0.0, le=TIME_S_MAX)
    """The time to bake after each other wave."""
    final_bake_s: float = Field(default=60.0, ge=0.0, le=TIME_S_MAX)
    """The time to bake after the last wave."""
    pause_s: float = Field(default=3_600.0, gt=0.0, le=TIME_S_MAX)
    """After this pause the roll-out goes back."""
    rolling_s: float = Field(default=86_400.0, gt=0.0, le=TIME_S_MAX)
    """All waves together."""
    rollback_s: float = Field(default=60.0, gt=0.0, le=TIME_S_MAX)
    """How long each step back may take."""
    validate_s: float = Field(default=300.0, gt=0.0, le=TIME_S_MAX)
    """How long validation may take."""
    approve_s: float = Field(default=86_400.0, gt=0.0, le=TIME_S_MAX)
    """How long it may wait for an approval."""
    backup_s: float = Field(default=300.0, gt=0.0, le=TIME_S_MAX)
    """How long it may take to see that all versions of now are stored."""
    queue_s: float = Field(default=86_400.0, gt=0.0, le=TIME_S_MAX)
    """How long it may wait for another roll-out of one of its components."""

    @property
    def offering_s(self) -> float:
        """How long a wave may take until all its targets have answered."""
        waits = (OFFER_RETRY.delay_s(each) for each in range(1, self.offer_tries_max))
        return self.offer_s * (self.offer_tries_max + 1) + sum(waits)

    def checked(self) -> "RolloutPlan":
        """The plan. Raises `UsageError` for one that cannot work."""
        names = [check.name for check in self.checks]
        if len(set(names)) < len(names):
            raise UsageError(
                "a plan has two checks of one name.", advice="Give each check its own name."
            )
        for number, wave in enumerate(self.waves, 1):
            if not (wave.targets or wave.percent or wave.types or wave.names):
                raise UsageError(
                    f"wave {number} of the plan has no targets.",
                    advice="Give it a number, a percentage, types or names.",
                )
        steps = [wave.percent for wave in self.waves if wave.percent]
        if sorted(set(steps)) != steps:
            raise UsageError(
                f"the percentages of the waves are {', '.join(f'{step:g}' for step in steps)}.",
                advice="Let each be larger than the one before it: a wave has those before, too.",
            )
        if self.judge_s == 0.0 and self.checks:
            raise UsageError(
                "a plan has checks and no time to judge.", advice="Set judge_s above 0."
            )
        return self


class ApprovalPolicy(Contract, name="callboard.configuration.approval_policy"):
    """Which packages need a second principal."""

    touches: tuple[str, ...] = ("permissions", "hooks")
    """A package that touches one of these needs an approval."""
    components: tuple[str, ...] = ()
    """So does one with one of these components."""
    targets_min: int = Field(default=0, ge=0)
    """So does one for so many targets or more; 0 for no such rule."""

    def reasons(
        self, touches: Collection[str], components: Collection[str], targets: int
    ) -> tuple[str, ...]:
        """Why a package needs an approval; nothing when it needs none."""
        found = [f"touches {each}" for each in self.touches if each in touches]
        found += [f"changes {each}" for each in self.components if each in components]
        if self.targets_min and targets >= self.targets_min:
            found.append(f"has {targets:,} targets")
        return tuple(found)
