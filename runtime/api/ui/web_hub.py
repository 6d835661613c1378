"""The hub of a system with the server of its clients: page, HTTP API and streams on one port.

It runs in a process of its own, and reads what it shows there: the journal from its store, metrics
from the aggregators, all else by the admin API of the system.
"""

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from callboard.actors.events.log import EventLog, FollowedLog
from callboard.actors.kernel.actor import handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.host.host import Host
from callboard.actors.streaming.actor import HubParts, StreamHub
from callboard.actors.streaming.publisher import StreamPublisher
from callboard.messages.control.control_plane import CONTROL_SLOT
from callboard.messages.core.ref import Ref
from callboard.messages.storage.stores import ReadModelStore

from ...admin.extension import client_of
from ...admin.page_link import OpenPage, PageOpened
from ...channels.sources import sources_of
from ...stores.choose import event_store, path_of, read_model_store
from ..metrics import SystemMetrics, join_metrics
from ..tokens import open_tokens
from .hub_plan import HubPlan

if TYPE_CHECKING:
    from ...web.tokens import Tokens

__all__ = ["WebHub"]

EDGE: Final = ".hub_edge"
"""The module with the web server, which takes a second to import: drivers do without it."""


class WebHub(StreamHub):
    """A hub that serves the system of a plan."""

    def __init__(self, plan: HubPlan) -> None:
        super().__init__(self._new_parts)
        self._plan: Final = plan
        self._open: Final = contextlib.AsyncExitStack()
        self._tokens: Tokens
        self._log: EventLog | None = None
        self._metrics: SystemMetrics | None = None
        self._pipelines: list[ReadModelStore] = []

    async def started(self, ctx: Context) -> None:
        """Open what it reads, and serve. Raises the errors of the stores and of the server."""
        plan = self._plan
        await asyncio.to_thread(importlib.import_module, EDGE, __package__)
        try:
            tokens = open_tokens(plan.system, store=plan.tokens, keys=Path(plan.keys))
            self._tokens = await self._open.enter_async_context(tokens)
            if plan.journal:
                self._log = await self._open.enter_async_context(_followed(plan.journal))
            for url in plan.pipelines:
                store = read_model_store(url)
                await asyncio.to_thread(store.open)
                self._open.push_async_callback(asyncio.to_thread, store.close)
                self._pipelines.append(store)
            if plan.metrics:
                self._metrics = await self._join_metrics(ctx)
            await super().started(ctx)
        except BaseException:
            await self._open.aclose()
            raise

    async def _join_metrics(self, ctx: Context) -> SystemMetrics | None:
        plan = self._plan
        metrics = await join_metrics(ctx, _host_of(ctx), plan.metrics, shards=plan.shards)
        if metrics is not None:
            self._open.push_async_callback(metrics.close, ends=False)
            await metrics.open_archive()
        return metrics

    def _new_parts(self, ctx: Context) -> HubParts:
        from .hub_edge import HubEdge

        metrics, host = self._metrics, _host_of(ctx)
        queue = host.extension(StreamPublisher).queue
        edge = HubEdge(self._plan, self._tokens, ctx, metrics, self._pipelines, queue)
        windows = None if metrics is None else metrics.reader

        async def control_host() -> Ref[Any]:
            return ctx.host_ref(CONTROL_SLOT)

        ask_admin = client_of(control_host, None).ask
        return HubParts(
            authenticator=self._tokens,
            sources=sources_of(
                ctx,
                log=self._log,
                windows=windows,
                follow_windows=None if metrics is None else metrics.following,
                ask_admin=ask_admin,
            ),
            edge=edge,
            spread=queue.put,
            close=self._open.aclose,
        )

    @handler
    async def open_page(self, request: OpenPage) -> PageOpened:
        """A link to the page."""
        code = await self._tokens.create_code(request.asker)
        return PageOpened(links=(f"{self.address}#code={code}",), urls=(self.address,))


def _host_of(ctx: Context) -> Host:
    host = ctx._host  # noqa: SLF001 - a part of the system, like the execution service
    assert isinstance(host, Host), "actors run on hosts"
    return host


@contextlib.asynccontextmanager
async def _followed(url: str) -> AsyncIterator[EventLog]:
    """The log of a journal that another process writes, or will write."""
    path = path_of(url)
    if path is not None and not path.exists():
        await asyncio.to_thread(_make, url)
    store = event_store(url, reads_only=True)
    log = FollowedLog(store)
    try:
        yield log
    finally:
        await log.close()
        await asyncio.to_thread(store.close)


def _make(url: str) -> None:
    """Make an empty journal: a detached system opens its journal with its first execution."""
    store = event_store(url)
    store.open()
    store.close()
