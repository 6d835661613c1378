"""The three ways to stream, and who may use them.

`/connection/websocket` speaks Centrifugo's protocol, `/stream` the plain JSON of the data-flow
document, `GET /v1/stream` server-sent events. A token comes in the header `Authorization`, or in
the first message of a WebSocket; never in a URL. A refusal of a WebSocket is an accept and then a
close with a code and a reason: without the accept a browser would see neither.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from callboard.actors.streaming.messages import RateLimitConfig
from callboard.actors.streaming.ports import (
    Authenticator,
    Closing,
    Refused,
    Session,
    SessionHub,
)
from callboard.actors.streaming.protocol import Connect, Disconnect, ErrorCode, Subscribe
from callboard.messages.control.principals import LOCAL, Principal
from callboard.messages.core.errors import CallboardError

from ..codecs.centrifugo_json import CentrifugoJson
from ..codecs.centrifugo_protobuf import CentrifugoProtobuf
from ..codecs.fields import filter_of
from ..codecs.payload import BadFrame, parse
from ..codecs.plain import DEFAULT_CHANNEL, PlainJson, position_of
from ..codecs.sse import ServerSentEvents
from ..gate import Receive, Scope, Send
from ..problems import problem, problem_of, refusal
from ..protocols import StreamConnection, stream_connection
from ..settings import WebLimits
from .events import EventStream
from .unknown import UnknownSockets
from .websocket import SocketCodec, Stream, Writer

__all__ = ["CENTRIFUGO_PATH", "PLAIN_PATH", "Streams"]

LOGGER: Final = logging.getLogger("callboard.web")
CENTRIFUGO_PATH: Final = "/connection/websocket"
PLAIN_PATH: Final = "/stream"
PROTOBUF: Final = "centrifuge-protobuf"
JSON: Final = "centrifuge-json"
KEEP_ALIVE_S: Final = 25.0
AUTHENTICATION_S: Final = 5.0
"""For how long the check of a token may take."""
UNAUTHORIZED: Final = Closing(1008, "Authentication failed")
PLAIN_CLOSINGS: Final[Mapping[int, Closing]] = {
    Disconnect.INVALID_TOKEN: UNAUTHORIZED,
    Disconnect.STALE: UNAUTHORIZED,
    Disconnect.EXPIRED: UNAUTHORIZED,
    Disconnect.INTERNAL: Closing(1011, "Internal server error"),
}
"""What the data-flow document says in place of Centrifugo's codes."""
SHUTDOWN: Final = Closing(Disconnect.SHUTDOWN, "shutdown")
FULL: Final = Closing(Disconnect.CONNECTION_LIMIT, "connection limit")
TOO_MANY: Final = Closing(Disconnect.TOO_MANY_REQUESTS, "too many unknown connections")


class Streams:
    """The endpoints of one server, once its hub is there."""

    def __init__(
        self,
        authenticator: Authenticator,
        limits: WebLimits,
        refusals: Counter[str],
        *,
        needs_token: bool,
    ) -> None:
        self.hub: SessionHub | None = None
        self.router: Final = APIRouter(tags=["streams"])
        self._authenticator: Final = authenticator
        self._limits: Final = limits
        self._refusals: Final = refusals
        self._needs_token: Final = needs_token
        self._unknown: Final = UnknownSockets(limits)
        self._open: Final[set[Session]] = set()
        self._none_open: Final = asyncio.Event()
        self._none_open.set()
        self._is_ending = False
        self._writer: Final = Writer()
        self.router.add_api_route(
            "/v1/stream",
            self.events,
            response_class=EventStream,
            status_code=200,
            summary="Follow one channel by server-sent events",
        )

    async def end(self) -> None:
        """End all streams in order: WebSockets by 3001, the others by their last event."""
        self._is_ending = True
        for session in tuple(self._open):
            session.refuse(Disconnect.SHUTDOWN, SHUTDOWN.reason)
        await self._none_open.wait()

    # --- WebSockets ----------------------------------------------------------------------------

    async def websocket(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Serve a WebSocket at one of the two paths."""
        known = await self._unknown.enter(_address(scope))
        if known is None:
            await self._accept_and_close(scope, receive, send, TOO_MANY)
            return
        try:
            await self._websocket(scope, receive, send, path, known)
        finally:
            known()

    async def _websocket(
        self, scope: Scope, receive: Receive, send: Send, path: str, known: Callable[[], None]
    ) -> None:
        hub, is_plain = self.hub, path == PLAIN_PATH
        if hub is None or self._is_ending or hub.is_full:
            await self._accept_and_close(
                scope, receive, send, FULL if hub is not None and hub.is_full else SHUTDOWN
            )
            return
        try:
            principal = await self._principal(scope)
        except Refused as error:
            is_fault = error.details.get("code") == ErrorCode.INTERNAL
            code = Disconnect.INTERNAL if is_fault else Disconnect.INVALID_TOKEN
            closing = Closing(code, error.message)
            closing = PLAIN_CLOSINGS[code] if is_plain else closing
            await self._accept_and_close(scope, receive, send, closing)
            return
        codec, subprotocol = (PlainJson(), None) if is_plain else _codec(scope)
        connection = await _accept(scope, receive, send, subprotocol)
        if is_plain:
            connection.keep_alive(KEEP_ALIVE_S)
        stream = Stream(
            connection,
            codec,
            self._limits,
            known=known,
            closings=PLAIN_CLOSINGS if is_plain else {},
            is_joined=not is_plain,
        )
        session = self._begin(stream.begin(hub, _address(scope), principal, self._writer))
        try:
            await stream.run(receive, introduces=is_plain and principal is not None)
        finally:
            self._end(session)

    async def _accept_and_close(
        self, scope: Scope, receive: Receive, send: Send, closing: Closing
    ) -> None:
        self._refusals[f"stream_{closing.code:d}"] += 1
        connection = await _accept(scope, receive, send, _codec(scope)[1])
        connection.end(*closing)

    # --- server-sent events --------------------------------------------------------------------

    async def events(
        self,
        request: Request,
        channel: Annotated[str | None, Query(min_length=1, max_length=255)] = None,
        after: Annotated[str, Query(max_length=300)] = "",
        condition: Annotated[str, Query(alias="filter", max_length=4_096)] = "",
        per_second: Annotated[float | None, Query(gt=0, allow_inf_nan=False)] = None,
        burst: Annotated[int, Query(ge=1, le=100_000)] = 1,
        last_event_id: Annotated[str, Header(max_length=300)] = "",
    ) -> Response:
        """The events of `channel` from now on, or after the position `after` or `Last-Event-ID`.

        Without `channel` they are those of the one channel to which the token subscribes its
        clients, or else of `events`.

        `filter` is JSON in the form of Centrifugo's filters. An event's `id` is its position.
        """
        hub = self.hub
        if hub is None or self._is_ending or hub.is_full:
            return problem(503, "The hub takes no further connection.", code="not_available")
        place = last_event_id or after
        limit = RateLimitConfig(per_second=per_second, burst=burst) if per_second else None
        try:
            principal = await self._principal(request.scope)
            if principal is None:
                return refusal(ErrorCode.UNAUTHORIZED, "The request has no token.")
            wanted = Subscribe(
                channel=channel or _default_channel(principal),
                recover=position_of(place) if place else None,
                filter=filter_of(parse(condition)) if condition else None,
                rate_limit=limit,
            )
        except BadFrame as error:
            return problem(400, error.message, code="bad_request")
        except Refused as error:
            return problem_of(error)
        codec = ServerSentEvents()
        session = self._begin(hub.open(codec, _address(request.scope), principal))
        await session.handle(1, Connect(takes_subs=False))
        await session.handle(2, wanted)
        failed = codec.failed
        if failed is None and codec.subscribed is not None and session.closing is None:
            return EventStream(session, codec, lambda: self._end(session))
        session.end()
        self._end(session)
        if failed is not None:
            return refusal(failed.code, failed.message)
        return problem(503, "The hub has ended the connection.", code="not_available")

    # --- both ----------------------------------------------------------------------------------

    async def _principal(self, scope: Scope) -> Principal | None:
        """Who a request's header says that it is; None if it has none. Raises `Refused`."""
        header = HTTPConnection(scope).headers.get("authorization", "")
        if not header:
            return None if self._needs_token else LOCAL
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refused("The header `Authorization` has no bearer token.")
        try:
            async with asyncio.timeout(AUTHENTICATION_S):
                return await self._authenticator.authenticate(token.strip(), _address(scope))
        except Refused:
            raise
        except (CallboardError, TimeoutError) as error:
            LOGGER.warning("a token could not be checked: %s", error)
            raise Refused("The token cannot be checked now.", code=ErrorCode.INTERNAL) from error

    def _begin(self, session: Session) -> Session:
        self._open.add(session)
        self._none_open.clear()
        return session

    def _end(self, session: Session) -> None:
        self._open.discard(session)
        if not self._open:
            self._none_open.set()


def _default_channel(principal: Principal) -> str:
    """The channel of a stream that names none. Raises `BadFrame` if there are several."""
    if len(principal.subscribes) > 1:
        raise BadFrame("The token subscribes to several channels. Name one: a stream has one.")
    return next(iter(principal.subscribes), DEFAULT_CHANNEL)


async def _accept(
    scope: Scope, receive: Receive, send: Send, subprotocol: str | None
) -> StreamConnection:
    await receive()  # `websocket.connect`
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    return stream_connection(scope)


def _codec(scope: Scope) -> tuple[SocketCodec, str | None]:
    offered = scope.get("subprotocols", [])
    if PROTOBUF in offered:
        return CentrifugoProtobuf(), PROTOBUF
    if HTTPConnection(scope).query_params.get("format") == "protobuf":
        return CentrifugoProtobuf(), None
    return CentrifugoJson(), JSON if JSON in offered else None


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
