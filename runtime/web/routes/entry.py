"""Routes by which clients get in, and send in: logins and tokens, events, metrics, admin lines."""

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl
from uuid import uuid4

from fastapi import APIRouter, Cookie, Depends, Header, Path
from fastapi import Request as HttpRequest
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from callboard.actors.streaming.messages import (
    CHANNEL_BYTES_MAX,
    EVENT_BYTES_MAX,
    Publish,
    StreamEvent,
    StreamMetadata,
    is_reserved,
    problem_of,
)
from callboard.actors.streaming.ports import Refused
from callboard.actors.streaming.protocol import ErrorCode
from callboard.messages.control.principals import Principal, Scope
from callboard.messages.core.errors import (
    MailboxFull,
    PayloadTooLarge,
    UsageError,
    error_from_data,
)
from callboard.messages.storage.incoming import ReceivedEvent

from ...admin.acts import about
from ...admin.errors import AccessDenied, NotServed
from ...admin.prometheus import QueryPrometheus
from ...admin.wire import REQUEST_BYTES_MAX, encode_error
from ..problems import OPAQUE
from ..token_registry import TokenRecord
from .answers import After, Key, Limit, answered, cursor, place_in
from .api import PROBLEMS, WAY, Api, Asker, From, new_router
from .shapes import Me, PublishedAnswer, TokenAnswer, TokenRow, TokensAnswer

__all__ = ["entry_routes"]

LOGGER: Final = logging.getLogger("callboard.web")
ERROR: Final = b'{"admin": 1, "error": '
"""The begin of the line of an error."""
COOKIE: Final = "callboard_session"
VALID_S_MAX: Final = 366 * 86_400.0
PARAMETERS_MAX: Final = 50
TAKEN_AT_ONCE_MAX: Final = 256
OF_PROMETHEUS: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": "Prometheus' own form of a refusal, or a problem.",
        "content": {**PROBLEMS[400]["content"], "application/json": {"schema": {"type": "object"}}},
    }
    for status in (400, 422, 503)
}
FORM: Final = "application/x-www-form-urlencoded"
Session = Annotated[str, Cookie(alias=COOKIE, max_length=4_096)]
OwnHeader = Annotated[
    str,
    Header(
        alias="X-Callboard",
        min_length=1,
        max_length=100,
        description="Any text: another page cannot send this header with a cookie.",
    ),
]


def _is_own(header: OwnHeader) -> None:
    """Require the header, which a page of another origin cannot send."""
    assert header, "its length is checked"


OWN: Final = [Depends(_is_own)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LoginBody(_Body):
    """The code of a link that `callboard ui` has printed."""

    code: str = Field(min_length=1, max_length=200)


class TokenBody(_Body):
    """A new token."""

    subject: str = Field(min_length=1, max_length=200)
    scopes: tuple[Scope, ...] = ()
    channels: tuple[str, ...] = Field(default=(), max_length=100)
    """Patterns of the channels that it may subscribe to."""
    publishes: tuple[str, ...] = Field(default=(), max_length=100)
    """Patterns of the channels that it may publish to."""
    valid_s: float = Field(default=86_400.0, gt=0.0, le=VALID_S_MAX, allow_inf_nan=False)


class EventBody(_Body):
    """An event from outside."""

    channel: str = Field(min_length=1, max_length=CHANNEL_BYTES_MAX)
    event_type: str = Field(min_length=1, max_length=200)
    event_id: str = Field(default="", max_length=200)
    """The sender's id of the event; empty for a new one."""
    payload: Any = None
    tags: dict[str, str] = Field(default_factory=dict, max_length=50)
    key: str = Field(default="", max_length=300)
    """In a channel of kind `newest`: the name of the value that the event replaces."""


def entry_routes(api: Api) -> list[APIRouter]:
    """The routes: those that need a token, and the few by which a page gets one."""
    known = new_router(api, "tokens")
    _token_routes(known, api)
    sending = new_router(api, "sending")
    _sending_routes(sending, api)
    _prometheus_routes(sending)
    entering = APIRouter(responses=dict(PROBLEMS), tags=["tokens"])
    _login_routes(entering, api)
    return [known, sending, entering]


# --- logins ---------------------------------------------------------------------------------------


def _login_routes(router: APIRouter, api: Api) -> None:
    @router.post(
        "/v1/login", status_code=204, dependencies=OWN, summary="Trade a link's code for a session"
    )
    async def login(body: LoginBody) -> Response:
        session, record = await api.tokens.redeem(body.code)
        who = record.principal(WAY, record.expires_at)
        await Asker(api, who).record("session.begin")
        answer = Response(status_code=204)
        _set_session(answer, session, record, api)
        return answer

    @router.post("/v1/logout", status_code=204, dependencies=OWN, summary="End a session")
    async def logout(session: Session = "") -> Response:
        if session:
            _, principal = await api.tokens.page_token(session)
            await Asker(api, principal).record("session.end")
            await api.tokens.revoke(principal.token, by=principal.subject)
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, path=api.cookie_path, httponly=True, samesite="strict")
        return answer

    @router.post(
        "/v1/token",
        response_model=TokenAnswer,
        dependencies=OWN,
        summary="A token of five minutes, for the page of a session",
    )
    async def token(session: Session = "") -> Response:
        if not session:
            raise Refused("There is no session.", code=ErrorCode.UNAUTHORIZED)
        text, principal = await api.tokens.page_token(session)
        shape = TokenAnswer(token=text, id=principal.token, expires_at=principal.expires_at)
        answer = Response(shape.model_dump_json(), media_type="application/json")
        renewed = await api.tokens.renewed(session)
        if renewed is not None:
            _set_session(answer, *renewed, api)
        return answer


def _set_session(answer: Response, session: str, record: TokenRecord, api: Api) -> None:
    answer.set_cookie(
        COOKIE,
        session,
        max_age=max(0, int(record.expires_at - time.time())),
        path=api.cookie_path,
        secure=api.is_encrypted,
        httponly=True,
        samesite="strict",
    )


# --- tokens ---------------------------------------------------------------------------------------


def _token_routes(router: APIRouter, api: Api) -> None:
    @router.get("/v1/me", response_model=Me, summary="Who asks, and what it may do")
    async def me(request: HttpRequest, asker: From) -> Response:
        principal = asker.principal
        shape = Me(
            subject=principal.subject,
            scopes=tuple(map(str, principal.scopes)),
            channels=principal.channels,
            publishes=principal.publishes,
            expires_at=principal.expires_at,
        )
        return answered(request, shape)

    @router.get("/v1/tokens", response_model=TokensAnswer, summary="Tokens, the newest first")
    async def tokens(
        request: HttpRequest, asker: From, limit: Limit = 50, after: After = ""
    ) -> Response:
        asker.check(Scope.ADMIN)
        place = place_in("tokens", after, (int, float), str)
        rest = await api.tokens.list_records()
        if place is not None:
            begin = (place[0], place[1])
            rest = [record for record in rest if (record.created_at, record.id) < begin]
        rest.sort(key=lambda record: (record.created_at, record.id), reverse=True)
        items = tuple(map(_row, rest[:limit]))
        last = (items[-1].created_at, items[-1].id) if len(items) < len(rest) else None
        return answered(request, TokensAnswer(items=items, next=cursor("tokens", last)))

    @router.post(
        "/v1/tokens", response_model=TokenAnswer, status_code=201, summary="Create a token"
    )
    async def create(asker: From, body: TokenBody) -> Response:
        asker.check(Scope.ADMIN)
        lacking = asker.principal.lacks(body.scopes, body.channels, body.publishes)
        if lacking:
            raise AccessDenied(
                f"{asker.principal.subject} may not give what it does not have itself: "
                f"{', '.join(lacking)}."
            )
        await asker.record("token.create", **about(body))
        text, record = await api.tokens.create(
            body.subject,
            body.valid_s,
            scopes=body.scopes,
            channels=body.channels,
            publishes=body.publishes,
            rules=asker.principal.rules,
            by=asker.principal.subject,
        )
        shape = TokenAnswer(token=text, id=record.id, expires_at=record.expires_at)
        return Response(shape.model_dump_json(), 201, media_type="application/json")

    @router.delete("/v1/tokens/{token_id}", status_code=204, summary="Revoke a token")
    async def revoke(asker: From, token_id: Annotated[str, Path(max_length=64)]) -> Response:
        asker.check(Scope.ADMIN)
        await asker.record("token.revoke", id=token_id)
        await api.tokens.revoke(token_id, by=asker.principal.subject)
        return Response(status_code=204)


def _row(record: TokenRecord) -> TokenRow:
    return TokenRow(
        id=record.id,
        subject=record.subject,
        scopes=record.scopes,
        channels=record.channels,
        publishes=record.publishes,
        created_at=record.created_at,
        expires_at=record.expires_at,
        revoked_at=record.revoked_at,
        last_used_at=record.last_used_at,
    )


# --- sending in -----------------------------------------------------------------------------------


class _Room:
    """Bounds the events on their way to the journal."""

    def __init__(self) -> None:
        self._used = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one event. Raises `MailboxFull` when there is none."""
        if self._used >= TAKEN_AT_ONCE_MAX:
            raise MailboxFull(
                "too many events wait for the journal.", advice="Send it again.", may_have_run=False
            )
        self._used += 1
        try:
            yield
        finally:
            self._used -= 1


def _check_channel(channel: str) -> None:
    problem = problem_of(channel)
    if problem:
        raise UsageError(f"{problem}.", advice="Choose another name for the channel.")
    if is_reserved(channel):
        raise AccessDenied(
            f"only the system publishes to channel {channel!r}.",
            advice="Choose another name for the channel.",
        )


def _received(message: Publish, principal: Principal) -> ReceivedEvent:
    event = message.event
    return ReceivedEvent(
        channel=message.channel,
        event_id=event.event_id,
        event_type=event.event_type,
        at=event.timestamp,
        subject=principal.subject,
        way=principal.way,
        token=principal.token,
        payload=event.payload,
        tags=event.metadata.tags,
    )


def _sending_routes(router: APIRouter, api: Api) -> None:
    room = _Room()

    @router.post(
        "/v1/events",
        response_model=PublishedAnswer,
        status_code=202,
        summary="Publish an event to a channel",
    )
    async def publish(
        request: HttpRequest, asker: From, body: EventBody, idempotency_key: Key = None
    ) -> Response:
        principal = asker.principal
        if not principal.may_publish(body.channel):
            raise AccessDenied(
                f"{principal.subject} may not publish to channel {body.channel!r}.",
                advice="It needs the scope publish, and a pattern that covers the channel.",
            )
        if api.publish is None:
            raise NotServed("this server has no hub.", advice="Ask the server of a hub.")
        if body.event_id and idempotency_key is not None:
            raise UsageError(
                "the event has an event_id and an Idempotency-Key.", advice="Give one of the two."
            )
        event = StreamEvent(
            event_id=body.event_id or idempotency_key or uuid4().hex,
            event_type=body.event_type,
            timestamp=time.time(),
            source=principal.subject,
            payload=body.payload,
            metadata=StreamMetadata(tags=body.tags),
        )
        if len(event.model_dump_json()) > EVENT_BYTES_MAX:
            raise PayloadTooLarge(
                f"an event has at most {EVENT_BYTES_MAX:,} bytes.",
                advice="Put the large part into a store, and send its place.",
            )
        message = Publish(channel=body.channel, event=event, key=body.key)
        _check_channel(body.channel)
        with room.place():
            is_durable = await asker.take(_received(message, principal))
        await api.publish(message, principal)
        shape = PublishedAnswer(
            event_id=event.event_id, channel=body.channel, is_durable=is_durable
        )
        return answered(request, shape, status=202)

    @router.post("/v1/metrics", summary="Metrics of OpenTelemetry's protocol (protobuf)")
    async def otlp(request: HttpRequest, asker: From) -> Response:
        asker.check(Scope.PUBLISH)
        if api.take_otlp is None:
            raise NotServed("this server takes no metrics.", advice="Start it with metrics on.")
        if request.headers.get("content-type", "").partition(";")[0] != "application/x-protobuf":
            raise UsageError(
                "the body is no protobuf.", advice="Set the exporter's protocol to http/protobuf."
            )
        answer = api.take_otlp(await request.body(), asker.principal.subject)
        return Response(answer, media_type="application/x-protobuf")

    @router.post("/v1/admin", summary="One line of the admin API, as the command line speaks it")
    async def admin(request: HttpRequest, asker: From) -> Response:
        line = await request.body()
        if len(line) > REQUEST_BYTES_MAX:
            raise PayloadTooLarge(f"a line has at most {REQUEST_BYTES_MAX:,} bytes.")
        answer = await api.admin.line(line, asker.principal)
        return Response(_shown(answer), media_type="application/json")


def _shown(answer: bytes) -> bytes:
    """The line of a reply; an error whose text names files of the server keeps its code only."""
    if not answer.startswith(ERROR):
        return answer
    error = error_from_data(json.loads(answer)["error"])
    if not isinstance(error, OPAQUE):
        return answer
    LOGGER.error("a request of the admin API failed: %s", error)
    return encode_error(type(error)("The server failed; its log says why."))


def _prometheus_routes(router: APIRouter) -> None:
    @router.get(
        "/api/v1/{path:path}",
        summary="Prometheus' read API: by URL",
        tags=["prometheus"],
        responses=OF_PROMETHEUS,
    )
    async def by_url(
        request: HttpRequest, asker: From, path: Annotated[str, Path(max_length=300)]
    ) -> Response:
        return await _prometheus(asker, path, request.query_params.multi_items())

    @router.post(
        "/api/v1/{path:path}",
        summary="Prometheus' read API: by form",
        tags=["prometheus"],
        responses=OF_PROMETHEUS,
    )
    async def by_form(
        request: HttpRequest, asker: From, path: Annotated[str, Path(max_length=300)]
    ) -> Response:
        kind = request.headers.get("content-type", FORM).partition(";")[0]
        if kind != FORM:
            raise UsageError("the body is no form.", advice=f"Send {FORM}.")
        text = (await request.body()).decode(errors="replace")
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
        return await _prometheus(asker, path, [*request.query_params.multi_items(), *fields])


async def _prometheus(asker: From, path: str, parameters: list[tuple[str, str]]) -> Response:
    by_name: dict[str, tuple[str, ...]] = {}
    for name, value in parameters[:PARAMETERS_MAX]:
        by_name[name] = (*by_name.get(name, ()), value)
    found = await asker.ask(QueryPrometheus(path=path, parameters=by_name))
    return Response(found.body, found.status, media_type="application/json")
