"""Routes about metrics, alerts, pipelines, dead letters and connections."""

import time
from typing import Annotated, Final, Literal
from uuid import uuid4

from fastapi import APIRouter, Path, Query
from fastapi import Request as HttpRequest
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from callboard.actors.alerts.messages import (
    AddSilence,
    AlertsView,
    EndSilence,
    QueryAlerts,
    SilenceAdded,
    SilenceEnded,
)
from callboard.actors.metrics.query.question import (
    ListMetrics,
    MetricsAnswered,
    MetricsListed,
    QueryMetrics,
)
from callboard.messages.control.principals import Scope
from callboard.messages.core.errors import PayloadTooLarge, UsageError

from ...admin.errors import NotServed
from ...admin.pipeline_views import (
    QueryLetters,
    QueryPipelines,
    ReplayLetters,
    ResumeStoppedPipeline,
)
from .answers import After, Limit, answered, bounded, cursor, place_in
from .api import Api, From, new_router
from .shapes import ConnectionsAnswer, LettersAnswer, PipelinesAnswer
from .system import summed

__all__ = ["observing_routes"]

EXPRESSION_CHARS_MAX: Final = 10_000
POINTS_MAX: Final = 2_000
SERIES_MAX: Final = 500
VALUES_MAX: Final = 40_000
"""Values of one answer: some 700 KB."""
NS: Final = 1_000_000_000
MATCHERS_MAX: Final = 32
HOUR_S: Final = 3_600.0
Text = Annotated[str, Query(max_length=300)]
Moment = Annotated[float, Query(ge=0.0, le=4e9, allow_inf_nan=False)]


class SilenceBody(BaseModel):
    """A silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    matchers: tuple[str, ...] = Field(min_length=1, max_length=MATCHERS_MAX)
    """Conditions on labels, such as `severity=warning`."""
    for_s: float = Field(default=2 * HOUR_S, gt=0.0, le=1e8, allow_inf_nan=False)
    comment: str = Field(default="", max_length=2_000)


class LettersBody(BaseModel):
    """The letters that are replayed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    numbers: tuple[int, ...] = Field(min_length=1, max_length=500)


def observing_routes(api: Api) -> APIRouter:
    """The routes."""
    router = new_router(api, "observing")
    _metric_routes(router)
    _alert_routes(router)
    _pipeline_routes(router)
    _letter_routes(router)
    _connection_routes(router)
    return router


def _metric_routes(router: APIRouter) -> None:
    @router.get("/v1/metrics", response_model=MetricsListed, summary="Metrics that have windows")
    async def metrics(
        request: HttpRequest, asker: From, from_at: Moment = 0.0, to_at: Moment = 4e9
    ) -> Response:
        question = ListMetrics(from_ns=round(from_at * NS), to_ns=round(to_at * NS))
        return answered(request, await asker.ask(question))

    @router.get(
        "/v1/metrics/query",
        response_model=MetricsAnswered,
        summary="Values of an expression in the query language",
    )
    async def query(
        request: HttpRequest,
        asker: From,
        expression: Annotated[str, Query(min_length=1, max_length=EXPRESSION_CHARS_MAX)],
        from_at: Annotated[Moment, Query(description="Default: an hour before the end.")] = 0.0,
        to_at: Annotated[Moment, Query(description="Default: now.")] = 0.0,
        step_s: Annotated[float, Query(ge=0.0, le=1e8, allow_inf_nan=False)] = 0.0,
        *,
        instant: Annotated[bool, Query(description="One value, at the end.")] = False,
    ) -> Response:
        to_at = to_at or time.time()
        from_at = from_at or max(0.0, to_at - HOUR_S)
        if from_at > to_at:
            raise UsageError("`from_at` is after `to_at`.", advice="Swap them.")
        step_s = max(step_s, (to_at - from_at) / (POINTS_MAX - 1)) if step_s else 0.0
        question = QueryMetrics(
            from_ns=round(from_at * NS),
            to_ns=round(to_at * NS),
            step_ns=round(step_s * NS),
            expression=expression,
            is_range=not instant,
        )
        found = await asker.ask(question)
        points = max(1, len(found.times_ns))
        if len(found.series) > SERIES_MAX or len(found.series) * points > VALUES_MAX:
            raise PayloadTooLarge(
                f"the answer has {len(found.series):,} series with {points:,} values each.",
                advice=f"Select at most {min(SERIES_MAX, VALUES_MAX // points):,} series, for "
                "instance by topk(...), or use a longer step.",
            )
        return answered(request, found)


def _alert_routes(router: APIRouter) -> None:
    @router.get("/v1/alerts", response_model=AlertsView, summary="Alerts, rules and silences")
    async def alerts(request: HttpRequest, asker: From) -> Response:
        view = await asker.ask(QueryAlerts())
        kept = tuple(bounded(view.alerts))[:500]
        left_off = view.left_off + len(view.alerts) - len(kept)
        return answered(request, view.model_copy(update={"alerts": kept, "left_off": left_off}))

    @router.post(
        "/v1/alerts/silences",
        response_model=SilenceAdded,
        status_code=201,
        summary="Silence the alerts that fulfil all matchers",
    )
    async def silence(request: HttpRequest, asker: From, body: SilenceBody) -> Response:
        now = time.time()
        added = await asker.ask(
            AddSilence(
                id=uuid4().hex,
                matchers=body.matchers,
                begins_at=now,
                ends_at=now + body.for_s,
                author=asker.principal.subject,
                comment=body.comment,
            )
        )
        return answered(request, added, status=201)

    @router.delete(
        "/v1/alerts/silences/{silence_id}", response_model=SilenceEnded, summary="End a silence"
    )
    async def end_silence(
        request: HttpRequest, asker: From, silence_id: Annotated[str, Path(max_length=64)]
    ) -> Response:
        return answered(request, await asker.ask(EndSilence(id=silence_id)))


def _pipeline_routes(router: APIRouter) -> None:
    @router.get("/v1/pipelines", response_model=PipelinesAnswer, summary="Pipelines, by name")
    async def pipelines(
        request: HttpRequest, asker: From, limit: Limit = 50, after: After = ""
    ) -> Response:
        place = place_in("pipelines", after, str)
        view = await asker.ask(QueryPipelines())
        rest = [row for row in view.items if place is None or row.name > place[0]]
        items = tuple(bounded(rest[:limit]))
        following = cursor("pipelines", [items[-1].name]) if len(items) < len(rest) else ""
        return answered(request, PipelinesAnswer(items=items, next=following))

    @router.post("/v1/pipelines/{name}/resume", status_code=204, summary="Resume a pipeline")
    async def resume(asker: From, name: Annotated[str, Path(max_length=300)]) -> Response:
        await asker.ask(ResumeStoppedPipeline(pipeline=name))
        return Response(status_code=204)

    @router.post("/v1/pipelines/{name}/replay", status_code=204, summary="Replay dead letters")
    async def replay(
        asker: From, name: Annotated[str, Path(max_length=300)], body: LettersBody
    ) -> Response:
        await asker.ask(ReplayLetters(pipeline=name, numbers=body.numbers))
        return Response(status_code=204)


def _letter_routes(router: APIRouter) -> None:
    @router.get("/v1/letters", response_model=LettersAnswer, summary="Dead letters")
    async def letters(
        request: HttpRequest,
        asker: From,
        pipeline: Text = "",
        stage: Text = "",
        limit: Limit = 50,
        after: After = "",
    ) -> Response:
        place = place_in("letters", after, str, int)
        view = await asker.system_view()
        messages = summed(host.dead_letters for host in view.hosts)
        try:
            page = await asker.ask(
                QueryLetters(
                    pipeline=pipeline,
                    stage=stage,
                    after=None if place is None else (place[0], place[1]),
                    limit=limit,
                )
            )
        except NotServed:  # No pipelines: the counts of messages are the whole answer.
            return answered(request, LettersAnswer(items=(), messages=messages))
        items = tuple(bounded(page.items))
        following = page.next
        if len(items) < len(page.items):
            following = (items[-1].pipeline, items[-1].number)
        shape = LettersAnswer(items=items, next=cursor("letters", following), messages=messages)
        return answered(request, shape)


def _connection_routes(router: APIRouter) -> None:
    @router.get("/v1/connections", response_model=ConnectionsAnswer, summary="Clients of the hub")
    async def connections(
        request: HttpRequest,
        asker: From,
        limit: Limit = 50,
        after: After = "",
        order: Literal["waiting", "client"] = "waiting",
    ) -> Response:
        asker.check(Scope.READ)
        name = f"connections {order}"
        place = place_in(name, after, int) or [0]
        if asker.api.connections is None:
            raise NotServed("this server has no hub.", advice="Ask the server of a hub.")
        found = list(asker.api.connections())
        if order == "client":
            found.sort(key=lambda row: row.client)
        start = max(0, place[0])
        items = tuple(bounded(found[start : start + limit]))
        end = start + len(items)
        following = cursor(name, [end]) if end < len(found) else ""
        shape = ConnectionsAnswer(items=items, next=following, total=len(found))
        return answered(request, shape)
