"""The web server of a hub with all routes of its system, in the hub's process."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from callboard.actors.kernel.context import Context
from callboard.actors.streaming.actor import connection_views
from callboard.actors.streaming.channel import name_problem
from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.messages import Publish
from callboard.actors.streaming.ports import SessionHub
from callboard.actors.streaming.publisher import EventQueue, encoded
from callboard.messages.control.control_plane import CONTROL_SLOT
from callboard.messages.control.principals import Principal
from callboard.messages.core.errors import MailboxFull, UsageError
from callboard.messages.core.ref import Ref
from callboard.messages.storage.stores import ReadModelStore

from ...admin.errors import AccessDenied
from ...admin.pipelines import PipelineQueries
from ...web.routes.api import Api, admin_of
from ...web.routes.router import api_router
from ...web.routes.shapes import ConnectionRow
from ...web.server import WebServer
from ...web.settings import WebSettings
from ...web.tokens import Tokens
from ..metrics import SystemMetrics
from .hub_plan import HubPlan
from .otlp_inbox import OtlpInbox

__all__ = ["HubEdge"]

LOGGER: Final = logging.getLogger("callboard.hub")
PAGE: Final = Path(__file__).parents[2] / "web" / "static"
ROWS_MAX: Final = 500
CHANNELS_SHOWN: Final = 20
LIMITS: Final = HubLimits()


class HubEdge:
    """An `Edge`. `queue` takes what clients publish over HTTP to all hubs."""

    def __init__(
        self,
        plan: HubPlan,
        tokens: Tokens,
        ctx: Context,
        metrics: SystemMetrics | None,
        pipelines: Sequence[ReadModelStore],
        queue: EventQueue,
    ) -> None:
        self._plan: Final = plan
        self._tokens: Final = tokens
        self._ctx: Final = ctx
        self._metrics: Final = metrics
        self._pipelines: Final = pipelines
        self._queue: Final = queue
        self._hub: Hub | None = None
        self._server: WebServer | None = None
        self._inbox: Final = self._new_inbox()

    def _new_inbox(self) -> OtlpInbox | None:
        if not self._plan.records or self._metrics is None:
            return None
        try:
            return OtlpInbox(self._metrics)
        except UsageError as error:  # The extra is not installed.
            LOGGER.info("metrics of others are not taken: %s", error)
            return None

    async def start(self, hub: SessionHub) -> str:
        """See `Edge`."""
        assert isinstance(hub, Hub)
        self._hub = hub
        plan = self._plan
        if plan.web.port or not plan.port_chosen:
            return await self._serve(plan.web.port, hub)
        try:
            return await self._serve(plan.port_chosen, hub)
        except UsageError as error:
            LOGGER.warning("the hub takes another port: %s", error)
            return await self._serve(0, hub)

    async def _serve(self, port: int, hub: Hub) -> str:
        web = replace(self._plan.web, port=port)
        api = self._api(web)

        def new_server() -> WebServer:
            return WebServer(web, self._tokens, routers=[api_router(api)], page=PAGE)

        # In a thread: FastAPI takes some tenths of a second to prepare all routes.
        server = await asyncio.to_thread(new_server)
        url = await server.start(hub)
        self._server = server
        return url

    async def stop(self) -> None:
        """See `Edge`."""
        if self._inbox is not None:
            self._inbox.close()
        if self._server is not None:
            await self._server.stop()

    def _api(self, web: WebSettings) -> Api:
        ctx, metrics, inbox = self._ctx, self._metrics, self._inbox

        async def control_host() -> Ref[Any]:
            return ctx.host_ref(CONTROL_SLOT)

        return Api(
            admin=admin_of(
                control_host,
                None if metrics is None else metrics.answer,
                PipelineQueries(self._pipelines).answer if self._pipelines else None,
            ),
            tokens=self._tokens,
            needs_token=web.needs_token,
            cookie_path=f"{web.prefix}/",
            is_encrypted=web.is_encrypted,
            publish=self._publish,
            take_otlp=None if inbox is None else inbox.take,
            connections=self._connections,
            system=self._plan.system,
        )

    async def _publish(self, message: Publish, principal: Principal) -> None:
        hub, channel = self._hub, message.channel
        assert hub is not None
        problem = name_problem(channel, LIMITS)
        if problem:
            raise UsageError(f"{problem}.", advice="Choose another name for the channel.")
        if hub.is_reserved(channel):
            raise AccessDenied(
                f"only the system publishes to channel {channel!r}.",
                advice="Choose another name for the channel.",
            )
        item = encoded(channel, message.event, message.key)
        if not self._queue.put(item.model_copy(update={"user": principal.subject})):
            raise MailboxFull(
                "too many events wait for the hubs.", advice="Try again.", may_have_run=False
            )

    def _connections(self) -> tuple[ConnectionRow, ...]:
        assert self._hub is not None
        now = time.time()
        views = connection_views(self._hub, ROWS_MAX)
        return tuple(
            ConnectionRow(
                client=view.client,
                user=view.user,
                way=view.codec,
                address=view.remote,
                since=now - view.age_s,
                channels=view.channels[:CHANNELS_SHOWN],
                channels_left_off=max(0, len(view.channels) - CHANNELS_SHOWN),
                queue_bytes=view.queue_bytes,
                queue_age_s=view.queue_age_s,
                sent=view.sent,
                dropped=view.dropped,
            )
            for view in views
        )
