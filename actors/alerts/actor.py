"""The alert manager as an actor: supervised, found by its name, and followed by others."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.notices import Down
from callboard.messages.core.errors import ActorStopped, CallboardError, UsageError
from callboard.messages.core.ref import Ref
from callboard.messages.storage.stores import ReadModelStore

from ..kernel.actor import Actor, OnError, handler
from ..kernel.context import Context
from ..metrics.ports import Evaluator
from .messages import (
    AddSilence,
    AlertsReloaded,
    AlertsView,
    EndSilence,
    FollowAlerts,
    Followed,
    QueryAlerts,
    ReloadAlerts,
    SilenceAdded,
    SilenceEnded,
    change_of,
    silence_of,
)
from .routing import NotificationPlan
from .rules import RuleGroup
from .runner import AlertRunner, MakeTargets
from .table import Change

__all__ = ["FOLLOWERS_MAX", "AlertManager"]

FOLLOWERS_MAX: Final = 100
AT_ONCE: Final = 64


class AlertManager(Actor):
    """Evaluates rules, keeps the states of their alerts, and notifies receivers.

    The actor calls `make_store`, `make_evaluator` and `make_targets` on its host: the store, the
    metrics and the receivers must be reachable from there. One manager at a time owns the alerts
    of a store.
    """

    on_error: ClassVar[OnError] = OnError.RESUME
    concurrency: ClassVar[int] = AT_ONCE

    def __init__(
        self,
        groups: Sequence[RuleGroup],
        plan: NotificationPlan,
        make_store: Callable[[], ReadModelStore],
        make_evaluator: Callable[[Context], Evaluator],
        make_targets: MakeTargets,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._groups = tuple(groups)
        self._plan = plan
        self._make_store = make_store
        self._make_evaluator = make_evaluator
        self._make_targets = make_targets
        self._options = dict(options or {})
        self._runner: AlertRunner | None = None
        self._followers: dict[Ref[Any], None] = {}
        self._number = 0

    async def started(self, ctx: Context) -> None:
        """Read the stored alerts, and begin. Raises what the store raises."""

        def broken(error: CallboardError) -> None:
            ctx.stop(Exit.of_error(ExitReason.FAILED, error))

        runner = AlertRunner(
            self._groups,
            self._plan,
            store=self._make_store(),
            evaluator=self._make_evaluator(ctx),
            make_targets=self._make_targets,
            owner=f"{ctx.host_name}{ctx.path}",
            fence=ctx.fence,
            publish=self._publish,
            on_broken=broken,
            **self._options,
        )
        try:
            await runner.start()
        except BaseException:
            await runner.close()
            raise
        self._runner = runner
        ctx.measure(runner.reading)

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Store what has changed, and stop."""
        if self._runner is not None:
            await self._runner.close()

    def _running(self) -> AlertRunner:
        if self._runner is None:
            raise ActorStopped("the alert manager has not started.", may_have_run=False)
        return self._runner

    def _publish(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._number += 1
            notice = change_of(change, self._number)
            for follower in self._followers:
                # One that has no room misses it, and sees a gap in the numbers.
                with contextlib.suppress(CallboardError):
                    follower.tell(notice)

    @handler
    async def query(self, request: QueryAlerts) -> AlertsView:
        """All alerts, rules and silences."""
        return self._running().view()

    @handler
    async def add_silence(self, request: AddSilence) -> SilenceAdded:
        """Add a silence; the answer comes when it is stored. Raises `UsageError`."""
        await self._running().silence(silence_of(request))
        return SilenceAdded(id=request.id)

    @handler
    async def end_silence(self, request: EndSilence) -> SilenceEnded:
        """End a silence now; the answer comes when that is stored."""
        return SilenceEnded(was_known=await self._running().end_silence(request.id))

    @handler
    async def reload(self, request: ReloadAlerts) -> AlertsReloaded:
        """Take other files; the answer comes when they are stored. Raises `FilesRefused`."""
        return await self._running().reload([(each.name, each.text) for each in request.files])

    @handler
    async def follow(self, request: FollowAlerts, ctx: Context) -> Followed:
        """Send each change to an actor until it ends. Raises `UsageError` for too many."""
        if request.follower not in self._followers:
            if len(self._followers) >= FOLLOWERS_MAX:
                raise UsageError(
                    f"{FOLLOWERS_MAX} actors follow the alerts.", advice="Let one of them end."
                )
            _ = ctx.watch(request.follower)
            self._followers[request.follower] = None
        return Followed()

    @handler
    async def follower_ended(self, notice: Down) -> None:
        """Forget a follower."""
        self._followers.pop(notice.ref, None)
