"""The controller of roll-outs: one supervised actor of a system, with a journal of its own.

It is a thin shell around `RolloutCore`: every change is stored before anybody hears of it, and what
follows from it are messages to itself, so that each has a handler of its own that may wait. After a
restart it folds the journal and asks all hosts for their targets.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, TypeAlias

from callboard.messages.control.approvals import AskApproval
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.notices import Down
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import ActorStopped, AskError, CallboardError
from callboard.messages.storage.events import EventStore

from ...journal.journal import Journal
from ...kernel.actor import Actor, OnError, handler
from ...kernel.approvals import approval_id, wait_for_approval
from ...kernel.context import Context
from ...kernel.threads import ThreadRunner
from ...kernel.timers import Timer
from .core import RolloutCore
from .effects import Answers, AskAgreement, BackUp, Effect, SendOffers, Validate
from .judging import Judges
from .messages import (
    AnnounceTargets,
    ChangeRollout,
    ComponentContent,
    FetchComponent,
    JoinTargets,
    ObserveTargets,
    OfferVersion,
    ProposeRollout,
    QueryRollouts,
    ReportAlert,
    ReportHealth,
    RolloutsPage,
    RolloutView,
    TargetsWanted,
)
from .plan import ApprovalPolicy
from .records import RolloutRecords
from .states import TargetState
from .views import view_of

__all__ = ["CONTROLLER", "RolloutController", "Validator"]

LOGGER: Final = logging.getLogger("callboard.configuration")
CONTROLLER: Final = "callboard.configuration"
"""The name of the controller in a system."""
AT_ONCE: Final = 4_096
ANSWER_S: Final = 1.0
"""How much longer than a target a host may take to answer."""
ANNOUNCE_S: Final = 5.0
DELAY_S_MIN: Final = 0.001
DELAY_S_MAX: Final = 10.0
Change: TypeAlias = Callable[[RolloutCore], object]
Validator: TypeAlias = Callable[[Mapping[str, bytes]], Sequence[str]]
"""The problems of a package, given the contents of its components; it runs in a thread."""


class AdvanceRollouts(Contract, name="callboard.configuration.advance"):
    """A deadline may have come."""


class PerformChanges(Contract, name="callboard.configuration.perform_changes"):
    """Changes wait."""


class SendOffer(Contract, name="callboard.configuration.send_offer"):
    """Send an outstanding offer to one host."""

    nonce: int
    host: int


class ValidatePackage(Contract, name="callboard.configuration.validate_package"):
    """Validate the package of a roll-out."""

    rollout: str


class AskSecond(Contract, name="callboard.configuration.ask_second"):
    """Ask another principal."""

    rollout: str
    reasons: tuple[str, ...]


class BackUpVersions(Contract, name="callboard.configuration.back_up_versions"):
    """See that all versions of now can be brought back."""

    rollout: str


class CallHost(Contract, name="callboard.configuration.call_host"):
    """Ask a host for its targets."""

    host: int


class RolloutController(Actor):
    """Keeps and performs the roll-outs of a system.

    The actor calls `make_store` on its host, and is the only writer of that log.
    """

    on_error: ClassVar[OnError] = OnError.RESUME
    concurrency: ClassVar[int] = AT_ONCE
    mailbox_messages: ClassVar[int] = 2 * AT_ONCE

    def __init__(
        self,
        make_store: Callable[[], EventStore],
        policy: ApprovalPolicy | None = None,
        validate: Validator | None = None,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        self._make_store = make_store
        self._policy = policy
        self._validate = validate
        self._wall_time = wall_time
        self._changes: list[tuple[Change, asyncio.Future[RolloutCore]]] = []
        self._is_changing = False
        self._threads = ThreadRunner("configuration")
        self._watched: set[int] = set()
        self._calling: set[int] = set()
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._core: RolloutCore | None = None
        self._began_s = 0.0

    async def started(self, ctx: Context) -> None:
        """Fold the journal. Raises what the store raises."""
        owner = f"{ctx.host_name}{ctx.path}"
        journal = Journal(self._make_store(), owner=owner, fence=ctx.fence, on_broken=self._broken)
        self._journal, self._ctx = journal, ctx
        try:
            await journal.open()
            self._records = RolloutRecords(journal)
            core = RolloutCore(await self._records.read(), self._policy)
        except BaseException:
            await journal.close()
            raise
        # Between restarts the wall clock counts; from now on it may jump.
        self._began_s = self._wall_time() - asyncio.get_running_loop().time()
        self._core = core
        core.recover(self._now())
        await self._perform_group()
        for host in core.book.on_host:
            self._call_host(host)

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Write what is under way, and release the store."""
        await self._journal.close()

    def _broken(self, error: CallboardError) -> None:
        # Another controller writes, or the store is damaged: the supervisor decides what follows.
        self._ctx.stop(Exit.of_error(ExitReason.FAILED, error))

    def _now(self) -> float:
        return self._began_s + asyncio.get_running_loop().time()

    async def _do(self, change: Change) -> RolloutCore:
        """Change the core, and wait until what follows is stored. Raises what `change` raises."""
        done: asyncio.Future[RolloutCore] = asyncio.get_running_loop().create_future()
        self._changes.append((change, done))
        if not self._is_changing:
            self._is_changing = True
            self._ctx.self_ref.tell(PerformChanges())
        return await done

    @handler
    async def perform_changes(self, message: PerformChanges) -> None:
        """Perform all changes that wait: one append for those that came during the one before.

        A handler of its own does it: one whose asker gives up must not leave half of a change.
        """
        try:
            while self._changes:
                await self._perform_group()
        finally:
            self._is_changing = False

    async def _perform_group(self) -> None:
        core, group, self._changes = self._core, self._changes, []
        outcomes: list[tuple[asyncio.Future[RolloutCore], Exception | None]] = []
        if core is None:
            self._fail(group)
            return
        for change, done in group:
            try:
                change(core)
            except CallboardError as error:
                outcomes.append((done, error))
            else:
                outcomes.append((done, None))
        try:
            if events := core.take_events():
                await self._records.append(events)
        except BaseException as error:
            # The core is ahead of what is stored: only the journal knows what counts.
            self._core = None
            self._fail(group)
            if isinstance(error, CallboardError):
                self._broken(error)
            raise
        for effect in core.take_effects():
            self._perform(core, effect)
        for done, failure in outcomes:
            if not done.done():
                if failure is None:
                    done.set_result(core)
                else:
                    done.set_exception(failure)
        self._set_timer(core)

    def _fail(self, group: list[tuple[Change, "asyncio.Future[RolloutCore]"]]) -> None:
        for _, done in group:
            if not done.done():
                error = ActorStopped("the controller of roll-outs has ended.", may_have_run=True)
                done.set_exception(error)

    def _set_timer(self, core: RolloutCore) -> None:
        deadline = core.next_deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        delay_s = min(max(deadline - self._now(), DELAY_S_MIN), DELAY_S_MAX)
        self._timer = self._ctx.send_after(delay_s, AdvanceRollouts())
        self._timer_at = self._now() + delay_s

    @handler
    async def advance(self, message: AdvanceRollouts) -> None:
        """Do what is due."""
        self._timer = None
        await self._do(lambda core: core.advance(self._now()))

    # --- effects ------------------------------------------------------------------------------

    def _perform(self, core: RolloutCore, effect: Effect) -> None:
        tell = self._ctx.self_ref.tell
        match effect:
            case SendOffers(nonce):
                batch = core.book.batches.get(nonce)
                names = () if batch is None else batch.open
                for host in dict.fromkeys(core.book.targets[name].host for name in names):
                    tell(SendOffer(nonce=nonce, host=host))
            case Validate(rollout):
                tell(ValidatePackage(rollout=rollout))
            case AskAgreement(rollout, reasons):
                tell(AskSecond(rollout=rollout, reasons=reasons))
            case BackUp(rollout):
                tell(BackUpVersions(rollout=rollout))

    @handler
    async def send_offer(self, message: SendOffer, ctx: Context) -> None:
        """Send an offer, and take the answers."""
        if self._core is None:
            return
        book, nonce = self._core.book, message.nonce
        batch = book.batches.get(nonce)
        names = [] if batch is None else list(batch.open)
        names = [name for name in names if book.targets[name].host == message.host]
        if batch is None or not names:
            return
        offer_s = self._core.offer_s(batch.component)
        request = OfferVersion(
            nonce=nonce,
            component=batch.component,
            version=batch.version,
            targets=tuple(names),
            timeout_s=offer_s,
        )
        gone: tuple[str, ...] = ()
        try:
            to = ctx.host_ref(message.host)
            said = await ctx.ask(request, to, timeout_s=offer_s + ANSWER_S)
            gone = said.gone
            answers = Answers(acked=said.acked, nacked=said.nacked, timed_out=said.timed_out)
        except AskError as error:
            LOGGER.info("host %d did not answer offer %d: %s", message.host, nonce, error)
            answers = Answers(unreachable=names)
        version = batch.version

        def take(core: RolloutCore) -> None:
            core.gone(gone, self._now())
            core.answered(version, nonce, answers, self._now())

        await self._do(take)

    @handler
    async def validate(self, message: ValidatePackage) -> None:
        """See that all contents are there, and let the validator look at them."""
        rollout = message.rollout
        core = await self._do(lambda _: None)
        try:
            parts = core.find(rollout).components.items()
            contents = {name: await self._records.content(version) for name, version in parts}
            problems: Sequence[str] = ()
            if self._validate is not None:
                problems = await self._threads.call(self._validate, contents)
        except Exception as error:  # noqa: BLE001 - a package that cannot be read is refused
            problems = (str(error),)
        await self._do(
            lambda core: core.validated(
                rollout, self._now(), is_valid=not problems, reason="; ".join(problems)
            )
        )

    @handler
    async def ask_second(self, message: AskSecond, ctx: Context) -> None:
        """Ask through the approvals of the system; without them, `ChangeRollout` approves."""
        core = await self._do(lambda _: None)
        found = core.find(message.rollout)
        request = AskApproval(
            id=approval_id("callboard.configuration", found.id),
            subject=f"Roll out {found.package} {found.version[:12]}?",
            details={"rollout": found.id, "reasons": list(message.reasons), "reason": found.reason},
            asked_by=found.author,
            deadline_s=found.plan.approve_s,
            excludes_asker=True,
        )
        try:
            answer = await wait_for_approval(ctx, request)
        except CallboardError as error:
            LOGGER.warning("the roll-out %s waits for `approve`: %s", found.id, error)
            return
        by = ", ".join(each.by for each in answer.decisions)

        def take(core: RolloutCore) -> None:
            if answer.is_given:
                core.approve(found.id, by, self._now())
            else:
                core.abort(found.id, by, self._now(), f"the approval is {answer.state}")

        await self._do(take)

    @handler
    async def back_up(self, message: BackUpVersions) -> None:
        """Read each version that a roll-back would need, and compare it with its digest."""
        rollout = message.rollout
        core = await self._do(lambda _: None)
        found = core.find(rollout)
        versions = sorted({each.settled for each in core.book.members(found) if each.settled})
        try:
            for version in versions:
                await self._records.content(version)
        except CallboardError as error:
            why = f"a roll-back would be impossible: {error}"
            await self._do(lambda core: core.abort(rollout, CONTROLLER, self._now(), why))
            return
        note = f"{len(versions)} versions are stored"
        await self._do(lambda core: core.backed_up(rollout, self._now(), note))

    # --- hosts --------------------------------------------------------------------------------

    @handler
    async def join(self, request: JoinTargets) -> TargetsWanted:
        """Targets have started on a host."""
        host = request.host
        if host not in self._watched and host != self._ctx.self_ref.address.slot:
            self._watched.add(host)
            _ = self._ctx.watch_host(host)
        core = await self._do(lambda core: core.join(host, request.targets, self._now()))
        known = core.book.targets
        names = (name for name, *_ in request.targets)
        return TargetsWanted(
            targets=tuple(name for name in names if name in known and known[name].nonce)
        )

    @handler
    async def host_lost(self, message: Down) -> None:
        """A host has ended; its targets join again on the next one."""
        host = message.ref.address.slot
        self._watched.discard(host)
        await self._do(lambda core: core.lost(host, self._now()))

    @handler
    async def health(self, message: ReportHealth) -> None:
        """A host is alive, and says how its targets are."""
        if self._core is None:
            return
        targets = self._core.book.targets
        names = self._core.book.on_host.get(message.host)
        if names is None or any(targets[name].state is TargetState.UNREACHABLE for name in names):
            self._call_host(message.host)

        def take(judges: Judges) -> None:
            for name in message.healthy:
                judges.health(name, is_healthy=True)
            for name in message.unhealthy:
                judges.health(name, is_healthy=False)

        await self._do(lambda core: core.observe(self._now(), take))

    def _call_host(self, host: int) -> None:
        if host not in self._calling:
            self._calling.add(host)
            self._ctx.self_ref.tell(CallHost(host=host))

    @handler
    async def call_host(self, message: CallHost, ctx: Context) -> None:
        """Let the targets of a host join again."""
        try:
            to = ctx.host_ref(message.host)
            await ctx.ask(AnnounceTargets(), to, timeout_s=ANNOUNCE_S)
        except AskError as error:
            LOGGER.info("host %d did not answer: %s", message.host, error)
            await self._do(lambda core: core.lost(message.host, self._now()))
        finally:
            self._calling.discard(message.host)

    @handler
    async def fetch(self, request: FetchComponent) -> ComponentContent:
        """The content of a version."""
        return ComponentContent(content=await self._records.content(request.version))

    # --- users --------------------------------------------------------------------------------

    @handler
    async def propose(self, request: ProposeRollout) -> RolloutView:
        """Begin a roll-out; it is stored when the reply comes."""
        components = dict(request.components)
        for name, content in request.contents.items():
            components[name] = await self._records.store(content)

        def begin(core: RolloutCore) -> None:
            core.propose(
                request.rollout,
                request.package,
                request.version,
                components or core.components_of(request.package, request.version),
                self._now(),
                plan=request.plan,
                author=request.author,
                reason=request.reason,
                touches=request.touches,
                at_once=request.at_once,
            )

        core = await self._do(begin)
        return view_of(core.book, core.find(request.rollout))

    @handler
    async def change(self, request: ChangeRollout) -> RolloutView:
        """Approve, pause, resume or abort."""
        rollout, by = request.rollout, request.by

        def take(core: RolloutCore) -> None:
            match request.change:
                case "approve":
                    core.approve(rollout, by, self._now())
                case "pause":
                    core.pause(rollout, by, self._now(), request.reason)
                case "resume":
                    core.resume(rollout, by, self._now())
                case "abort":
                    core.abort(rollout, by, self._now(), request.reason)

        core = await self._do(take)
        return view_of(core.book, core.find(rollout))

    @handler
    async def query(self, request: QueryRollouts) -> RolloutsPage:
        """Roll-outs as they are now."""
        core = await self._do(lambda _: None)
        if request.rollout:
            found = [core.find(request.rollout)]
        else:
            found = list(core.book.rollouts.values())[: -request.limit - 1 : -1]
        return RolloutsPage(rollouts=tuple(view_of(core.book, each) for each in found))

    @handler
    async def observe(self, message: ObserveTargets) -> None:
        """Observations of one check."""

        def take(judges: Judges) -> None:
            for name, bad, total in message.targets:
                judges.observed(message.check, name, bad=bad, total=total)

        await self._do(lambda core: core.observe(self._now(), take))

    @handler
    async def alert(self, message: ReportAlert) -> None:
        """An alert fires, or has ended."""
        await self._do(
            lambda core: core.observe(
                self._now(),
                lambda judges: judges.alert(message.alert, is_firing=message.is_firing),
            )
        )
