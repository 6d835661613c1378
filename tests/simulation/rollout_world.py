"""A model of targets, hosts and a controller that is killed at every step, around the real core.

Everything but the core is a model: messages have delays and get lost, hosts die and are cut off,
targets crash and join late, the controller dies before or after what it appends. Its journal is
all that it keeps. The checker looks at the journal and at the targets, not at the core's state.
"""

import contextlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from callboard.actors.configuration.rollout.book import RolloutBook
from callboard.actors.configuration.rollout.core import RolloutCore
from callboard.actors.configuration.rollout.effects import (
    Answers,
    AskAgreement,
    BackUp,
    Effect,
    SendOffers,
    Validate,
)
from callboard.actors.configuration.rollout.events import (
    OffersAnswered,
    OffersMade,
    PackageProposed,
    RolloutMoved,
    TargetsGone,
    TargetsJoined,
    TargetsLost,
)
from callboard.actors.configuration.rollout.judging import Judges
from callboard.actors.configuration.rollout.plan import ApprovalPolicy, Check, RolloutPlan
from callboard.actors.configuration.rollout.states import ENDED, RolloutState, TargetState, WaveStep
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError

__all__ = ["FAULTS", "Package", "RolloutWorld", "WorldTarget"]

HEALTH_S: Final = 0.2
CALLS: Final = 12
LOST: Final = 0.02
"""The share of answers that get lost."""
POLICY: Final = ApprovalPolicy()
PLAN: Final = RolloutPlan(
    checks=(Check(name="errors", expected=0.02, detectable=0.3),),
    offer_s=0.5, offer_tries_max=3, settle_s=0.1, judge_s=1.0, bake_s=0.1, final_bake_s=0.5,
    pause_s=3.0, rolling_s=60.0, rollback_s=10.0, queue_s=60.0, unreachable_share_max=0.6,
)  # fmt: skip
FAULTS: Final = (
    "nack", "crash", "silent", "unhealthy", "errors", "slow_errors", "invalid", "stuck",
)  # fmt: skip
"""What a bad package does to a target that gets it; `invalid` is found by its validation, and a
target that is stuck has errors and refuses every other version."""
AT_ONCE: Final = {"nack", "crash", "silent", "unhealthy"}
"""Those that show in each target at once."""


@dataclass(frozen=True, slots=True)
class Package:
    """A version of a package, and what it does."""

    version: str
    fault: str = ""
    kinds: frozenset[str] = frozenset()
    """The types of targets that it does it to; none for all."""

    def harms(self, kind: str) -> str:
        """The fault that a target of this type shows."""
        return self.fault if not self.kinds or kind in self.kinds else ""


@dataclass(slots=True)
class WorldTarget:
    """What a target really does."""

    name: str
    kind: str
    component: str
    host: int
    active: str = ""
    nonce: int = 0
    said: Answers | None = None
    alive: bool = True
    seen: set[str] = field(default_factory=set)
    """All versions that were ever active."""


class RolloutWorld:
    """One run. `draw` gives numbers from 0 to 1, `complain` takes what does not hold."""

    def __init__(
        self,
        draw: Callable[[], float],
        complain: Callable[[str, str], None],
        *,
        faulty: bool = True,
    ) -> None:
        self.draw = draw
        self._complain = complain
        self._faulty = faulty
        self.now = 0.0
        self.journal: list[Contract] = []
        self.targets: dict[str, WorldTarget] = {}
        self.packages: dict[str, Package] = {"": Package("")}
        self.dead: set[int] = set()
        self.cut: set[int] = set()
        self.core: RolloutCore | None = RolloutCore(policy=POLICY)
        self.kills = 0
        self.calls: Counter[str] = Counter()
        """For each version the calls that were reported."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._quiet = not faulty
        self._wake_at = float("inf")
        self.check = Checker(self)

    # --- the loop -----------------------------------------------------------------------------

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something after a while."""
        self._number += 1
        heapq.heappush(self._queue, (self.now + delay_s, self._number, action))

    def run(self, until_s: float) -> None:
        """Go on until this time."""
        while self._queue and self._queue[0][0] <= until_s:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = until_s

    def tell(self, what: Callable[[RolloutCore], object]) -> None:
        """Let the controller do something; it may die of it, and it is deaf while it is down."""
        core = self.core
        if core is None:
            return
        try:
            with contextlib.suppress(CallboardError):
                what(core)
        except AssertionError as error:
            self.complain("table_holds", str(error))
            return
        self._commit(core)

    def _commit(self, core: RolloutCore) -> None:
        events = core.take_events()
        dies = self._faulty and not self._quiet and events and self.draw() < 0.06
        if dies and self.draw() < 0.5:
            self._kill()  # Nothing was stored.
            return
        self.journal += events
        self.check.after(events)
        if dies:
            self._kill()  # Stored, and nobody has heard of it.
            return
        for effect in core.take_effects():
            self._perform(effect)
        deadline = core.next_deadline()
        if deadline is not None and deadline < self._wake_at:
            self._wake_at = max(deadline, self.now)
            self.later(max(0.0, deadline - self.now) + 1e-6, self._wake)

    def _wake(self) -> None:
        self._wake_at = float("inf")
        self.tell(lambda core: core.advance(self.now))

    def _kill(self) -> None:
        self.kills += 1
        self.core = None
        self._wake_at = float("inf")
        self.later(0.05 + 0.2 * self.draw(), self._restart)

    def _restart(self) -> None:
        self.core = core = RolloutCore(self.journal, policy=POLICY)
        core.recover(self.now)
        self._commit(core)
        for host in {target.host for target in self.targets.values()} - self.dead - self.cut:
            self._join_host(host)

    # --- effects ------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Validate(rollout):
                version = self._version_of(rollout)
                is_valid = self.packages[version].fault != "invalid"
                self.later(
                    0.05,
                    lambda: self.tell(
                        lambda core: core.validated(rollout, self.now, is_valid=is_valid)
                    ),
                )
            case AskAgreement(rollout, _):
                self.later(
                    0.1, lambda: self.tell(lambda core: core.approve(rollout, "second", self.now))
                )
            case BackUp(rollout):
                self.later(0.02, lambda: self.tell(lambda core: core.backed_up(rollout, self.now)))
            case SendOffers(nonce):
                self._send(nonce)

    def _version_of(self, rollout: str) -> str:
        assert self.core is not None
        return self.core.book.rollouts[rollout].version

    def _send(self, nonce: int) -> None:
        assert self.core is not None
        batch = self.core.book.batches.get(nonce)
        if batch is None:
            return
        hosts: dict[int, list[str]] = {}
        for name in batch.open:
            hosts.setdefault(self.core.book.targets[name].host, []).append(name)
        for host, names in hosts.items():
            arrive = partial(self._arrive, host, names, batch.version, nonce)
            self.later(0.001 + 0.01 * self.draw(), arrive)

    def _arrive(self, host: int, names: list[str], version: str, nonce: int) -> None:
        if host in self.cut:
            return
        if host in self.dead:
            self._answer(host, version, nonce, Answers(unreachable=names))
            return
        for name in names:
            target = self.targets.get(name)
            if target is None or not target.alive or target.host != host or nonce < target.nonce:
                continue
            if nonce > target.nonce:
                target.nonce = nonce
                target.said = self._apply(target, version)
            if target.said is not None:
                self._answer(host, version, nonce, target.said)

    def _apply(self, target: WorldTarget, version: str) -> Answers | None:
        fault = self.packages[version].harms(target.kind)
        kept = (target.name, fault, target.active)
        if target.active != version and self._is_stuck(target):
            return Answers(nacked=((target.name, "stuck", target.active),))
        if fault == "nack":
            return Answers(nacked=(kept,))
        if fault == "crash":
            target.seen.add(version)
            target.active = ""
            return Answers(nacked=((target.name, fault, ""),))
        if fault == "silent":
            target.seen.add(version)
            return Answers(timed_out=(target.name,))
        target.active = version
        target.seen.add(version)
        return Answers(acked=(target.name,))

    def _is_stuck(self, target: WorldTarget) -> bool:
        return self.packages[target.active].harms(target.kind) == "stuck"

    def _answer(self, host: int, version: str, nonce: int, said: Answers) -> None:
        is_lost = self._faulty and not self._quiet and self.draw() < LOST
        if host in self.cut or is_lost:
            return
        delay_s = 0.001 + 0.02 * self.draw()
        self.later(
            delay_s, lambda: self.tell(lambda core: core.answered(version, nonce, said, self.now))
        )

    # --- what happens -------------------------------------------------------------------------

    def add(self, names: Iterable[tuple[str, str, str]], host: int) -> None:
        """Targets start on a host."""
        for name, kind, component in names:
            self.targets[name] = WorldTarget(name, kind, component, host)
        self._join_host(host)

    def _join_host(self, host: int) -> None:
        joined = tuple(
            (each.name, each.kind, each.component, each.active)
            for each in self.targets.values()
            if each.host == host and each.alive
        )
        if joined and host not in self.dead and host not in self.cut:
            self.tell(lambda core: core.join(host, joined, self.now))

    def crash_host(self, host: int) -> None:
        """A host dies, and comes back with its targets, which have forgotten everything."""
        self.dead.add(host)
        for target in self.targets.values():
            if target.host == host:
                target.active, target.nonce, target.said = "", 0, None
        self.later(0.01, lambda: self.tell(lambda core: core.lost(host, self.now)))
        self.later(0.1 + 0.5 * self.draw(), lambda: self._revive(host))

    def _revive(self, host: int) -> None:
        self.dead.discard(host)
        self._join_host(host)

    def cut_off(self, host: int) -> None:
        """A host is cut off for a while."""
        self.cut.add(host)
        self.later(0.2 + 1.5 * self.draw(), lambda: self._reconnect(host))

    def _reconnect(self, host: int) -> None:
        self.cut.discard(host)
        self._join_host(host)

    def observe(self) -> None:
        """Each reachable target reports its health and its calls, again and again."""
        self.later(HEALTH_S, self.observe)
        reports = []
        for target in self.targets.values():
            if target.alive and target.host not in self.dead and target.host not in self.cut:
                fault = self.packages[target.active].harms(target.kind)
                rate = {"errors": 0.9, "slow_errors": 0.6, "stuck": 0.9}.get(fault, 0.0)
                bad = sum(self.draw() < rate for _ in range(CALLS)) if rate else 0
                reports.append((target.name, fault != "unhealthy", bad))
        if self.core is not None:
            for name, _, _ in reports:
                self.calls[self.targets[name].active] += CALLS
        self.tell(lambda core: core.observe(self.now, lambda judges: _report(judges, reports)))
        self._call_hosts({self.targets[name].host for name, _, _ in reports})

    def _call_hosts(self, alive: set[int]) -> None:
        """The controller asks a host that reports for its targets, if it could not reach some."""
        if self.core is not None:
            known = self.core.book.targets.values()
            away = {each.host for each in known if each.state is TargetState.UNREACHABLE}
            for host in sorted(away & alive):
                self._join_host(host)

    def settle(self) -> None:
        """No more faults."""
        self._quiet = True
        for host in list(self.cut):
            self._reconnect(host)

    def finish(self, horizon_s: float) -> None:
        """Run until all roll-outs have ended, and a little longer; then check the end."""
        self.settle()
        until_s = self.now + horizon_s
        while self.now < until_s and not self._has_ended():
            self.run(self.now + 1.0)
        self.run(self.now + 5.0)
        self.check.at_the_end()

    def _has_ended(self) -> bool:
        return self.core is not None and all(
            each.state in ENDED for each in self.core.book.rollouts.values()
        )

    def complain(self, invariant: str, seen: str) -> None:
        """Something does not hold."""
        self._complain(invariant, f"{seen}, at {self.now:.3f} s")


def _report(judges: Judges, reports: Iterable[tuple[str, bool, int]]) -> None:
    for name, is_healthy, bad in reports:
        judges.health(name, is_healthy=is_healthy)
        judges.observed("errors", name, bad=bad, total=CALLS)


class Checker:
    """The invariants, from the journal and from what targets really do."""

    def __init__(self, world: RolloutWorld) -> None:
        self._world = world
        self._open: dict[str, int] = {}
        self._refused: dict[str, set[str]] = {}
        self._state: dict[str, RolloutMoved] = {}
        self._offered: dict[str, list[str]] = {}
        """For each version the targets, in order."""
        self._versions: dict[str, dict[str, str]] = {}
        self._settled: dict[str, str] = {}
        """For each component."""
        self._size: dict[str, int] = {}
        self._bound: dict[str, str] = {}
        self._at_once: set[str] = set()
        self._seen: dict[str, int] = {}
        """The calls under its version when the window of a roll-out began."""
        self._stopped: set[str] = set()
        """Roll-outs that a refusal of the version from before has stopped."""

    def after(self, events: Iterable[Contract]) -> None:
        """Check some new events."""
        for event in events:
            match event:
                case OffersMade():
                    self._made(event)
                case OffersAnswered():
                    names = [*event.acked, *event.draining, *event.timed_out, *event.unreachable]
                    self._close(names)
                    self._close(name for name, _, _ in event.nacked)
                    for name, _, _ in event.nacked:
                        self._refused.setdefault(name, set()).add(event.version)
                        self._stop(name, event.version)
                case TargetsJoined():
                    self._close(name for name, *_ in event.targets)
                    for name, _, part, _ in event.targets:
                        self._bound[name] = part
                        self._refused.get(name, set()).discard(self._settled.get(part, ""))
                case TargetsGone():
                    self._close(event.targets)
                case TargetsLost():
                    targets = self._world.targets.values()
                    self._close(each.name for each in targets if each.host == event.host)
                case RolloutMoved():
                    self._moved(event)
                case PackageProposed():
                    self._versions[event.rollout] = event.components
                    if event.at_once:
                        self._at_once.add(event.rollout)
                case _:
                    raise AssertionError(event)
        if self._world.draw() < 0.02:
            self._refold()

    def _stop(self, name: str, version: str) -> None:
        component = self._bound[name]
        if version == self._settled.get(component, ""):
            self._stopped.update(
                rollout
                for rollout, moved in self._state.items()
                if moved.state is RolloutState.ROLLING_BACK and component in self._versions[rollout]
            )

    def _close(self, names: Iterable[str]) -> None:
        for name in names:
            self._open.pop(name, None)

    def _made(self, event: OffersMade) -> None:
        complain = self._world.complain
        rolling = None
        for rollout, moved in self._state.items():
            is_here = self._versions[rollout].get(event.component) == event.version
            if is_here and moved.state in {RolloutState.ROLLING, RolloutState.PAUSED}:
                rolling = moved
        for name in event.targets:
            if name in self._open:
                complain("one_offer", f"{name} has offer {self._open[name]} and {event.nonce}")
            self._open[name] = event.nonce
            if event.version in self._refused.get(name, ()):
                complain("no_offer_after_nack", f"{name} gets {event.version} again")
        if event.version == self._settled.get(event.component, ""):
            return
        if rolling is None:
            complain("within_wave", f"{event.version} goes to {event.targets} and does not roll")
            return
        if rolling.rollout in self._at_once:
            return
        known = self._offered.setdefault(rolling.rollout, [])
        known += [name for name in event.targets if name not in known]
        parts = self._versions[rolling.rollout]
        size = self._size[rolling.rollout]
        limit = (1, max(1, int(size * 0.05)), max(1, int(size * 0.25)))
        distinct = sorted({*limit, size})
        if rolling.wave < len(distinct) - 1 and len(known) > distinct[rolling.wave]:
            complain("within_wave", f"{len(known)} of {size} have {parts} in wave {rolling.wave}")

    def _moved(self, event: RolloutMoved) -> None:
        before = self._state.get(event.rollout)
        self._state[event.rollout] = event
        parts = self._versions[event.rollout]
        self._check_data(event, parts)
        if event.state is RolloutState.ROLLING_BACK and event.rollout in self._stopped:
            if before is not None and before.state is RolloutState.ROLLING_BACK:
                self._world.complain("no_fewer_healthy", f"{event.rollout} goes back further")
            self._stopped.discard(event.rollout)
        if before is not None and before.state is RolloutState.ROLLBACK_FAILED:
            for refused in self._refused.values():
                refused -= {self._settled.get(part, "") for part in parts}
        if event.state is RolloutState.ROLLING and before is not None:
            if before.state is RolloutState.BACKED_UP:
                self._size[event.rollout] = sum(
                    self._settled.get(part, "") != parts[part]
                    for part in self._bound.values()
                    if part in parts
                )
                for part in parts:
                    for refused in self._refused.values():
                        refused.discard(parts[part])
            elif event.wave > before.wave and before.verdict not in {"pass", None}:
                self._world.complain("pass_before_next", f"{before} and then {event}")
        if event.state is RolloutState.SUCCEEDED:
            self._settled.update(parts)

    def _check_data(self, event: RolloutMoved, parts: Mapping[str, str]) -> None:
        seen = sum(self._world.calls[version] for version in set(parts.values()))
        if event.step is WaveStep.JUDGING:
            self._seen[event.rollout] = seen
        elif event.step is WaveStep.BAKING and event.rollout not in self._at_once:
            seen -= self._seen[event.rollout]
            if seen < PLAN.checks[0].observations_min:
                self._world.complain("pass_needs_data", f"{event.rollout} passes in {event.wave}")

    def _refold(self) -> None:
        core = self._world.core
        if core is not None and not _same(RolloutBook(self._world.journal), core.book):
            self._world.complain("fold_is_state", "the journal gives another state")

    def at_the_end(self) -> None:
        """All reachable targets have the version that the last success left."""
        world = self._world
        for rollout, moved in self._state.items():
            if moved.state not in ENDED:
                world.complain(
                    "all_end", f"{rollout} is {moved.state} {moved.step}: {moved.reason}"
                )
        kept = {
            version
            for rollout, moved in self._state.items()
            if moved.state is RolloutState.ROLLBACK_FAILED
            for version in self._versions[rollout].values()
        }
        for target in world.targets.values():
            wanted = self._settled.get(target.component, "")
            is_reachable = target.alive and target.host not in world.dead | world.cut
            harms = world.packages[wanted].harms(target.kind) or world.packages[
                target.active
            ].harms(target.kind)
            if is_reachable and target.active not in {wanted, *kept} and not harms:
                world.complain(
                    "all_new_or_old", f"{target.name} has {target.active!r}, not {wanted!r}"
                )
        self._blast()

    def _blast(self) -> None:
        world = self._world
        touched: Counter[str] = Counter()
        for target in world.targets.values():
            touched.update(target.seen)
        for version, package in world.packages.items():
            if package.fault in AT_ONCE and not package.kinds:
                limit = max(1, len(world.targets) // 20)
                if touched[version] > limit:
                    world.complain(
                        "blast_radius", f"{package.fault} has touched {touched[version]} targets"
                    )


def _same(one: RolloutBook, other: RolloutBook) -> bool:
    return (
        one.targets == other.targets
        and one.rollouts == other.rollouts
        and one.batches == other.batches
        and one.stable == other.stable
        and list(one.active) == list(other.active)
    )
