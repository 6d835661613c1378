"""Routes about approvals: list them, and decide."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi import Path as InPath
from fastapi import Request as HttpRequest
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from callboard.messages.control.approvals import (
    Approval,
    ApprovalState,
    DecideApproval,
    QueryApprovals,
    UnknownApproval,
)

from .answers import After, Limit, answered, bounded, cursor, place_in
from .api import Api, From, new_router
from .shapes import ApprovalsAnswer

__all__ = ["approval_routes"]

LIST: Final = "approvals"
Id = Annotated[str, InPath(min_length=1, max_length=700)]


class DecisionBody(BaseModel):
    """A decision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gives: bool
    """Yes or no."""
    reason: str = Field(default="", max_length=1_000)


def approval_routes(api: Api) -> APIRouter:
    """The routes."""
    router = new_router(api, "approvals")

    @router.get(
        "/v1/approvals",
        response_model=ApprovalsAnswer,
        summary="What persons are asked for, the newest first",
    )
    async def approvals(
        request: HttpRequest,
        asker: From,
        state: Annotated[list[ApprovalState] | None, Query(max_length=5)] = None,
        limit: Limit = 50,
        after: After = "",
    ) -> Response:
        place = place_in(LIST, after, (int, float), str)
        page = await asker.ask(
            QueryApprovals(
                states=tuple(state or ()),
                after=None if place is None else (place[0], place[1]),
                limit=limit,
            )
        )
        items = tuple(bounded(page.items))
        following = page.next
        if len(items) < len(page.items):
            following = (items[-1].asked_at, items[-1].id)
        shape = ApprovalsAnswer(items=items, next=cursor(LIST, following), open=page.open)
        return answered(request, shape)

    @router.get("/v1/approvals/{approval_id:path}", response_model=Approval, summary="One approval")
    async def approval(request: HttpRequest, asker: From, approval_id: Id) -> Response:
        page = await asker.ask(QueryApprovals(id=approval_id))
        if not page.items:
            raise UnknownApproval(
                f"there is no approval {approval_id!r}.", advice="`GET /v1/approvals` lists them."
            )
        return answered(request, page.items[0])

    @router.post(
        "/v1/approvals/{approval_id:path}/decide",
        response_model=Approval,
        summary="Say yes or no; a repetition changes nothing",
    )
    async def decide(
        request: HttpRequest, asker: From, approval_id: Id, body: DecisionBody
    ) -> Response:
        command = DecideApproval(id=approval_id, gives=body.gives, reason=body.reason)
        return answered(request, await asker.ask(command))

    return router
