"""Drives the core by hand: targets that answer at once by a table, and a clock that is a number."""

from collections.abc import Mapping
from typing import Any, Final

from callboard.actors.configuration.rollout.book import Rollout, Target
from callboard.actors.configuration.rollout.core import RolloutCore
from callboard.actors.configuration.rollout.effects import (
    Answers,
    AskAgreement,
    BackUp,
    SendOffers,
    Validate,
)
from callboard.actors.configuration.rollout.events import OffersMade
from callboard.actors.configuration.rollout.plan import Check, RolloutPlan
from callboard.messages.core.contract import Contract

__all__ = ["ERRORS", "Play"]

STEP_S: Final = 5.0
ERRORS: Final = Check(name="errors", expected=0.01, detectable=0.2)


class Play:
    """A core, its journal, and targets that do as `says` tells: by target, else by version."""

    def __init__(self, targets: int = 40, component: str = "c", kinds: int = 1) -> None:
        self.core = RolloutCore()
        self.journal: list[Contract] = []
        self.now = 1_000.0
        self.says: dict[str, str] = {}
        """`ack` (default), `nack`, `silent` (its host answers), `away` (nobody answers)."""
        self.offers: list[OffersMade] = []
        self.agreements: list[AskAgreement] = []
        self.agrees = True
        self.join(range(targets), component, kinds)

    def join(self, numbers: Any, component: str = "c", kinds: int = 1, active: str = "") -> None:
        """Targets start."""
        joined = [(f"t{each}", f"kind{each % kinds}", component, active) for each in numbers]
        self.core.join(1, joined, self.now)
        self.settle()

    def propose(
        self, name: str, components: Mapping[str, str] | None = None, **fields: Any
    ) -> Rollout:
        """Begin a roll-out of the version that has its name."""
        fields.setdefault("plan", RolloutPlan(checks=(ERRORS,)))
        package = fields.pop("package", "p")
        found = self.core.propose(
            name, package, name, components or {"c": name}, self.now, author="ada", **fields
        )
        self.settle()
        return found

    def settle(self) -> None:
        """Perform effects until none are left."""
        while True:
            self.journal += (events := self.core.take_events())
            self.offers += [each for each in events if isinstance(each, OffersMade)]
            effects = self.core.take_effects()
            if not effects:
                return
            for effect in effects:
                self._perform(effect)

    def _perform(self, effect: Any) -> None:
        core = self.core
        match effect:
            case Validate(rollout):
                core.validated(rollout, self.now, is_valid=True)
            case AskAgreement():
                self.agreements.append(effect)
                if self.agrees:
                    core.approve(effect.rollout, "bob", self.now)
            case BackUp(rollout):
                core.backed_up(rollout, self.now)
            case SendOffers(nonce) if nonce in core.book.batches:
                batch = core.book.batches[nonce]
                core.answered(batch.version, nonce, self._said(batch.version, batch.open), self.now)

    def _said(self, version: str, names: Any) -> Answers:
        acked, nacked, silent = [], [], []
        for name in names:
            match self.says.get(name) or self.says.get(version, "ack"):
                case "ack":
                    acked.append(name)
                case "nack":
                    kept = self.core.book.targets[name].active
                    nacked.append((name, "no", kept))
                case "silent":
                    silent.append(name)
                case _:
                    pass
        return Answers(acked=acked, nacked=nacked, timed_out=silent)

    def later(self, seconds: float, *, bad: int = 0, of: int = 100, reports: bool = True) -> None:
        """Some time passes, in small steps; targets report, the new ones with so many bad calls."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + STEP_S)
            if reports:
                self._report(bad, of)
            self.core.advance(self.now)
            self.settle()

    def _report(self, bad: int, of: int) -> None:
        for target in list(self.core.book.targets.values()):
            rollout = self.core.book.active.get(target.component)
            is_new = rollout is not None and target.active == rollout.components[target.component]
            self.core.judges.health(target.name, is_healthy=True)
            self.core.judges.observed("errors", target.name, bad=bad if is_new else 0, total=of)

    def targets(self) -> list[Target]:
        """All targets."""
        return list(self.core.book.targets.values())

    def having(self, version: str) -> int:
        """How many targets have this version."""
        return sum(each.active == version for each in self.targets())

    def restart(self) -> None:
        """Another controller goes on from the journal."""
        self.core = RolloutCore(self.journal)
        self.core.recover(self.now)
        self.settle()
