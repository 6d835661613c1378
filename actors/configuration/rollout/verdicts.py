"""What the observations say about a version; pure.

The new side are targets with the new version, the old side those without it, over the same time.
A check passes when the upper bound of the difference stays below the smallest one that the plan
wants to find, and fails when the new side is worse by a one-sided test of two proportions (Fleiss,
as in `plan`). Less than the observations that this takes is no data.

While observations arrive, only a rate fails that chance alone gives in less than a hundredth of
`alpha`: it is tested again and again. A version under which everything fails is found with five
observations, if the old side has three without a failure.
"""

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Final

from .plan import Check

__all__ = ["Counts", "Evidence", "Verdict", "early_failure", "judged", "worst"]

EARLY: Final = 100.0


@enum.unique
class Verdict(enum.StrEnum):
    """What a check says. Only `PASS` goes forward by itself, and only `FAIL` goes back."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"
    ERROR = "error"


ORDER: Final = (
    Verdict.FAIL, Verdict.ERROR, Verdict.NO_DATA, Verdict.INCONCLUSIVE, Verdict.PASS,
)  # fmt: skip


@dataclass(slots=True)
class Counts:
    """The observations of one check since the window began."""

    new_bad: int = 0
    new_all: int = 0
    old_bad: int = 0
    old_all: int = 0

    def add(self, *, is_new: bool, bad: int, total: int) -> None:
        """Add observations of one side."""
        if is_new:
            self.new_bad += bad
            self.new_all += total
        else:
            self.old_bad += bad
            self.old_all += total


@dataclass(slots=True)
class Evidence:
    """What is known about one roll-out since its window began. It ends with the controller."""

    counts: dict[str, Counts] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """Checks that could not observe, and why."""


Said = tuple[Verdict, str]
"""A verdict, and its reason."""


def worst(said: Iterable[Said]) -> Said:
    """The verdict of all; pass when there are none."""
    return min(said, key=lambda each: ORDER.index(each[0]), default=(Verdict.PASS, ""))


def _chance_of(bad: int, total: int, rate: float) -> float:
    """How likely so many bad ones or more are, at this rate; an upper bound for many.

    The exact sum for few, and the bound of Chernoff and Hoeffding (1963, theorem 1) beyond.
    """
    if bad <= 0 or rate <= 0.0:
        return 1.0 if bad <= 0 else 0.0
    share = bad / total
    if share <= rate:
        return 1.0
    if total <= 64:
        return sum(
            math.comb(total, each) * rate**each * (1.0 - rate) ** (total - each)
            for each in range(bad, total + 1)
        )
    divergence = share * math.log(share / rate)
    if share < 1.0:
        divergence += (1.0 - share) * math.log((1.0 - share) / (1.0 - rate))
    return math.exp(-total * divergence)


def early_failure(check: Check, counts: Counts) -> str:
    """Why the check has failed already; empty when it has not."""
    if not counts.new_all:
        return ""
    usual = check.expected
    if counts.old_all:
        usual = max(usual, (counts.old_bad + 0.5) / (counts.old_all + 1.0))
    if usual >= 1.0 or _chance_of(counts.new_bad, counts.new_all, usual) >= check.alpha / EARLY:
        return ""
    return _sentence(check, counts)


def _sentence(check: Check, counts: Counts) -> str:
    return (
        f"{check.name}: {counts.new_bad} of {counts.new_all} bad under the new version, "
        f"{counts.old_bad} of {counts.old_all} without it"
    )


def judged(check: Check, counts: Counts, *, has_old: bool) -> Said:
    """The verdict at the end of a window. Without an old side the expected rate takes its place."""
    least = check.observations_min
    if counts.new_all < least or (has_old and counts.old_all < least):
        needed = f"{check.name}: a verdict needs {least} observations of each side"
        return Verdict.NO_DATA, f"{needed}; there are {counts.new_all} and {counts.old_all}"
    new = counts.new_bad / counts.new_all
    old = counts.old_bad / counts.old_all if has_old else check.expected
    old_part = 1.0 / counts.old_all if has_old else 0.0
    pooled = old
    if has_old:
        pooled = (counts.new_bad + counts.old_bad) / (counts.new_all + counts.old_all)
    spread = math.sqrt(pooled * (1.0 - pooled) * (1.0 / counts.new_all + old_part))
    normal = NormalDist()
    sentence = _sentence(check, counts)
    if new - old > normal.inv_cdf(1.0 - check.alpha) * spread:
        return Verdict.FAIL, sentence
    apart = math.sqrt(new * (1.0 - new) / counts.new_all + old * (1.0 - old) * old_part)
    if new - old + normal.inv_cdf(check.power) * apart < check.detectable:
        return Verdict.PASS, sentence
    return Verdict.INCONCLUSIVE, sentence
