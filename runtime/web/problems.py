"""Refusals of requests as problem details, for every route and for what is before the routes.

Source: RFC 9457. A problem has `type`, `title`, `status`, `detail`, `instance`, and our `code`,
`advice` and `errors`. None has a path of this machine, a traceback, or a token: what a defect
raised goes into the log, and the answer says only that.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from callboard.actors.streaming.ports import Refused
from callboard.actors.streaming.protocol import ErrorCode
from callboard.messages.control.approvals import (
    ApprovalEnded,
    ApprovalsFull,
    MayNotDecide,
    UnknownApproval,
)
from callboard.messages.core.errors import (
    ActorNotFound,
    CallboardError,
    Cancelled,
    DeadlineExceeded,
    ExecutionIdTaken,
    HandlerFailed,
    HostLost,
    InternalError,
    InvalidMessage,
    MailboxFull,
    PayloadTooLarge,
    PlanError,
    RequestRejected,
    SpecError,
    StateConflict,
    StoreFailed,
    UsageError,
)

from ..admin.errors import AccessDenied, NotServed, StaleVersion, UnknownExecution, UnknownJob

__all__ = [
    "MEDIA_TYPE",
    "OPAQUE",
    "install_problems",
    "problem",
    "problem_of",
    "refusal",
    "send_problem",
]

LOGGER: Final = logging.getLogger("callboard.web")
MEDIA_TYPE: Final = "application/problem+json"
STATUSES: Final[Mapping[type[CallboardError], int]] = {
    PayloadTooLarge: 413,
    InvalidMessage: 422,
    RequestRejected: 422,
    PlanError: 422,
    SpecError: 422,
    UsageError: 400,
    ActorNotFound: 404,
    ExecutionIdTaken: 409,
    StateConflict: 409,
    MailboxFull: 503,
    HostLost: 503,
    StoreFailed: 503,
    DeadlineExceeded: 504,
    Cancelled: 503,
    HandlerFailed: 502,
    AccessDenied: 403,
    StaleVersion: 412,
    UnknownExecution: 404,
    UnknownJob: 404,
    NotServed: 404,
    UnknownApproval: 404,
    ApprovalEnded: 409,
    MayNotDecide: 403,
    ApprovalsFull: 503,
}
"""The status of an error; a class that is not here has that of the nearest that it extends."""
CODES: Final[Mapping[int, tuple[int, str]]] = {
    ErrorCode.INTERNAL: (500, "internal"),
    ErrorCode.UNAUTHORIZED: (401, "unauthorized"),
    ErrorCode.TOKEN_EXPIRED: (401, "token_expired"),
    ErrorCode.EXPIRED: (401, "token_expired"),
    ErrorCode.PERMISSION_DENIED: (403, "permission_denied"),
    ErrorCode.UNKNOWN_CHANNEL: (404, "unknown_channel"),
    ErrorCode.METHOD_NOT_FOUND: (404, "unknown_method"),
    ErrorCode.UNRECOVERABLE_POSITION: (410, "unrecoverable_position"),
    ErrorCode.LIMIT_EXCEEDED: (429, "limit_exceeded"),
    ErrorCode.TOO_MANY_REQUESTS: (429, "too_many_requests"),
    ErrorCode.NOT_AVAILABLE: (503, "not_available"),
}
"""The status, and the code for programs, of the hub's own codes."""
OPAQUE: Final = (InternalError, HandlerFailed, StoreFailed)
"""Errors whose text comes from a traceback or names files: it is logged, and not sent."""
ERRORS_MAX: Final = 100
WHO_ADVICE: Final = "Send a token of this system: `callboard token create` makes one."
BUSY: Final = (429, 503)
RETRY_AFTER_S: Final = "1"
"""When a client may try again that was refused for lack of room, or of a part of the system."""


def problem(
    status: int,
    detail: str,
    *,
    code: str,
    advice: str = "",
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer that refuses a request."""
    fields: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if advice:
        fields["advice"] = advice
    if errors:
        fields["errors"] = list(errors[:ERRORS_MAX])
    body = json.dumps(fields).encode()
    again = {"retry-after": RETRY_AFTER_S} if status in BUSY else {}
    return Response(body, status, {**again, **(headers or {})}, media_type=MEDIA_TYPE)


def problem_of(error: CallboardError) -> Response:
    """The answer for an error of Callboard."""
    if isinstance(error, Refused):
        return refusal(int(error.details.get("code", ErrorCode.UNAUTHORIZED)), error.message)
    status = next((STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES), 500)
    if isinstance(error, OPAQUE) or status == HTTPStatus.INTERNAL_SERVER_ERROR:
        LOGGER.error("a request failed: %s", error, exc_info=error)
        return problem(status, "The server failed; its log says why.", code=error.code)
    return problem(status, error.message, code=error.code, advice=error.advice)


def refusal(code: int, detail: str) -> Response:
    """The answer for a refusal of the hub, by the code that its streams would send."""
    status, name = CODES.get(code, (400, "refused"))
    if status == HTTPStatus.UNAUTHORIZED:
        bearer = {"www-authenticate": "Bearer"}
        return problem(status, detail, code=name, advice=WHO_ADVICE, headers=bearer)
    return problem(status, detail, code=name)


async def send_problem(answer: Response, send: Callable[[Any], Awaitable[None]]) -> None:
    """Give an answer outside of the routes: to a request, or to a WebSocket before its accept."""
    start = {"status": answer.status_code, "headers": answer.raw_headers}
    await send({"type": "http.response.start", **start})
    await send({"type": "http.response.body", "body": answer.body})


def install_problems(app: FastAPI) -> None:
    """Let an application answer every refusal and every error with a problem."""
    app.add_exception_handler(CallboardError, _of_callboard)
    app.add_exception_handler(HTTPException, _of_route)
    app.add_exception_handler(RequestValidationError, _of_fields)
    app.add_exception_handler(Exception, _of_defect)


async def _of_callboard(_request: Request, error: Exception) -> Response:
    assert isinstance(error, CallboardError)
    return problem_of(error)


async def _of_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = error.detail if isinstance(error.detail, str) else status.phrase
    # 405 must have `Allow`, which is in these headers.
    return problem(status, detail, code=status.name.lower(), headers=error.headers)


async def _of_fields(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Not the text of the error: it has the file and line of the route.
    found = [
        {"pointer": _pointer(part["loc"]), "message": str(part["msg"])} for part in error.errors()
    ]
    return problem(422, "Parts of the request are wrong.", code="invalid", errors=found)


async def _of_defect(_request: Request, _error: Exception) -> Response:
    # The server logs the error.
    return problem(500, "The server failed; its log says why.", code="internal")


def _pointer(place: Sequence[Any]) -> str:
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in place]
    if parts[:1] == ["body"]:
        return "".join(f"/{part}" for part in parts[1:])
    return "/".join(parts)
