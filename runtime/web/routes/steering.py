"""Routes that act on executions: submit, cancel, approve, resume, fork."""

import hashlib
import time
from typing import Any, Final
from uuid import uuid4

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from callboard.messages.core.errors import UsageError
from callboard.messages.core.trace_context import parse_traceparent
from callboard.messages.jobs.commands import (
    CancelExecution,
    DecideStep,
    ForkExecution,
    ResumeExecution,
)

from ...admin.errors import UnknownExecution
from ...admin.submission import SubmitExecution
from ...admin.views import ExecutionView, QueryExecution
from .answers import IfMatch, Key, answered, check_match
from .api import PROBLEMS, Api, Asker, From, new_router
from .executions import Id, version_of
from .shapes import Steered, SubmittedAnswer

__all__ = ["steering_routes"]

NAME_CHARS_MAX: Final = 300
STALE: Final[dict[int | str, dict[str, Any]]] = {
    **PROBLEMS,
    409: {**PROBLEMS[400], "description": "It is not in the state for this."},
    412: {**PROBLEMS[400], "description": "It has changed since it was read."},
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SubmitBody(_Body):
    """What is submitted."""

    job: str = Field(min_length=1, max_length=200)
    """The name of a job of `GET /v1/jobs`."""
    fields: dict[str, Any] = Field(default_factory=dict)
    """The fields of its request."""
    attributes: dict[str, Any] = Field(default_factory=dict)
    id: str = Field(default="", max_length=200)
    """The client's id of the execution: the same id and request run once."""


class DecideBody(_Body):
    """The decision about a step in doubt."""

    step: str = Field(min_length=1, max_length=NAME_CHARS_MAX)
    runs_again: bool
    """Whether the step runs again; otherwise it fails."""
    reason: str = Field(default="", max_length=1_000)
    """Why, for the journal."""


class ForkBody(_Body):
    """Where the fork begins."""

    step: str = Field(min_length=1, max_length=NAME_CHARS_MAX)
    """The sub-task that runs again, with all that needs it."""
    id: str = Field(default="", max_length=200)
    """The id of the fork; empty for a new one."""


def steering_routes(api: Api) -> APIRouter:
    """The routes."""
    router = new_router(api, "steering")
    _submit_route(router)
    _command_routes(router)
    return router


def _submit_route(router: APIRouter) -> None:
    @router.post(
        "/v1/executions",
        response_model=SubmittedAnswer,
        status_code=201,
        summary="Submit a request of a job",
        responses={
            **STALE,
            200: {"model": SubmittedAnswer, "description": "It was submitted before."},
        },
    )
    async def submit(
        request: HttpRequest, asker: From, body: SubmitBody, idempotency_key: Key = None
    ) -> Response:
        trace = parse_traceparent(request.headers.get("traceparent", ""))
        done = await asker.ask(
            SubmitExecution(
                job=body.job,
                fields=body.fields,
                attributes=body.attributes,
                execution_id=_id_of(body.id, idempotency_key, asker),
                traceparent="" if trace is None else trace.traceparent,
            )
        )
        shape = SubmittedAnswer(id=done.execution_id, job=body.job, is_new=done.is_new)
        return answered(request, shape, status=201 if done.is_new else 200)


def _id_of(execution_id: str, key: str | None, asker: Asker) -> str:
    if execution_id and key is not None:
        raise UsageError(
            "a submission has an id and an Idempotency-Key.", advice="Give one of the two."
        )
    if key is None:
        return execution_id
    # Keys of two clients never meet.
    text = f"{asker.principal.subject}\0{key}"
    return f"key-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:40]}"


def _command_routes(router: APIRouter) -> None:
    @router.post(
        "/v1/executions/{execution_id:path}/cancel",
        response_model=Steered,
        responses=STALE,
        summary="Cancel an execution",
    )
    async def cancel(
        request: HttpRequest, asker: From, execution_id: Id, if_match: IfMatch = None
    ) -> Response:
        fields = await _command(asker, execution_id, if_match)
        done = await asker.ask(CancelExecution(**fields))
        return _steered(request, execution_id, is_known=done.is_known, is_running=done.is_running)

    @router.post(
        "/v1/executions/{execution_id:path}/approve",
        response_model=Steered,
        responses=STALE,
        summary="Decide about a step that may have run",
    )
    async def approve(
        request: HttpRequest,
        asker: From,
        execution_id: Id,
        body: DecideBody,
        if_match: IfMatch = None,
    ) -> Response:
        fields = await _command(asker, execution_id, if_match)
        done = await asker.ask(DecideStep(**fields, **body.model_dump()))
        if done.is_known and not done.is_settled:
            raise UsageError(f"step {body.step!r} is not in doubt.")
        return _steered(request, execution_id, is_known=done.is_known, is_running=done.is_running)

    @router.post(
        "/v1/executions/{execution_id:path}/resume",
        response_model=Steered,
        responses=STALE,
        summary="Continue an execution that no process runs",
    )
    async def resume(
        request: HttpRequest, asker: From, execution_id: Id, if_match: IfMatch = None
    ) -> Response:
        fields = await _command(asker, execution_id, if_match)
        done = await asker.ask(ResumeExecution(**fields))
        return _steered(request, execution_id, is_known=done.is_known, is_running=True)

    @router.post(
        "/v1/executions/{execution_id:path}/fork",
        response_model=Steered,
        responses=STALE,
        status_code=201,
        summary="Make a new execution that shares the results before a step",
    )
    async def fork(
        request: HttpRequest,
        asker: From,
        execution_id: Id,
        body: ForkBody,
        if_match: IfMatch = None,
    ) -> Response:
        fields = await _command(asker, execution_id, if_match)
        fork_id = body.id or uuid4().hex
        done = await asker.ask(ForkExecution(**fields, fork_id=fork_id, step=body.step))
        if not done.is_known:
            raise _unknown(execution_id)
        shape = Steered(id=fork_id, sub_tasks=done.sub_tasks, shared=done.shared)
        return answered(request, shape, status=201)


async def _command(asker: Asker, execution_id: str, if_match: str | None) -> dict[str, Any]:
    """The common fields of a command on what the client has read. Raises `StaleVersion`."""
    fields: dict[str, Any] = {
        "execution_id": execution_id,
        "token": uuid4().hex,
        "at": time.time(),
    }
    if if_match is not None:
        view: ExecutionView = await asker.ask(QueryExecution(execution_id=execution_id))
        check_match(if_match, version_of(view))
        fields |= {"version": view.version, "event": view.event}
    return fields


def _steered(
    request: HttpRequest, execution_id: str, *, is_known: bool, is_running: bool
) -> Response:
    if not is_known:
        raise _unknown(execution_id)
    return answered(request, Steered(id=execution_id, is_running=is_running))


def _unknown(execution_id: str) -> UnknownExecution:
    return UnknownExecution(
        f"there is no execution {execution_id!r} here, or it has just changed.",
        advice="Read it again.",
    )
