"""A projector as an actor, which a supervisor starts and restarts.

The actor opens its stores on its host, begins at the stored position of the read model, and
fails with the error that stopped its projector. After each restart, of the actor, its supervisor
or its host, each event is in the model exactly once.
"""

import contextlib
from collections.abc import Callable
from typing import Any, ClassVar, Final

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorStopped, CallboardError
from callboard.messages.core.ref import Ref
from callboard.messages.storage.events import EventStore
from callboard.messages.storage.stores import ReadModelStore

from ...journal.client import LogClient
from ...kernel.actor import Actor, OnError, handler
from ...kernel.context import Context
from ..codec import EventCodec
from ..log import FollowedLog
from .figures import ProjectorLimits, ProjectorState
from .projection import Projection
from .projector import Projector

__all__ = ["ProjectorActor", "ProjectorView", "QueryProjector"]

AT_ONCE: Final = 64


class ProjectorView(Contract, name="callboard.projection.view"):
    """The state and figures of a projector; see `ProjectorStatistics`."""

    model: str
    """The name of its read model in the store."""
    state: ProjectorState
    """What it does now."""
    position: int
    """Every event up to this position is in the model."""
    head: int
    """The position of the log's last event, as far as is known."""
    lag_positions: int
    """How many positions the model is behind the log's head."""
    lag_s: float
    """The approximate age of the oldest event that is not in the model, in seconds."""
    events: int
    """Events since the start of this incarnation."""
    overtaken: int
    """Pages that another projector had applied first."""
    failures: int
    """Attempts to fold an event that failed."""
    store_failures: int
    """Failures of the log or the store that were waited out."""
    skipped: int
    """Unknown events that the codec skipped."""


class QueryProjector(Request[ProjectorView], name="callboard.projection.query"):
    """Ask a projector for its state and figures."""


class ProjectorActor(Actor):
    """Keeps one read model up to date with a log; see `Projector` for its guarantees.

    `log` is the reference of a log that is an actor, or a function that makes the store of a
    followed log. The actor calls this function, `projection`, `make_models` and `make_codec` on
    its host: the stores must be reachable from there.
    """

    on_error: ClassVar[OnError] = OnError.RESUME
    concurrency: ClassVar[int] = AT_ONCE

    def __init__(
        self,
        projection: Callable[[], Projection[Any]],
        log: Ref[Any] | Callable[[], EventStore],
        make_models: Callable[[], ReadModelStore],
        *,
        make_codec: Callable[[], EventCodec] | None = None,
        retries: int | None = 0,
        limits: ProjectorLimits | None = None,
    ) -> None:
        self._projection = projection
        self._log_at = log
        self._make_models = make_models
        self._make_codec = make_codec
        self._retries = retries
        self._limits = limits
        self._open = contextlib.AsyncExitStack()
        self._projector: Projector | None = None

    async def started(self, ctx: Context) -> None:
        """Open the stores and begin. Raises what they raise, and `ProjectionChanged`."""

        def stopped(error: CallboardError) -> None:
            ctx.stop(Exit.of_error(ExitReason.FAILED, error))

        async with contextlib.AsyncExitStack() as stack:
            log = self._log_in(stack)
            await log.open()
            models = self._make_models()
            stack.callback(models.close)
            projector = Projector(
                self._projection(),
                log,
                models,
                None if self._make_codec is None else self._make_codec(),
                retries=self._retries,
                limits=self._limits,
                on_stopped=stopped,
            )
            stack.push_async_callback(projector.close)
            await projector.start()
            self._open, self._projector = stack.pop_all(), projector
        ctx.measure(projector.reading)

    def _log_in(self, stack: contextlib.AsyncExitStack) -> LogClient | FollowedLog:
        at = self._log_at
        if isinstance(at, Ref):
            log: LogClient | FollowedLog = LogClient(at)
        else:
            store = at()
            stack.callback(store.close)
            log = FollowedLog(store)
        stack.push_async_callback(log.close)
        return log

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Finish the page that is under way, and close the stores."""
        await self._open.aclose()

    @handler
    async def view(self, request: QueryProjector) -> ProjectorView:
        """The projector's state and figures now."""
        if self._projector is None:
            raise ActorStopped("the projector has not started.", may_have_run=False)
        now = self._projector.statistics()
        return ProjectorView(
            model=now.model,
            state=now.state,
            position=now.position,
            head=now.head,
            lag_positions=now.lag_positions,
            lag_s=now.lag_s,
            events=now.events,
            overtaken=now.overtaken,
            failures=now.failures,
            store_failures=now.store_failures,
            skipped=now.skipped,
        )
