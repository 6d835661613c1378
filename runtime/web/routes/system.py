"""Routes about the system: now, hosts, actors and their histories."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from fastapi import Request as HttpRequest
from starlette.responses import Response

from callboard.actors.alerts.messages import AlertsView, QueryAlerts
from callboard.messages.control.views import (
    ActorHistories,
    CallboardView,
    QueryActor,
    QueryActors,
)
from callboard.messages.core.errors import ActorNotFound, CallboardError

from ...admin.errors import NotServed
from ...admin.views import ExecutionsPage, QueryExecutions
from .answers import After, Limit, answered, answered_bytes, bounded, cursor, fitting, place_in
from .api import Api, Asker, From, new_router
from .shapes import ActorsAnswer, HostsAnswer, SystemNow
from .shared_views import Shared

__all__ = ["summed", "system_routes"]

FAILURES: Final = 10
NAME_CHARS_MAX: Final = 2_000


def system_routes(api: Api) -> APIRouter:
    """The routes."""
    router = new_router(api, "system")
    newest = Shared[bytes]()

    @router.get("/v1/system", response_model=SystemNow, summary="The whole system in one look")
    async def system(request: HttpRequest, asker: From) -> Response:
        async def load() -> bytes:
            now = await _system_now(asker, request.app.version)
            return now.model_dump_json().encode()

        return answered_bytes(request, await newest.read(asker, load))

    @router.get("/v1/hosts", response_model=HostsAnswer, summary="All hosts, by slot")
    async def hosts(
        request: HttpRequest, asker: From, limit: Limit = 50, after: After = ""
    ) -> Response:
        place = place_in("hosts", after, int) or [-1]
        view = await asker.system_view()
        found = sorted(view.hosts, key=lambda host: host.slot)
        rest = [host for host in found if host.slot > place[0]]
        items = tuple(bounded(rest[:limit]))
        following = cursor("hosts", [items[-1].slot]) if len(items) < len(rest) else ""
        return answered(request, HostsAnswer(items=items, next=following))

    @router.get("/v1/actors", response_model=ActorsAnswer, summary="All actors, by host")
    async def actors(
        request: HttpRequest,
        asker: From,
        limit: Limit = 50,
        after: After = "",
        path: Annotated[
            str, Query(max_length=NAME_CHARS_MAX, description="A part of the path on its host.")
        ] = "",
        slot: Annotated[int, Query(ge=0, le=2**31, description="The slot of the first host.")] = 0,
        *,
        failed: Annotated[bool, Query(description="Only those that failed lately.")] = False,
    ) -> Response:
        first, cell = place_in("actors", after, int, int) or (slot, -1)
        question = QueryActors(slot=first, cell=cell, path=path, failed_only=failed)
        page = await fitting(
            limit, lambda limit: asker.ask(question.model_copy(update={"limit": limit}))
        )
        following = cursor("actors", [page.slot, page.cell]) if page.has_more else ""
        shape = ActorsAnswer(items=page.items, next=following, silent=page.silent)
        return answered(request, shape)

    @router.get(
        "/v1/actors/{path:path}/story",
        response_model=ActorHistories,
        summary="The failures of an actor or a host, and what its supervisor did",
    )
    async def history(
        request: HttpRequest,
        asker: From,
        path: Annotated[
            str, Path(max_length=NAME_CHARS_MAX, description="As `callboard why` takes it.")
        ],
    ) -> Response:
        return answered(request, await asker.ask(QueryActor(path=path)))

    return router


async def _system_now(asker: Asker, release: str) -> SystemNow:
    view, executions, failed, alerts = await asyncio.gather(
        asker.system_view(),
        asker.ask(QueryExecutions(limit=1)),
        asker.ask(QueryExecutions(status=("failed",), sort="ended", limit=FAILURES)),
        asker.ask(QueryAlerts()),
        return_exceptions=True,
    )
    if isinstance(view, BaseException):
        raise view
    assert isinstance(view, CallboardView), "the contract says so"
    hosts = view.hosts
    problems: list[str] = []
    for answer in (executions, alerts):
        # Without a journal or alerts the system is whole; a part that fails is named.
        if isinstance(answer, CallboardError) and not isinstance(answer, NotServed | ActorNotFound):
            problems.append(answer.message)
        elif isinstance(answer, BaseException) and not isinstance(answer, CallboardError):
            raise answer
    lags = [host.lag_max_s for host in hosts if host.lag_max_s is not None]
    return SystemNow(
        name=view.name,
        version=release,
        at=time.time(),
        hosts=dict(Counter(host.state for host in hosts)),
        actors=sum(host.actors for host in hosts),
        handled=sum(host.handled for host in hosts),
        uptime_s=hosts[0].uptime_s,
        lag_max_s=max(lags, default=None),
        memory_bytes=sum(host.memory_bytes for host in hosts),
        restarts=view.restarts,
        standbys=view.standbys,
        drivers=len(view.drivers),
        dead_letters=summed(host.dead_letters for host in hosts),
        executions=executions.counts if isinstance(executions, ExecutionsPage) else None,
        alerts=_alerts(alerts),
        failures=failed.items if isinstance(failed, ExecutionsPage) else (),
        problems=tuple(problems),
    )


def _alerts(answer: Any) -> dict[str, int] | None:
    if not isinstance(answer, AlertsView):
        return None
    return dict(Counter(alert.state for alert in answer.alerts))


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sums of counts by name."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)
