"""Routes that read executions and the journal."""

import json
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query
from fastapi import Request as HttpRequest
from starlette.responses import Response

from callboard.actors.executions.history.events import stream_of
from callboard.actors.executions.history.plain import fields_of

from ...admin.journal import recorded
from ...admin.submission import AwaitResult, JobsListed, ListJobs, ResultAnswered
from ...admin.views import (
    BARS_MAX,
    ExecutionView,
    JournalEvent,
    JournalPage,
    QueryExecution,
    QueryExecutions,
    QuerySubTasks,
    QueryTimeline,
    ReadJournal,
    Timeline,
)
from .answers import (
    ANSWER_BYTES_MAX,
    After,
    Limit,
    answered,
    bounded,
    cursor,
    fitting,
    place_in,
    tag_of,
)
from .api import Api, From, new_router
from .shapes import EventRow, EventsAnswer, ExecutionsAnswer, SubTasksAnswer

__all__ = ["execution_reads", "version_of"]

NAME_CHARS_MAX: Final = 200
FIELDS_BYTES_MAX: Final = 100_000
"""The fields of one event that are larger as JSON are left out."""
PLACE: Final = ((int, float, str), str)
Id = Annotated[str, Path(max_length=NAME_CHARS_MAX, description="The id of the execution.")]
Statuses = Annotated[list[str] | None, Query(max_length=8, description="Only these statuses.")]
Text = Annotated[str, Query(max_length=NAME_CHARS_MAX)]
Moment = Annotated[float, Query(ge=0.0, le=1e12, allow_inf_nan=False)]
FAILED: Final = ("failed",)


def version_of(view: ExecutionView) -> str:
    """The version of an execution, as commands compare it: it changes with each event."""
    return f"{view.version}-{view.event[-12:]}"


def execution_reads(api: Api) -> APIRouter:
    """The routes; those with a longer path come first, because an id may have slashes."""
    router = new_router(api, "executions")
    _list_routes(router)
    _event_routes(router)
    _timeline_route(router)
    _sub_task_route(router)
    _state_routes(router)
    return router


def _list_routes(router: APIRouter) -> None:
    @router.get("/v1/executions", response_model=ExecutionsAnswer, summary="Executions")
    async def executions(
        request: HttpRequest,
        asker: From,
        *,
        status: Statuses = None,
        job: Text = "",
        id: Text = "",  # noqa: A002 - the name of the parameter
        submitted_from: Moment = 0.0,
        submitted_to: Moment = 1e12,
        sort: Literal["submitted", "ended", "duration", "job", "status"] = "submitted",
        order: Literal["asc", "desc"] = "desc",
        limit: Limit = 50,
        after: After = "",
        failed: Annotated[bool, Query(description="Only those that failed.")] = False,
    ) -> Response:
        place = place_in(f"executions {sort} {order}", after, *PLACE)
        question = QueryExecutions(
            status=FAILED if failed else tuple(status or ()),
            job=job,
            id=id,
            submitted_from=submitted_from,
            submitted_to=submitted_to,
            sort=sort,
            is_ascending=order == "asc",
            after=None if place is None else (place[0], place[1]),
        )
        page = await fitting(
            limit, lambda limit: asker.ask(question.model_copy(update={"limit": limit}))
        )
        shape = ExecutionsAnswer(
            items=page.items,
            next=cursor(f"executions {sort} {order}", page.next),
            counts=page.counts,
            left_off=page.left_off,
        )
        return answered(request, shape)

    @router.get(
        "/v1/jobs", response_model=JobsListed, summary="Jobs that may be submitted", tags=["jobs"]
    )
    async def jobs(request: HttpRequest, asker: From) -> Response:
        return answered(request, await asker.ask(ListJobs()))


def _event_routes(router: APIRouter) -> None:
    @router.get("/v1/events", response_model=EventsAnswer, summary="Events of the journal")
    async def events(
        request: HttpRequest,
        asker: From,
        limit: Limit = 50,
        after: After = "",
        kind: Annotated[list[str] | None, Query(max_length=50)] = None,
    ) -> Response:
        place = place_in("events", after, int) or [0]
        kinds = tuple(kind) if kind else None
        page = await asker.ask(ReadJournal(after=place[0], limit=limit, kinds=kinds))
        rows, is_whole = _rows(page.items)
        has_more = page.has_more or not is_whole
        following = cursor("events", [rows[-1].position]) if rows and has_more else ""
        return answered(request, EventsAnswer(items=rows, next=following, epoch=page.epoch))

    @router.get(
        "/v1/executions/{execution_id:path}/events",
        response_model=EventsAnswer,
        summary="Events of an execution",
    )
    async def execution_events(
        request: HttpRequest,
        asker: From,
        execution_id: Id,
        limit: Limit = 50,
        after: After = "",
        order: Literal["asc", "desc"] = "asc",
        after_version: Annotated[
            int, Query(ge=0, lt=2**62, description="Begin after this event, without a cursor.")
        ] = 0,
    ) -> Response:
        name = f"execution events {order}"
        place = place_in(name, after, int) or [after_version]
        page: JournalPage = await asker.ask(
            ReadJournal(
                stream=stream_of(execution_id),
                after=max(0, place[0]),
                limit=limit,
                is_backwards=order == "desc",
            )
        )
        rows, is_whole = _rows(page.items)
        has_more = (page.has_more or not is_whole) and bool(rows)
        if order == "desc" and rows and rows[-1].version <= 1:
            has_more = False  # A version of 0 would begin at the end again.
        following = cursor(name, [rows[-1].version]) if has_more else ""
        return answered(request, EventsAnswer(items=rows, next=following, epoch=page.epoch))


def _timeline_route(router: APIRouter) -> None:
    @router.get(
        "/v1/executions/{execution_id:path}/timeline",
        response_model=Timeline,
        summary="Attempts over time, aggregated for drawing",
    )
    async def timeline(
        request: HttpRequest,
        asker: From,
        *,
        execution_id: Id,
        by: Literal["kind", "executor"] = "kind",
        open: Annotated[list[str] | None, Query(max_length=50)] = None,  # noqa: A002 - as above
        from_at: Moment = 0.0,
        to_at: Moment = 0.0,
        bars: Annotated[int, Query(ge=1, le=BARS_MAX)] = BARS_MAX,
        cells: Annotated[int, Query(ge=1, le=500)] = 200,
    ) -> Response:
        question = QueryTimeline(
            execution_id=execution_id,
            by=by,
            open=tuple(open or ()),
            from_at=from_at,
            to_at=to_at,
            cells=cells,
        )
        found = await fitting(
            bars, lambda bars: asker.ask(question.model_copy(update={"bars_max": bars}))
        )
        return answered(request, found)


def _sub_task_route(router: APIRouter) -> None:
    @router.get(
        "/v1/executions/{execution_id:path}/subtasks",
        response_model=SubTasksAnswer,
        summary="Sub-tasks of an execution",
    )
    async def sub_tasks(
        request: HttpRequest,
        asker: From,
        *,
        execution_id: Id,
        status: Statuses = None,
        id: Text = "",  # noqa: A002 - the name of the parameter
        kind: Text = "",
        sort: Literal["number", "id", "status", "queue", "run", "attempts", "ended"] = "number",
        order: Literal["asc", "desc"] = "asc",
        limit: Limit = 50,
        after: After = "",
        failed: Annotated[bool, Query(description="Only those that failed, or retried.")] = False,
    ) -> Response:
        name = f"subtasks {sort} {order}"
        place = place_in(name, after, *PLACE)
        question = QuerySubTasks(
            execution_id=execution_id,
            status=tuple(status or ()),
            failed_only=failed,
            id=id,
            kind=kind,
            sort=sort,
            is_ascending=order == "asc",
            after=None if place is None else (place[0], place[1]),
        )
        page = await fitting(
            limit, lambda limit: asker.ask(question.model_copy(update={"limit": limit}))
        )
        shape = SubTasksAnswer(
            items=page.items,
            next=cursor(name, page.next),
            total=page.total,
            version=page.version,
        )
        return answered(request, shape)


def _state_routes(router: APIRouter) -> None:
    @router.get(
        "/v1/executions/{execution_id:path}/result",
        response_model=ResultAnswered,
        summary="The result of an execution, or its state so far",
    )
    async def result(
        request: HttpRequest,
        asker: From,
        execution_id: Id,
        wait_s: Annotated[float, Query(ge=0.0, le=15.0, allow_inf_nan=False)] = 0.0,
    ) -> Response:
        question = AwaitResult(execution_id=execution_id, wait_s=wait_s)
        return answered(request, await asker.ask(question))

    @router.get(
        "/v1/executions/{execution_id:path}",
        response_model=ExecutionView,
        summary="One execution, and why it waits",
    )
    async def execution(request: HttpRequest, asker: From, execution_id: Id) -> Response:
        view = await asker.ask(QueryExecution(execution_id=execution_id))
        return answered(request, view, tag_of(version_of(view), view))


# --- events ------------------------------------------------------------------------------------


def _rows(events: Sequence[JournalEvent]) -> tuple[tuple[EventRow, ...], bool]:
    """The events as rows, as many as fit into an answer, and whether these are all."""
    rows, size = list[EventRow](), 0
    for event in events:
        row = _row(event)
        size += len(row.model_dump_json())
        if rows and size > ANSWER_BYTES_MAX - 50_000:
            return tuple(rows), False
        rows.append(row)
    return tuple(bounded(rows)), True


def _row(event: JournalEvent) -> EventRow:
    found = recorded(event)
    size = len(found.data)
    fields = None if size > FIELDS_BYTES_MAX else fields_of(found)
    is_cut = size > FIELDS_BYTES_MAX or len(json.dumps(fields)) > FIELDS_BYTES_MAX
    return EventRow(
        position=event.position,
        stream=event.stream,
        version=event.version,
        id=event.id,
        kind=event.kind,
        schema_version=event.schema_version,
        bytes=size,
        recorded_at=event.recorded_at,
        fields=None if is_cut else fields,
        is_cut=is_cut,
    )
