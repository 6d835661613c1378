"""What becomes of roll-outs: commands, answers and time go in, events and effects come out; pure.

Each decision applies its events to the book at once. The shell takes them, appends them to the
journal, and only then performs the effects: so nothing leaves that a restart would not know. After
a restart, `recover` gives the effects again that may have been lost. Offers repeat with their
nonce, which a target recognises.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import check_name

from .book import Rollout, RolloutBook, Target
from .effects import Answers, AskAgreement, BackUp, Effect, SendOffers, Validate
from .events import (
    Joined,
    OffersAnswered,
    OffersMade,
    PackageProposed,
    RolloutMoved,
    TargetsGone,
    TargetsJoined,
    TargetsLost,
)
from .judging import Judges
from .plan import ApprovalPolicy, RolloutPlan
from .states import ENDED, RolloutState, TargetState, WaveStep
from .verdicts import Evidence, Verdict

__all__ = ["RolloutCore"]

OFFERS_MAX: Final = 5_000
"""The targets of one event: an event has a bounded size."""
OPEN_MAX: Final = 1_000
"""Roll-outs that have not ended."""
TEXT_CHARS_MAX: Final = 2_000


S: Final = RolloutState


class RolloutCore:
    """Decides about all roll-outs of one system. `book` is the state; nobody else changes it."""

    def __init__(
        self, events: Iterable[Contract] = (), policy: ApprovalPolicy | None = None
    ) -> None:
        self.book: Final = RolloutBook(events)
        self.judges: Final = Judges(self.book)
        self._policy = policy or ApprovalPolicy()
        self._events: list[Contract] = []
        self._effects: list[Effect] = []
        self._retries: dict[str, None] = dict.fromkeys(
            name for name, target in self.book.targets.items() if target.retry_at
        )
        """Targets that wait for their next offer."""

    def take_events(self) -> list[Contract]:
        """The new events, to be stored; already applied."""
        found, self._events = self._events, []
        return found

    def take_effects(self) -> list[Effect]:
        """What is to be done once the events are stored."""
        found, self._effects = self._effects, []
        return found

    def _emit(self, event: Contract) -> None:
        self.book.apply(event)
        self._events.append(event)

    def _move(
        self,
        rollout: Rollout,
        state: RolloutState,
        now: float,
        *,
        step: WaveStep = WaveStep.NONE,
        wave: int | None = None,
        verdict: Verdict | None = None,
        reason: str = "",
        by: str = "",
    ) -> None:
        self._emit(
            RolloutMoved(
                at=now,
                rollout=rollout.id,
                state=state,
                step=step,
                wave=rollout.wave if wave is None else wave,
                verdict=verdict,
                reason=reason[:TEXT_CHARS_MAX],
                by=by,
            )
        )
        self.judges.moved(rollout)

    # --- commands -----------------------------------------------------------------------------

    def propose(
        self,
        rollout: str,
        package: str,
        version: str,
        components: Mapping[str, str],
        now: float,
        *,
        plan: RolloutPlan | None = None,
        author: str,
        reason: str = "",
        touches: Collection[str] = (),
        at_once: bool = False,
    ) -> Rollout:
        """Begin a roll-out as a draft; a repetition changes nothing.

        `at_once` takes a stored version back: no validation, no agreement, no waves; the health of
        the targets still counts. Raises `UsageError` for a wrong plan, and for an id that another
        package has.
        """
        check_name("the id of a roll-out", rollout, error=UsageError)
        known = self.book.rollouts.get(rollout)
        if known is not None:
            if (known.package, known.version) == (package, version):
                return known
            raise UsageError(
                f"the roll-out {rollout} is of {known.package} {known.version}.",
                advice="A new attempt needs a new id.",
            )
        if not components or not all(components.values()):
            raise UsageError(
                f"the package {package} has no components, or one without a version.",
                advice="Give each component its digest.",
            )
        if sum(each.state not in ENDED for each in self.book.rollouts.values()) >= OPEN_MAX:
            raise UsageError(
                f"{OPEN_MAX:,} roll-outs have not ended.", advice="Abort some, and try again."
            )
        self._emit(
            PackageProposed(
                at=self._time(now),
                rollout=rollout,
                package=package,
                version=version,
                components=dict(components),
                plan=(plan or RolloutPlan()).checked(),
                author=check_name("the author", author, error=UsageError),
                reason=reason[:TEXT_CHARS_MAX],
                touches=tuple(sorted(touches)),
                at_once=at_once,
            )
        )
        draft = self.book.rollouts[rollout]
        if at_once:
            for state in (S.VALIDATED, S.APPROVED, S.BACKED_UP):
                self._move(draft, state, self.book.now, reason="a stored version, at once")
        else:
            self._effects.append(Validate(rollout))
        self.advance(now)
        return draft

    def validated(self, rollout: str, now: float, *, is_valid: bool, reason: str = "") -> None:
        """Validation has ended."""
        draft = self.find(rollout)
        if draft.state is S.DRAFT:
            self._move(
                draft, S.VALIDATED if is_valid else S.REJECTED, self._time(now), reason=reason
            )
            if is_valid:
                self._after_validation(draft)
            self.advance(now)

    def _after_validation(self, rollout: Rollout) -> None:
        targets = sum(1 for _ in self.book.members(rollout))
        reasons = self._policy.reasons(rollout.touches, rollout.components, targets)
        if reasons:
            self._effects.append(AskAgreement(rollout.id, reasons))
        else:
            self._approve(rollout, by="")

    def approve(self, rollout: str, by: str, now: float) -> None:
        """A second principal agrees. Raises `UsageError` for the author."""
        found = self.find(rollout)
        if by == found.author:
            raise UsageError(
                f"{by} is the author of the roll-out {rollout}, and may not approve it.",
                advice="Another principal approves.",
            )
        if found.state is S.VALIDATED:
            self._approve(found, by=check_name("who approves", by, error=UsageError), now=now)
            self.advance(now)

    def _approve(self, rollout: Rollout, *, by: str, now: float = 0.0) -> None:
        reason = "" if by else "the policy asks for no approval"
        self._move(rollout, S.APPROVED, self._time(now), reason=reason, by=by)
        self._effects.append(BackUp(rollout.id))

    def backed_up(self, rollout: str, now: float, reference: str = "") -> None:
        """The versions of now are stored under `reference`."""
        found = self.find(rollout)
        if found.state is S.APPROVED:
            self._move(found, S.BACKED_UP, self._time(now), reason=reference)
            self.advance(now)

    def pause(self, rollout: str, by: str, now: float, reason: str = "") -> None:
        """Pause a roll-out: no wave begins, and nothing is judged. Raises `UsageError`."""
        found = self.find(rollout)
        if found.state is S.PAUSED:
            return
        if found.state is not S.ROLLING:
            raise self._wrong_state(found, "be paused")
        self._move(found, S.PAUSED, self._time(now), reason=reason or f"paused by {by}", by=by)

    def resume(self, rollout: str, by: str, now: float) -> None:
        """Go on after a pause, or go back once more. Raises `UsageError`."""
        found = self.find(rollout)
        if found.state is S.ROLLING:
            return
        if found.state is S.PAUSED:
            step = found.paused_in
            if step is WaveStep.BAKING:
                step = WaveStep.JUDGING  # What it saw before the pause may not hold any more.
            self._move(found, S.ROLLING, self._time(now), step=step, by=by)
        elif found.state is S.ROLLBACK_FAILED:
            self._move(found, S.ROLLING_BACK, self._time(now), wave=-1, by=by)
            self._reconcile(self.book.members(found))
        else:
            raise self._wrong_state(found, "be resumed")
        self.advance(now)

    def abort(self, rollout: str, by: str, now: float, reason: str = "") -> None:
        """End a roll-out in whatever state it is; what it has changed goes back."""
        found, why = self.find(rollout), reason or f"aborted by {by}"
        if found.state in {S.DRAFT, S.VALIDATED, S.APPROVED, S.BACKED_UP}:
            self._move(found, S.REJECTED, self._time(now), reason=why, by=by)
        elif found.state in {S.ROLLING, S.PAUSED}:
            self._go_back(found, self._time(now), why, by=by)
        self.advance(now)

    def _go_back(
        self,
        rollout: Rollout,
        now: float,
        reason: str,
        *,
        by: str = "",
        verdict: Verdict | None = None,
    ) -> None:
        wave = rollout.wave - 1
        self._move(rollout, S.ROLLING_BACK, now, wave=wave, reason=reason, by=by, verdict=verdict)
        self._reconcile(self.book.members(rollout))

    def find(self, rollout: str) -> Rollout:
        """The roll-out of an id. Raises `UsageError`."""
        found = self.book.rollouts.get(rollout)
        if found is None:
            raise UsageError(
                f"there is no roll-out {rollout!r}.", advice="`callboard config status` lists them."
            )
        return found

    def components_of(self, package: str, version: str) -> Mapping[str, str]:
        """The components of a version that was rolled out before. Raises `UsageError`."""
        for each in reversed(self.book.rollouts.values()):
            if (each.package, each.version) == (package, version):
                return each.components
        raise UsageError(
            f"there was no roll-out of {package} {version}.",
            advice="Give its contents, or the versions of its components.",
        )

    def _wrong_state(self, rollout: Rollout, what: str) -> UsageError:
        return UsageError(
            f"the roll-out {rollout.id} is {rollout.state}, and cannot {what}.",
            advice="`callboard config status` shows it.",
        )

    def _time(self, now: float) -> float:
        return max(now, self.book.now)  # A clock that goes back must not undo deadlines.

    # --- targets ------------------------------------------------------------------------------

    def join(self, host: int, targets: Sequence[Joined], now: float) -> None:
        """Targets have started on a host, with these versions active."""
        for at in range(0, len(targets), OFFERS_MAX):
            part = tuple(targets[at : at + OFFERS_MAX])
            self._emit(TargetsJoined(at=self._time(now), host=host, targets=part))
        self._reconcile(self.book.targets[name] for name, *_ in targets)
        self.advance(now)

    def gone(self, targets: Iterable[str], now: float) -> None:
        """Targets have ended for good."""
        known = tuple(name for name in targets if name in self.book.targets)
        if known:
            self._emit(TargetsGone(at=self._time(now), targets=known))
            self.judges.forget(known)
            self.advance(now)

    def lost(self, host: int, now: float) -> None:
        """A host is lost; its targets join again when they are back."""
        if self.book.on_host.get(host):
            self._emit(TargetsLost(at=self._time(now), host=host))
            self.advance(now)

    def answered(self, version: str, nonce: int, answers: Answers, now: float) -> None:
        """Targets have answered an offer; what answers an older one is ignored."""
        targets = self.book.targets

        def counts(name: str) -> bool:
            target = targets.get(name)
            return target is not None and target.nonce == nonce and target.offered == version

        def is_late(name: str) -> bool:
            # The answer to the last offer, after the wait for it: it says what is active.
            target = targets.get(name)
            if target is None or target.nonce or target.offered != version:
                return False
            if target.state is TargetState.DRAINING:
                return target.active == version
            return target.active is None

        event = OffersAnswered(
            at=self._time(now),
            version=version,
            acked=tuple(name for name in answers.acked if counts(name) or is_late(name)),
            draining=tuple(filter(counts, answers.draining)),
            nacked=tuple(
                (name, why[:TEXT_CHARS_MAX], kept)
                for name, why, kept in answers.nacked
                if counts(name)
            ),
            timed_out=tuple(filter(counts, answers.timed_out)),
            unreachable=tuple(filter(counts, answers.unreachable)),
        )
        self._take_answers(event)
        self.advance(now)

    def _take_answers(self, event: OffersAnswered) -> None:
        touched = [*event.acked, *event.draining, *event.timed_out, *event.unreachable]
        touched += [name for name, _, _ in event.nacked]
        if touched:
            self._emit(event)
            self._retries.update(dict.fromkeys((*event.timed_out, *event.unreachable)))
            self.judges.forget(touched)
            self._reconcile(self.book.targets[name] for name in touched)

    def _reconcile(self, targets: Iterable[Target]) -> None:
        """Offer to each of these targets what it should have, if it may get an offer now."""
        groups: dict[tuple[str, str], list[str]] = {}
        silent: dict[str, list[tuple[str, str, None]]] = {}
        book = self.book
        for target in {each.name: each for each in targets}.values():
            if target.nonce or target.retry_at > book.now:
                continue
            self._retries.pop(target.name, None)
            version = book.wanted(target)
            if version == target.active or version in target.refused:
                continue
            is_silent = target.offered == version and target.tries >= book.tries_max(target)
            if is_silent and version != target.settled:  # What has settled is never given up.
                why = f"{target.tries} offers were not answered"
                silent.setdefault(version, []).append((target.name, why, None))
                continue
            groups.setdefault((target.component, version), []).append(target.name)
        for (component, version), names in groups.items():
            ordered = self._ordered(component, names)
            for at in range(0, len(ordered), OFFERS_MAX):
                self._offer(component, version, ordered[at : at + OFFERS_MAX])
        for version, refusals in silent.items():
            self._take_answers(OffersAnswered(at=book.now, version=version, nacked=tuple(refusals)))

    def _ordered(self, component: str, names: list[str]) -> list[str]:
        """On the way back the last that were offered come first."""
        rollout = self.book.active.get(component)
        if rollout is None or rollout.state is not S.ROLLING_BACK or len(names) == 1:
            return names
        wanted = set(names)
        last_first = [name for name in reversed(rollout.offered) if name in wanted]
        return [*last_first, *(name for name in names if name not in rollout.offered)]

    def _offer(self, component: str, version: str, names: Sequence[str]) -> None:
        nonce = self.book.nonce + 1
        self._emit(
            OffersMade(
                at=self.book.now,
                nonce=nonce,
                component=component,
                version=version,
                targets=tuple(names),
            )
        )
        self._effects.append(SendOffers(nonce))

    # --- observations -------------------------------------------------------------------------

    def observe(self, now: float, observation: Callable[[Judges], None]) -> None:
        """Let the judges take an observation: `core.observe(now, lambda each: each.health(…))`."""
        observation(self.judges)
        self.advance(now)

    def evidence(self, rollout: str) -> Evidence:
        """What is known about a roll-out since its window began."""
        return self.judges.evidence(self.find(rollout))

    # --- time ---------------------------------------------------------------------------------

    def recover(self, now: float) -> None:
        """After a restart: judge again from the start of a window, and repeat all effects."""
        at = self._time(now)
        for rollout in self.book.rollouts.values():
            if rollout.state is S.DRAFT:
                self._effects.append(Validate(rollout.id))
            elif rollout.state is S.VALIDATED:
                self._after_validation(rollout)
            elif rollout.state is S.APPROVED:
                self._effects.append(BackUp(rollout.id))
            elif rollout.state is S.ROLLING and rollout.step in {
                WaveStep.JUDGING,
                WaveStep.BAKING,
            }:
                self._move(
                    rollout, S.ROLLING, at, step=WaveStep.JUDGING, reason="the controller restarted"
                )
        self._effects += [SendOffers(nonce) for nonce in self.book.batches]
        self._reconcile(list(self.book.targets.values()))
        self.advance(now)

    def next_deadline(self) -> float | None:
        """When `advance` has something to do, at the latest; None for never."""
        book = self.book
        times = [each.at + self.offer_s(each.component) for each in book.batches.values()]
        times += [book.targets[name].retry_at for name in self._retries if name in book.targets]
        times += [
            self.judges.deadline(rollout)
            for rollout in book.rollouts.values()
            if rollout.state not in ENDED
        ]
        return min((each for each in times if each != float("inf")), default=None)

    def offer_s(self, component: str) -> float:
        """How long the answer to one offer of a component may take, in seconds."""
        rollout = self.book.active.get(component)
        return (RolloutPlan() if rollout is None else rollout.plan).offer_s

    def advance(self, now: float) -> None:
        """Do all that is due by now."""
        at = self.book.now = self._time(now)
        self._expire_offers(at)
        if self._retries:
            targets = self.book.targets
            self._reconcile([targets[name] for name in self._retries if name in targets])
        is_moving = True
        while is_moving:
            open_ones = [each for each in self.book.rollouts.values() if each.state not in ENDED]
            is_moving = any(self._advance(rollout, at) for rollout in open_ones)

    def _expire_offers(self, at: float) -> None:
        for nonce, batch in list(self.book.batches.items()):
            if batch.at + self.offer_s(batch.component) <= at and nonce in self.book.batches:
                event = OffersAnswered(at=at, version=batch.version, unreachable=tuple(batch.open))
                self._take_answers(event)

    def _advance(self, rollout: Rollout, at: float) -> bool:
        """Make one step of a roll-out if it is due; returns whether it was."""
        match rollout.state:
            case S.DRAFT | S.VALIDATED | S.APPROVED | S.BACKED_UP:
                if rollout.state is S.BACKED_UP and self._start(rollout, at):
                    return True
                if self.judges.deadline(rollout) <= at:
                    why = f"it was {rollout.state} for too long"
                    self._move(rollout, S.REJECTED, at, reason=why)
                    return True
                return False
            case S.ROLLING | S.PAUSED:
                return self._advance_wave(rollout, at)
            case S.ROLLING_BACK:
                return self._advance_back(rollout, at)
            case _:
                return False

    def _holders(self, rollout: Rollout) -> list[Rollout]:
        found = (self.book.active.get(component) for component in rollout.components)
        return list({each.id: each for each in found if each is not None}.values())

    def _start(self, rollout: Rollout, at: float) -> bool:
        """Begin the first wave if the components are free, or held by the same package."""
        holders = self._holders(rollout)
        if not rollout.at_once and any(each.package != rollout.package for each in holders):
            return False
        try:
            waves = self.book.planned(rollout)
        except UsageError as error:
            self._move(rollout, S.REJECTED, at, reason=str(error))
            return True
        replaced = [
            each
            for each in self.book.rollouts.values()
            if each.state not in ENDED
            and each is not rollout
            and each.package == rollout.package
            and each.proposed_at <= rollout.proposed_at
        ]
        ended = {each.id: each for each in (*holders, *replaced)}.values()
        for each in ended:
            self._move(each, S.SUPERSEDED, at, reason=f"{rollout.id} took its place")
        if waves:
            self._move(rollout, S.ROLLING, at, step=WaveStep.OFFERING, wave=0)
        else:
            self._move(rollout, S.SUCCEEDED, at, reason="no target needs it")
        left = [target for each in ended for target in self.book.members(each)]
        first = [self.book.targets[name] for wave in waves[:1] for name in wave]
        self._reconcile([*first, *left])
        return True

    def _advance_wave(self, rollout: Rollout, at: float) -> bool:
        failure = self.judges.failure(rollout, at)
        if failure:
            self._go_back(rollout, at, failure, verdict=Verdict.FAIL)
            return True
        if rollout.state is S.PAUSED or not self.judges.is_due(rollout, at):
            return False
        step = rollout.step
        if step is WaveStep.OFFERING:
            self._move(rollout, S.ROLLING, at, step=WaveStep.SETTLING)
        elif step is WaveStep.SETTLING:
            self._move(rollout, S.ROLLING, at, step=WaveStep.JUDGING)
        elif step is WaveStep.JUDGING:
            self._judge(rollout, at)
        elif rollout.wave + 1 < len(rollout.waves):
            self._move(rollout, S.ROLLING, at, step=WaveStep.OFFERING, wave=rollout.wave + 1)
            self._reconcile(self.book.reached(rollout))
        else:
            self._move(rollout, S.SUCCEEDED, at)
            self._reconcile(self.book.members(rollout))
        return True

    def _judge(self, rollout: Rollout, at: float) -> None:
        verdict, reason = self.judges.verdict(rollout)
        if verdict is Verdict.PASS:
            self._move(rollout, S.ROLLING, at, step=WaveStep.BAKING, verdict=verdict, reason=reason)
        elif verdict is Verdict.FAIL:
            self._go_back(rollout, at, reason, verdict=verdict)
        else:
            self._move(rollout, S.PAUSED, at, verdict=verdict, reason=reason)

    def _advance_back(self, rollout: Rollout, at: float) -> bool:
        if rollout.failed_back:
            name, why = next(iter(rollout.failed_back.items()))
            reason = f"{len(rollout.failed_back)} targets refuse the version from before"
            self._move(rollout, S.ROLLBACK_FAILED, at, reason=f"{reason}; {name}: {why}")
        elif not rollout.open and rollout.wave < 0:
            note, verdict = rollout.note, rollout.verdict
            self._move(rollout, S.ROLLED_BACK, at, wave=-1, reason=note, verdict=verdict)
        elif not rollout.open:
            note, verdict, wave = rollout.note, rollout.verdict, rollout.wave - 1
            self._move(rollout, S.ROLLING_BACK, at, wave=wave, reason=note, verdict=verdict)
            self._reconcile(self.book.members(rollout))
        elif self.judges.deadline(rollout) <= at:
            reason = f"{len(rollout.open)} targets did not take the version from before in time"
            self._move(rollout, S.ROLLBACK_FAILED, at, reason=reason)
        else:
            return False
        return True
