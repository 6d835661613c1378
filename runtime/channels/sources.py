"""All sources of a hub, for its `make_parts`: what the system has, its hub can stream."""

from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from callboard.actors.alerts.messages import ALERT_MANAGER
from callboard.actors.events.log import EventLog
from callboard.actors.kernel.context import Context
from callboard.actors.metrics.ports import WindowReader
from callboard.actors.pipelines.running.actor import QueryPipeline
from callboard.actors.streaming.ports import ChannelSource
from callboard.messages.control.control_plane import CONTROL_SLOT
from callboard.messages.core.contract import Request

from .approvals import approvals_source
from .journal import JournalSource
from .notices import AlertsSource, LettersSource
from .pipelines import pipelines_source
from .system import Ask, system_source
from .windows import FollowWindows, MetricsSource

__all__ = ["sources_of"]

ReplyT = TypeVar("ReplyT")
ANSWER_S: Final = 5.0


def sources_of(
    ctx: Context,
    *,
    log: EventLog | None = None,
    windows: WindowReader | None = None,
    follow_windows: FollowWindows | None = None,
    ask_admin: Ask | None = None,
) -> Sequence[ChannelSource]:
    """The sources of a hub that the actor of `ctx` is.

    `log` reads the journal of the system, and `windows` its metrics; the caller closes both.
    `follow_windows` informs of windows that close, which are published at once.
    `ask_admin` reaches the admin API, for approvals. Without one of them its channels are missing.
    """

    def ask_root(request: Request[ReplyT]) -> Awaitable[ReplyT]:
        return ctx.ask(request, ctx.host_ref(CONTROL_SLOT), timeout_s=ANSWER_S)

    async def ask_alerts(request: Request[ReplyT]) -> ReplyT:
        manager = await ctx.lookup(ALERT_MANAGER, timeout_s=ANSWER_S)
        return await ctx.ask(request, manager, timeout_s=ANSWER_S)

    sources: list[ChannelSource] = [
        system_source(ask_root),
        AlertsSource(ask_alerts, ctx),
        LettersSource(ask_root, ctx),
        pipelines_source(lambda: ctx.offers(QueryPipeline)),
    ]
    if log is not None:
        sources.insert(0, JournalSource(log))
    if ask_admin is not None:
        sources.append(approvals_source(ask_admin))
    if windows is not None:
        sources.append(MetricsSource(windows, follow_windows))
    return sources
