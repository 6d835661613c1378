"""All roll-outs and all targets: the fold over their events; pure.

`RolloutBook.apply` is the only way in which state changes, so a book that is made of the events
equals the one that made them. It also says which version each target should have. Invariants:

1. A target has at most one outstanding offer.
2. A version that a target has refused is not wanted for it, until a new roll-out tries it again.
3. A version is wanted for a target only while its wave has been reached, or when it has settled.
4. A component has at most one active roll-out.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from callboard.messages.core.contract import Contract

from .events import (
    OffersAnswered,
    OffersMade,
    PackageProposed,
    RolloutMoved,
    TargetsGone,
    TargetsJoined,
    TargetsLost,
)
from .plan import OFFER_RETRY, RolloutPlan, WaveSpec
from .states import ACTIVE, ENDED, STEPS, WAVE_STEPS, RolloutState, TargetState, WaveStep
from .verdicts import Verdict
from .waves import waves_of

__all__ = ["Batch", "Rollout", "RolloutBook", "Target"]

BACK: Final = frozenset({RolloutState.ROLLING_BACK, RolloutState.ROLLBACK_FAILED})
ENDED_KEPT: Final = 1_000
"""The oldest roll-outs that have ended are forgotten; the journal has them."""
NEVER_S: Final = float("inf")
OFFER_TRIES_MAX: Final = 3
"""For a component that no roll-out is active for."""
AT_ONCE: Final = (WaveSpec(percent=100.0),)


@dataclass(slots=True)
class Target:
    """One target, and what is known of its configuration."""

    name: str
    kind: str
    component: str
    host: int
    active: str | None
    """The version under which it handles messages; None while that is not known."""
    settled: str
    """The version that it goes back to."""
    seen: str = ""
    """The version of the last offer that it has answered, whatever it said."""
    state: TargetState = TargetState.UNKNOWN
    nonce: int = 0
    """The outstanding offer; 0 for none."""
    offered: str = ""
    """The version of the last offer."""
    tries: int = 0
    """How many offers of this version went out in a row without an answer."""
    retry_at: float = 0.0
    """Before this time it gets no further offer."""
    heard_at: float = 0.0
    """When it answered or joined, the last time."""
    refused: dict[str, str] = field(default_factory=dict)
    """The versions that it has refused, and why."""


@dataclass(slots=True)
class Batch:
    """The targets of one offer that have not answered."""

    component: str
    version: str
    at: float
    open: dict[str, None]


@dataclass(slots=True)
class Rollout:
    """One attempt to bring one version of a package to its targets."""

    id: str
    package: str
    version: str
    components: dict[str, str]
    plan: RolloutPlan
    author: str
    reason: str
    touches: tuple[str, ...]
    at_once: bool
    proposed_at: float
    since: float
    """When it made its last step."""
    state: RolloutState = RolloutState.DRAFT
    step: WaveStep = WaveStep.NONE
    wave: int = -1
    began_at: float = 0.0
    """When its first wave began."""
    paused_in: WaveStep = WaveStep.NONE
    verdict: Verdict | None = None
    note: str = ""
    """Why it is where it is."""
    by: str = ""
    approved_by: tuple[str, ...] = ()
    waves: list[list[str]] = field(default_factory=list)
    wave_of: dict[str, int] = field(default_factory=dict)
    offered: dict[str, None] = field(default_factory=dict)
    """The targets that were offered the version, in order."""
    nacks: dict[str, str] = field(default_factory=dict)
    """Those that refused it, and why."""
    open: dict[str, None] = field(default_factory=dict)
    """The targets that the present step waits for."""
    failed_back: dict[str, str] = field(default_factory=dict)
    """The targets that refused the version from before."""

    @property
    def is_active(self) -> bool:
        """Whether it has its components for itself."""
        return self.state in ACTIVE

    def holds(self, name: str) -> bool:
        """Whether the newest wave, or one before it, has the target."""
        return 0 <= self.wave_of.get(name, len(self.waves) - 1) <= self.wave


class RolloutBook:
    """All roll-outs and targets of one system."""

    def __init__(self, events: Iterable[Contract] = ()) -> None:
        self.targets: Final[dict[str, Target]] = {}
        self.bound: Final[dict[str, dict[str, None]]] = {}
        """The names of the targets of each component."""
        self.on_host: Final[dict[int, dict[str, None]]] = {}
        self.rollouts: Final[dict[str, Rollout]] = {}
        self.active: Final[dict[str, Rollout]] = {}
        """The active roll-out of each component."""
        self.stable: Final[dict[str, str]] = {}
        """The version of each component that the last success has left."""
        self.batches: Final[dict[int, Batch]] = {}
        self._planned: tuple[str, list[list[str]]] | None = None
        """The waves that were planned last, until another event comes."""
        self.nonce = 0
        self.now = 0.0
        """The time of the newest event: time never goes back."""
        for event in events:
            self.apply(event)

    # --- what should be -------------------------------------------------------------------------

    def wanted(self, target: Target) -> str:
        """The version that a target should have now."""
        rollout = self.active.get(target.component)
        if rollout is not None and rollout.holds(target.name):
            version = rollout.components[target.component]
            goes_back = rollout.state in BACK
            if version not in target.refused and not (goes_back and target.active != version):
                return version
        return target.settled

    def is_open(self, rollout: Rollout, target: Target) -> bool:
        """Whether the present step of a roll-out waits for a target."""
        if target.state is TargetState.UNREACHABLE and target.retry_at == NEVER_S:
            return False
        version = rollout.components.get(target.component)
        if rollout.state in BACK:
            if rollout.holds(target.name):
                return False
            if target.nonce and target.offered != target.settled:
                return True  # It may take what is on its way to it.
            return target.active != target.settled and target.settled not in target.refused
        return rollout.holds(target.name) and (
            target.active != version and version not in target.refused
        )

    def tries_max(self, target: Target) -> int:
        """How many offers of one version a target gets before that is taken as its answer."""
        rollout = self.active.get(target.component)
        return OFFER_TRIES_MAX if rollout is None else rollout.plan.offer_tries_max

    def members(self, rollout: Rollout) -> Iterable[Target]:
        """The targets of the components of a roll-out."""
        for component in rollout.components:
            for name in self.bound.get(component, ()):
                yield self.targets[name]

    def reached(self, rollout: Rollout) -> Iterable[Target]:
        """The targets whose wave has been reached."""
        return (target for target in self.members(rollout) if rollout.holds(target.name))

    def planned(self, rollout: Rollout) -> list[list[str]]:
        """The waves that a roll-out would have: of targets that it changes. Raises `UsageError`."""
        if self._planned is not None and self._planned[0] == rollout.id:
            return self._planned[1]
        named = [
            (each.name, each.kind)
            for each in self.members(rollout)
            if each.settled != rollout.components[each.component]
        ]
        waves = waves_of(rollout.id, named, AT_ONCE if rollout.at_once else rollout.plan.waves)
        self._planned = rollout.id, waves
        return waves

    # --- the fold -------------------------------------------------------------------------------

    def apply(self, event: Contract) -> None:
        """Take an event that has happened."""
        if not isinstance(event, RolloutMoved):
            self._planned = None
        at: float = event.at  # type: ignore[attr-defined] # all events have it
        self.now = max(self.now, at)
        match event:
            case PackageProposed():
                self._proposed(event)
            case RolloutMoved():
                self._moved(event)
            case TargetsJoined():
                self._joined(event)
            case TargetsGone():
                for name in event.targets:
                    self._remove(name)
            case TargetsLost():
                for name in self.on_host.get(event.host, ()):
                    self._lost(self.targets[name])
            case OffersMade():
                self._offered(event)
            case OffersAnswered():
                self._answered(event)
            case _:
                raise AssertionError(f"{event.contract_name} is no event of roll-outs")

    def _proposed(self, event: PackageProposed) -> None:
        ended = [each.id for each in self.rollouts.values() if each.state in ENDED - ACTIVE]
        for rollout in ended[: max(0, len(ended) - ENDED_KEPT)]:
            del self.rollouts[rollout]
        fields = event.model_dump(exclude={"at", "plan", "rollout"})
        self.rollouts[event.rollout] = Rollout(
            id=event.rollout, plan=event.plan, proposed_at=event.at, since=event.at, **fields
        )

    def _moved(self, event: RolloutMoved) -> None:
        rollout = self.rollouts[event.rollout]
        before, step = rollout.state, rollout.step
        assert event.state in STEPS[before], f"{rollout.id}: {before} to {event.state}"
        if event.state is before is RolloutState.ROLLING:
            assert event.step in WAVE_STEPS[step], f"{rollout.id}: {step} to {event.step}"
        rollout.state, rollout.step, rollout.wave = event.state, event.step, event.wave
        rollout.since, rollout.note, rollout.by = event.at, event.reason, event.by
        rollout.verdict = event.verdict
        if event.state is RolloutState.APPROVED and event.by:
            rollout.approved_by = (*rollout.approved_by, event.by)
        if event.state is RolloutState.PAUSED:
            rollout.paused_in = step
        if event.state is RolloutState.ROLLING and before is RolloutState.BACKED_UP:
            self._begin(rollout)
        if before in ACTIVE and event.state not in ACTIVE:
            self._release(rollout)
        if before is RolloutState.ROLLBACK_FAILED:
            rollout.failed_back.clear()
            for target in self.members(rollout):  # They are asked once more.
                target.refused.pop(target.settled, None)
        if event.state is RolloutState.SUCCEEDED:
            self._settle(rollout)
        if event.state in ENDED:
            rollout.open.clear()
        elif event.state is RolloutState.ROLLING_BACK or event.step is WaveStep.OFFERING:
            self._reopen(rollout)

    def _begin(self, rollout: Rollout) -> None:
        """The components are its own now, and each refusal of its versions is forgotten."""
        rollout.began_at = rollout.since
        rollout.waves = self.planned(rollout)
        self._planned = None
        rollout.wave_of = {
            name: number for number, wave in enumerate(rollout.waves) for name in wave
        }
        self._hold(rollout)
        for target in self.members(rollout):
            target.refused.pop(rollout.components[target.component], None)
            if target.offered == rollout.components[target.component] and not target.nonce:
                target.tries, target.retry_at = 0, 0.0

    def _hold(self, rollout: Rollout) -> None:
        for component in rollout.components:
            assert component not in self.active, f"{component} has two active roll-outs"
            self.active[component] = rollout

    def _release(self, rollout: Rollout) -> None:
        for component in rollout.components:
            if self.active.get(component) is rollout:
                del self.active[component]

    def _settle(self, rollout: Rollout) -> None:
        self.stable.update(rollout.components)
        for target in self.members(rollout):
            if rollout.components[target.component] not in target.refused:
                target.settled = rollout.components[target.component]

    def _reopen(self, rollout: Rollout) -> None:
        """Find out whom the present step waits for."""
        rollout.open = {
            target.name: None for target in self.members(rollout) if self.is_open(rollout, target)
        }

    def _joined(self, event: TargetsJoined) -> None:
        for name, kind, component, active in event.targets:
            before = self.targets.get(name)
            settled = self.stable.get(component, active)
            if before is not None and before.component != component:
                self._remove(name)
                before = None
            target = before or Target(name, kind, component, event.host, active, settled)
            # An offer that is still on its way may change what it has just reported.
            reported = None if target.nonce else active
            self._drop_offer(target)
            # It may be another actor than the one that refused what must always be possible.
            target.refused.pop(target.settled, None)
            self.on_host.get(target.host, {}).pop(name, None)
            target.kind, target.host, target.active = kind, event.host, reported
            target.state, target.retry_at, target.heard_at = TargetState.UNKNOWN, 0.0, event.at
            self.targets[name] = target
            self.bound.setdefault(component, {})[name] = None
            self.on_host.setdefault(event.host, {})[name] = None
            self._update_open(target)

    def _remove(self, name: str) -> None:
        target = self.targets.pop(name, None)
        if target is None:
            return
        self._drop_offer(target)
        self.bound[target.component].pop(name, None)
        self.on_host.get(target.host, {}).pop(name, None)
        rollout = self.active.get(target.component)
        if rollout is not None:
            rollout.open.pop(name, None)

    def _lost(self, target: Target) -> None:
        self._drop_offer(target)
        target.state, target.active, target.retry_at = TargetState.UNREACHABLE, None, NEVER_S
        self._update_open(target)

    def _drop_offer(self, target: Target) -> None:
        batch = self.batches.get(target.nonce)
        if batch is not None:
            batch.open.pop(target.name, None)
            if not batch.open:
                del self.batches[target.nonce]
        target.nonce = 0

    def _update_open(self, target: Target) -> None:
        rollout = self.active.get(target.component)
        if rollout is None:
            return
        if self.is_open(rollout, target):
            rollout.open[target.name] = None
        else:
            rollout.open.pop(target.name, None)

    def _offered(self, event: OffersMade) -> None:
        self.nonce = max(self.nonce, event.nonce)
        rollout = self.active.get(event.component)
        is_new = rollout is not None and rollout.components[event.component] == event.version
        for name in event.targets:
            target = self.targets[name]
            assert not target.nonce, f"{name} has two outstanding offers"
            target.tries = target.tries + 1 if target.offered == event.version else 1
            target.nonce, target.offered = event.nonce, event.version
            target.state = TargetState.OFFERED
            if rollout is not None and is_new:
                rollout.offered[name] = None
        self.batches[event.nonce] = Batch(
            event.component, event.version, event.at, dict.fromkeys(event.targets)
        )

    def _answered(self, event: OffersAnswered) -> None:
        for name in event.acked:
            self._acked(event, name, TargetState.ACKED)
        for name in event.draining:
            self._acked(event, name, TargetState.DRAINING)
        for name, why, active in event.nacked:
            self._nacked(event, name, why, active)
        for name in event.timed_out:
            self._unanswered(event, name, TargetState.TIMED_OUT)
        for name in event.unreachable:
            self._unanswered(event, name, TargetState.UNREACHABLE)

    def _acked(self, event: OffersAnswered, name: str, state: TargetState) -> None:
        target = self.targets[name]
        self._drop_offer(target)
        target.active = target.seen = event.version
        target.state, target.tries, target.retry_at = state, 0, 0.0
        target.heard_at = event.at
        self._update_open(target)

    def _nacked(self, event: OffersAnswered, name: str, why: str, active: str | None) -> None:
        target = self.targets[name]
        self._drop_offer(target)
        target.seen, target.state, target.heard_at = event.version, TargetState.NACKED, event.at
        target.active = active
        target.refused[event.version] = why
        target.tries, target.retry_at = 0, 0.0
        rollout = self.active.get(target.component)
        if rollout is not None:
            if rollout.components[target.component] == event.version:
                rollout.nacks[name] = why
            elif rollout.state is RolloutState.ROLLING_BACK and event.version == target.settled:
                rollout.failed_back[name] = why
        self._update_open(target)

    def _unanswered(self, event: OffersAnswered, name: str, state: TargetState) -> None:
        target = self.targets[name]
        self._drop_offer(target)
        target.state, target.active = state, None
        if state is TargetState.UNREACHABLE and target.tries >= self.tries_max(target):
            target.retry_at = NEVER_S
        else:
            target.retry_at = event.at + OFFER_RETRY.delay_s(max(1, target.tries))
        self._update_open(target)
