"""The route that gives an execution as one file of HTML."""

from typing import Final
from urllib.parse import quote

from fastapi import APIRouter
from starlette.responses import Response

from ...admin.views import (
    PAGE_MAX,
    Place,
    QueryExecution,
    QuerySubTasks,
    QueryTimeline,
    SubTaskRow,
)
from ..export import exported
from .api import Api, Asker, From, new_router
from .executions import Id

__all__ = ["export_routes"]

NAME_CHARS: Final = 60
PAGES_MAX: Final = 5
"""The pages of sub-tasks in the file; `callboard show --html` writes more of them."""


def export_routes(api: Api) -> APIRouter:
    """The route; it comes before `/v1/executions/{id}`, because an id may have slashes."""
    router = new_router(api, "executions")

    @router.get(
        "/v1/executions/{execution_id:path}/export",
        summary="The execution as one file of HTML, which needs no network",
        response_class=Response,
        responses={200: {"content": {"text/html": {}}, "description": "The file."}},
    )
    async def export(asker: From, execution_id: Id) -> Response:
        view = await asker.ask(QueryExecution(execution_id=execution_id))
        kinds = await asker.ask(QueryTimeline(execution_id=execution_id, by="kind"))
        executors = await asker.ask(QueryTimeline(execution_id=execution_id, by="executor"))
        rows = await _sub_tasks(asker, execution_id)
        name = quote(f"{execution_id[:NAME_CHARS]}.html", safe="")
        return Response(
            exported(view, {"kind": kinds, "executor": executors}, rows),
            media_type="text/html; charset=utf-8",
            headers={"content-disposition": f"attachment; filename*=UTF-8''{name}"},
        )

    return router


async def _sub_tasks(asker: Asker, execution_id: str) -> list[SubTaskRow]:
    rows = list[SubTaskRow]()
    after: Place | None = None
    for _ in range(PAGES_MAX):
        page = await asker.ask(
            QuerySubTasks(execution_id=execution_id, after=after, limit=PAGE_MAX)
        )
        rows += page.items
        after = page.next
        if after is None:
            break
    return rows
