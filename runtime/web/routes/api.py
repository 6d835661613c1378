"""The HTTP API as a router, and what it needs of the process that serves it.

api = Api(admin=admin_of(find_control_host), tokens=tokens)
WebServer(settings, tokens, routers=[api_router(api)])
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol, TypeVar

from fastapi import APIRouter, Depends, Security
from fastapi import Request as HttpRequest
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from callboard.actors.streaming.messages import Publish
from callboard.actors.streaming.ports import Refused
from callboard.actors.streaming.protocol import ErrorCode
from callboard.messages.control.principals import Principal, Scope
from callboard.messages.control.views import CallboardView, QuerySystem
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import CallboardError, DeadlineExceeded, HostLost
from callboard.messages.storage.incoming import ReceivedEvent

from ...admin.acts import TakeEvent
from ...admin.errors import AccessDenied, NotServed
from ...admin.extension import FindRef, client_of
from ...admin.port import SERVED, Ask, Caller, Part
from ...admin.principals import local_principal
from ...admin.service import AdminService
from ...admin.wire import decode_request, encode_error, encode_request
from ..tokens import Tokens
from .shapes import ConnectionRow, Problem
from .shared_views import Shared

__all__ = [
    "PROBLEMS",
    "WAY",
    "Admin",
    "Api",
    "Asker",
    "From",
    "admin_of",
    "new_router",
    "service_admin",
]

ReplyT = TypeVar("ReplyT")
WAY: Final = "http"
BEARER: Final = HTTPBearer(
    auto_error=False, description="A token of `callboard token create`, or of `POST /v1/token`."
)
PROBLEM: Final[dict[str, Any]] = Problem.model_json_schema()
PROBLEM["properties"]["errors"]["items"] = PROBLEM.pop("$defs")["FieldProblem"]
"""The schema of a refusal, whole: the document's own parts hold no others."""
PROBLEMS: Final[Mapping[int | str, dict[str, Any]]] = {
    status: {
        "description": text,
        "content": {"application/problem+json": {"schema": PROBLEM}},
    }
    for status, text in {
        400: "The request is wrong.",
        401: "The token is missing, or does not count.",
        403: "The token does not allow this.",
        404: "There is no such thing.",
        405: "The method does not fit the path.",
        408: "The body did not come in time.",
        413: "The body is too large.",
        422: "Parts of the request are wrong.",
        500: "The server failed.",
        502: "A part of the system failed.",
        503: "A part of the system is not there, or has no room.",
        504: "A part of the system did not answer in time.",
    }.items()
}
"""The refusals that every route may give."""


class Admin(Protocol):
    """The admin API of a system, for the principals of clients."""

    def ask(self, request: Request[ReplyT], principal: Principal) -> Awaitable[ReplyT]:
        """The reply to a request. Raises its error."""

    def line(self, line: bytes, principal: Principal) -> Awaitable[bytes]:
        """The line of the reply to the line of a request."""

    def record(
        self, act: str, principal: Principal, about: Mapping[str, Any], /
    ) -> Awaitable[None]:
        """Write down an act that is no request; see `AdminService.record`."""

    def take(self, event: ReceivedEvent, /) -> Awaitable[bool]:
        """Keep an external event durably.

        False where the system keeps no journal. Raises `MailboxFull` without room, and what the
        journal raises.
        """


@dataclass(frozen=True, slots=True)
class Api:
    """What the routes need. A part that is missing answers 404, with the code `not_served`."""

    admin: Admin
    tokens: Tokens
    needs_token: bool = True
    """Without it, a client that sends no token is the user of this process."""
    cookie_path: str = "/"
    """Where the page is: the prefix of a proxy, with a `/` at its end."""
    is_encrypted: bool = False
    """Whether browsers reach the server by TLS only, so that the cookie may say so."""
    publish: Callable[[Publish, Principal], Awaitable[None]] | None = None
    """Publishes to a channel of the hub; it raises for a channel that the principal may not."""
    take_otlp: Callable[[bytes, str], bytes] | None = None
    """Records metrics of OpenTelemetry's protocol from a source; gives the answer's body."""
    connections: Callable[[], tuple[ConnectionRow, ...]] | None = None
    """The clients of the hub, the one that waits longest first."""
    system: str = ""
    """The name of the system."""
    newest: Shared[CallboardView] = field(default_factory=Shared)
    """The newest view of all hosts."""


class Asker:
    """The client of one request."""

    def __init__(self, api: Api, principal: Principal) -> None:
        self.api: Final = api
        self.principal: Final = principal

    def check(self, scope: Scope) -> None:
        """Raise `AccessDenied` without a scope, where no request of the admin API checks it."""
        if not self.principal.may(scope):
            raise AccessDenied(
                f"{self.principal.subject} may not do this.",
                advice=f"It needs the scope {scope}.",
                scope=str(scope),
            )

    async def ask(self, request: Request[ReplyT]) -> ReplyT:
        """Ask the admin API. Raises its error, and a `CallboardError` without an answer."""
        return await _answer(self.api.admin.ask(request, self.principal))

    async def system_view(self) -> CallboardView:
        """All hosts without their actors, at most a second old. Raises what `ask` raises."""
        return await self.api.newest.read(self, lambda: self.ask(QuerySystem(actors_max=0)))

    async def record(self, act: str, **about: Any) -> None:
        """Write down an act that is no request of the admin API, before it is done."""
        await _answer(self.api.admin.record(act, self.principal, about))

    async def take(self, event: ReceivedEvent) -> bool:
        """See `Admin.take`."""
        return await _answer(self.api.admin.take(event))


async def _answer(asking: Awaitable[ReplyT]) -> ReplyT:
    try:
        return await asking
    except TimeoutError:
        raise DeadlineExceeded("the system did not answer in time.") from None
    except (OSError, ValueError):
        raise HostLost("the system does not answer.", advice="Try again.") from None


def asker_of(api: Api) -> Callable[..., Awaitable[None]]:
    """A dependency of all routes: it finds out who asks, by the header alone."""

    async def find_asker(
        request: HttpRequest,
        given: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)],
    ) -> None:
        headers = request.headers.getlist("authorization")
        if not headers and not api.needs_token:
            request.state.asker = Asker(api, local_principal(WAY))
            return
        if given is None or len(headers) != 1:
            raise Refused("The request has no token.", code=ErrorCode.UNAUTHORIZED)
        remote = request.client.host if request.client else ""
        principal = await api.tokens.authenticate(given.credentials, remote)
        request.state.asker = Asker(api, principal)

    return find_asker


def _asker(request: HttpRequest) -> Asker:
    found: Asker = request.state.asker
    return found


From = Annotated[Asker, Depends(_asker)]
"""The client of the request, in a route."""


def new_router(api: Api, tag: str) -> APIRouter:
    """A router whose routes know who asks."""
    return APIRouter(dependencies=[Depends(asker_of(api))], responses=dict(PROBLEMS), tags=[tag])


# --- the admin API ------------------------------------------------------------------------------


def service_admin(service: AdminService) -> Admin:
    """The admin API of this process."""
    return _ServiceAdmin(service)


class _ServiceAdmin:
    def __init__(self, service: AdminService) -> None:
        self._service = service

    async def ask(self, request: Request[ReplyT], principal: Principal) -> ReplyT:
        """See `Admin`."""
        reply: Any = await self._service.handle(request, Caller(WAY, principal=principal))
        found: ReplyT = reply
        return found

    async def line(self, line: bytes, principal: Principal) -> bytes:
        """See `Admin`."""
        return await self._service.answer(line, Caller(WAY, principal=principal))

    async def record(self, act: str, principal: Principal, about: Mapping[str, Any], /) -> None:
        """See `Admin`."""
        await self._service.record(act, principal, about)

    async def take(self, event: ReceivedEvent, /) -> bool:
        """See `Admin`."""
        try:
            await self._service.ask(TakeEvent(record=event))
        except NotServed:
            return False
        return True


def admin_of(find: FindRef, metrics: Ask | None = None, pipelines: Ask | None = None) -> Admin:
    """The admin API of the system, from the process of its hub.

    `find` gives the reference of cell 0 of the control host (`ADMIN`). With `metrics`, questions
    about them are answered in this process, so that long ones do not keep the root busy; with
    `pipelines`, those about the stores that this process has.
    """
    here = {Part.METRICS: metrics, Part.PIPELINES: pipelines}
    own = frozenset(part for part, ask in here.items() if ask is not None)
    journal = client_of(find, None).ask  # Of the control host, also for what is answered here.
    service = AdminService(metrics=metrics, pipelines=pipelines, journal=journal)
    return _SystemAdmin(find, service, own)


class _SystemAdmin:
    def __init__(self, find: FindRef, service: AdminService, own: Collection[Part]) -> None:
        self._find = find
        self._here = _ServiceAdmin(service)
        self._own = own
        self.record = self._here.record
        self.take = self._here.take

    async def ask(self, request: Request[ReplyT], principal: Principal) -> ReplyT:
        """See `Admin`."""
        if SERVED[type(request)].part in self._own:
            return await self._here.ask(request, principal)
        return await client_of(self._find, principal).ask(request)

    async def line(self, line: bytes, principal: Principal) -> bytes:
        """See `Admin`."""
        try:
            request = decode_request(line)
        except CallboardError as error:
            return encode_error(error)
        if SERVED[type(request)].part in self._own:
            return await self._here.line(line, principal)
        return await client_of(self._find, principal).exchange(encode_request(request))
