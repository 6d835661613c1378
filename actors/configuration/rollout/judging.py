"""What is observed while roll-outs are active, and what it says about them; pure.

Observations are not events: a controller that restarts judges again from the start of a window. A
failure counts in each step of rolling, and while a roll-out is paused.
"""

import math
from collections.abc import Iterable
from typing import Final

from .book import Rollout, RolloutBook, Target
from .states import ENDED, RolloutState, TargetState, WaveStep
from .verdicts import Counts, Evidence, Verdict, early_failure, judged, worst

__all__ = ["Judges"]

UNHEALTHY_REPORTS: Final = 2
"""So many reports in a row make a target unhealthy: one alone may be a delay."""
S: Final = RolloutState


class Judges:
    """The observations of one controller. The book says which targets have which version."""

    def __init__(self, book: RolloutBook) -> None:
        self._book = book
        self._evidence: dict[str, Evidence] = {}
        self._reports: dict[str, int] = {}
        """For each target that has reported, how many of its last reports said unhealthy."""
        self._unhealthy: dict[str, None] = {}
        self._before: dict[str, None] = {}
        """Targets that were unhealthy already when they took their version."""
        self._alerts: dict[str, None] = {}
        """The alerts that fire."""

    # --- observations -------------------------------------------------------------------------

    def evidence(self, rollout: Rollout) -> Evidence:
        """The observations of a roll-out since its window began."""
        return self._evidence.setdefault(rollout.id, Evidence())

    def moved(self, rollout: Rollout) -> None:
        """A roll-out has made a step: each wave and each judging has a window of its own."""
        if rollout.state in ENDED:
            self._evidence.pop(rollout.id, None)
        elif rollout.step in {WaveStep.OFFERING, WaveStep.JUDGING}:
            self._evidence[rollout.id] = Evidence()

    def forget(self, names: Iterable[str]) -> None:
        """These targets have another version now, or are gone: earlier reports do not count."""
        for name in names:
            self._reports.pop(name, None)
            if name in self._unhealthy:
                del self._unhealthy[name]
                self._before[name] = None
            if name not in self._book.targets:
                self._before.pop(name, None)

    def health(self, name: str, *, is_healthy: bool) -> None:
        """A report on the health of a target."""
        target = self._book.targets.get(name)
        if target is None or target.nonce or target.active is None:
            return  # Nobody knows which version the report is about.
        if is_healthy:
            self._reports[name] = 0
            self._unhealthy.pop(name, None)
            self._before.pop(name, None)
            return
        self._reports[name] = self._reports.get(name, 0) + 1
        if self._reports[name] >= UNHEALTHY_REPORTS and name not in self._before:
            self._unhealthy[name] = None

    def is_unhealthy(self, name: str) -> bool:
        """Whether a target counts as unhealthy."""
        return name in self._unhealthy or name in self._before

    def alert(self, name: str, *, is_firing: bool) -> None:
        """An alert fires, or has ended."""
        if is_firing:
            self._alerts[name] = None
        else:
            self._alerts.pop(name, None)

    def observed(self, check: str, target: str, *, bad: int, total: int) -> None:
        """So many of `total` observations of a target were bad: of calls, or of probes."""
        found = self._book.targets.get(target)
        rollout = None if found is None else self._book.active.get(found.component)
        if found is None or rollout is None or not 0 <= bad <= total:
            return
        is_new = self._is_new(rollout, found)
        if is_new is not None and any(each.name == check for each in rollout.plan.checks):
            counts = self.evidence(rollout).counts.setdefault(check, Counts())
            counts.add(is_new=is_new, bad=bad, total=total)

    def check_failed(self, rollout: Rollout, check: str, why: str) -> None:
        """A check could not observe."""
        self.evidence(rollout).errors[check] = why

    def _is_new(self, rollout: Rollout, target: Target) -> bool | None:
        """The side of a target; None when it is on neither.

        Of the last wave the earlier ones are the old side: no other is left, and they were judged.
        """
        version = rollout.components[target.component]
        if not rollout.holds(target.name):
            return False if target.active == target.settled != version else None
        if target.active != version:
            return None
        last = len(rollout.waves) - 1
        if 0 < rollout.wave == last:
            return rollout.wave_of.get(target.name, last) == last
        return True

    # --- what it says -------------------------------------------------------------------------

    def failure(self, rollout: Rollout, at: float) -> str:
        """Why a roll-out that rolls or is paused must go back now; empty when it need not."""
        return (
            self._overdue(rollout, at)
            or self._refused(rollout)
            or self._alerting(rollout)
            or self._unwell(rollout)
            or self._worse(rollout)
        )

    def _overdue(self, rollout: Rollout, at: float) -> str:
        plan = rollout.plan
        if rollout.began_at + plan.rolling_s <= at:
            return f"it has not succeeded within {plan.rolling_s:g} s"
        if rollout.state is S.PAUSED and rollout.since + plan.pause_s <= at:
            return f"it was paused for {plan.pause_s:g} s: {rollout.note}"
        is_late = rollout.step is WaveStep.OFFERING and rollout.since + plan.offering_s <= at
        if is_late and rollout.open:
            return f"{len(rollout.open)} targets did not answer within {plan.offering_s:g} s"
        return ""

    def _refused(self, rollout: Rollout) -> str:
        if len(rollout.nacks) <= rollout.plan.nacks_max:
            return ""
        name, why = next(iter(rollout.nacks.items()))
        return f"{len(rollout.nacks)} targets refuse it; {name}: {why}"

    def _alerting(self, rollout: Rollout) -> str:
        found = next((name for name in rollout.plan.alerts if name in self._alerts), "")
        return f"the alert {found} fires" if found else ""

    def _unwell(self, rollout: Rollout) -> str:
        """Too many targets are unhealthy under the new version, by number and by share."""
        if not self._unhealthy:
            return ""
        bad: dict[bool, list[str]] = {True: [], False: []}
        for name in self._unhealthy:
            target = self._book.targets[name]
            if target.component in rollout.components:
                bad[self._has_new(rollout, target)].append(name)
        if len(bad[True]) <= rollout.plan.unhealthy_max:
            return ""
        sizes = {True: 0, False: 0}
        for target in self._book.members(rollout):
            sizes[self._has_new(rollout, target)] += 1
        if len(bad[True]) * sizes[False] <= len(bad[False]) * sizes[True] and bad[False]:
            return ""
        return f"{len(bad[True])} targets are unhealthy under it, as {bad[True][0]}"

    def _has_new(self, rollout: Rollout, target: Target) -> bool:
        return target.active == rollout.components[target.component]

    def _worse(self, rollout: Rollout) -> str:
        found = self._evidence.get(rollout.id)
        if found is None or rollout.at_once:
            return ""
        for check in rollout.plan.checks:
            counts = found.counts.get(check.name)
            failure = "" if counts is None else early_failure(check, counts)
            if failure:
                return failure
        return ""

    def verdict(self, rollout: Rollout) -> tuple[Verdict, str]:
        """What a window says at its end."""
        said = [self._reached(rollout)]
        if not rollout.at_once:
            found = self.evidence(rollout)
            has_old = len(rollout.waves) > 1
            for check in rollout.plan.checks:
                if check.name in found.errors:
                    said.append((Verdict.ERROR, f"{check.name}: {found.errors[check.name]}"))
                else:
                    counts = found.counts.get(check.name, Counts())
                    said.append(judged(check, counts, has_old=has_old))
        return worst(said)

    def _reached(self, rollout: Rollout) -> tuple[Verdict, str]:
        away = silent = total = 0
        for target in self._book.reached(rollout):
            total += 1
            away += target.state is TargetState.UNREACHABLE
            silent += self._has_new(rollout, target) and target.name not in self._reports
        if away > rollout.plan.unreachable_share_max * total:
            return Verdict.NO_DATA, f"{away} of {total} targets cannot be reached"
        if silent and rollout.plan.needs_health:
            return Verdict.NO_DATA, f"{silent} of {total} targets have not reported their health"
        return Verdict.PASS, ""

    # --- deadlines ----------------------------------------------------------------------------

    def deadline(self, rollout: Rollout) -> float:
        """When the present state of a roll-out ends, at the latest."""
        plan, since = rollout.plan, rollout.since
        match rollout.state:
            case S.DRAFT:
                return since + plan.validate_s
            case S.VALIDATED:
                return since + plan.approve_s
            case S.APPROVED:
                return since + plan.backup_s
            case S.BACKED_UP:
                return since + plan.queue_s
            case S.ROLLING:
                return min(rollout.began_at + plan.rolling_s, self._step_ends(rollout))
            case S.PAUSED:
                return min(rollout.began_at + plan.rolling_s, since + plan.pause_s)
            case S.ROLLING_BACK:
                return since + plan.rollback_s
            case _:
                return math.inf

    def _step_ends(self, rollout: Rollout) -> float:
        plan, since = rollout.plan, rollout.since
        is_last = rollout.wave + 1 >= len(rollout.waves)
        match rollout.step:
            case WaveStep.OFFERING:
                return since + plan.offering_s if rollout.open else since
            case WaveStep.SETTLING:
                is_draining = any(
                    each.state is TargetState.DRAINING for each in self._book.reached(rollout)
                )
                return since + plan.settle_s + (plan.offer_s if is_draining else 0.0)
            case WaveStep.JUDGING:
                return since + plan.judge_s
            case WaveStep.BAKING if is_last:
                return math.inf if rollout.open else since + plan.final_bake_s
        return since + plan.bake_s

    def is_due(self, rollout: Rollout, at: float) -> bool:
        """Whether the step of a wave that has no failure is over."""
        return self._step_ends(rollout) <= at and not (
            rollout.step is WaveStep.OFFERING and rollout.open
        )
