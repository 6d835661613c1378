"""What every request passes before a route: who asks from where, and how large it is.

A browser of this machine can be led to this server by any page. So each request, of each method
and each upgrade, must name this server in its one `Host` (a page of a stranger whose name resolves
to 127.0.0.1 does not), and come from a page of this server if it has an `Origin`. No answer allows
another origin. Without an `Origin` a cookie counts for reading only: browsers send an origin with
everything else.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from .problems import problem, send_problem
from .settings import WebLimits

__all__ = ["Gate", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

READS: Final = frozenset({"GET", "HEAD"})
SECRETS: Final = frozenset(
    {"access_token", "auth", "authorization", "code", "jwt", "password", "token", "cf_connect"}
)
"""Parameters of a URL that would hold a token: URLs are in logs and in histories."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page runs its own scripts only, and talks to its own server only."""
HEADERS: Final = {
    b"content-security-policy": POLICY.encode(),
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"cache-control": b"no-store",
}
"""Headers of every answer that does not set them itself."""


class Gate:
    """An ASGI application around another one. `refusals` counts what it refused, by code."""

    def __init__(
        self,
        inner: Application,
        *,
        hosts: Collection[str],
        origins: Collection[str],
        prefix: str,
        limits: WebLimits,
        refusals: Counter[str],
    ) -> None:
        self._inner: Final = inner
        self._hosts: Final = hosts
        self._origins: Final = origins
        self._prefix: Final = prefix
        self._limits: Final = limits
        self._refusals: Final = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or begin one WebSocket."""
        refused = self._refusal(scope)
        if scope["type"] == "websocket":
            if refused is None:
                await self._inner(scope, receive, send)
            else:
                await _refuse_upgrade(refused, send)
            return
        send = _with_headers(send)
        if refused is not None:
            await send_problem(refused, send)
        elif scope["path"] == self._prefix:
            # Relative URLs of the page need the slash at the end.
            await RedirectResponse(f"{self._prefix}/", 308)(scope, receive, send)
        else:
            await self._inner(scope, self._bounded(scope, receive), send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = scope["headers"]
        found = _headers_by_name(headers)
        refused = (
            self._by_size(headers, found)
            or self._by_host(scope, found)
            or self._by_origin(scope, found)
            or _by_url(scope)
        )
        if refused is None:
            self._take_prefix(scope)
            return None
        code, answer = refused
        self._refusals[code] += 1
        return answer

    def _by_size(
        self, headers: Collection[tuple[bytes, bytes]], found: Mapping[bytes, list[bytes]]
    ) -> tuple[str, Response] | None:
        size = sum(len(name) + len(value) for name, value in headers)
        if len(headers) > self._limits.headers_max or size > self._limits.header_bytes_max:
            return _refuse(431, "headers_too_large", "The headers are too many or too long.")
        lengths = found.get(b"content-length", [])
        if (lengths and b"transfer-encoding" in found) or len(lengths) > 1:
            return _refuse(400, "two_lengths", "The request has two lengths.")
        if lengths and not (lengths[0].isdigit() and len(lengths[0]) < 16):
            return _refuse(400, "bad_length", "The length of the request is no number.")
        if lengths and int(lengths[0]) > self._limits.body_bytes_max:
            return _refuse(
                413, "too_large", f"A body has at most {self._limits.body_bytes_max} bytes."
            )
        return None

    def _by_host(
        self, scope: Scope, found: Mapping[bytes, list[bytes]]
    ) -> tuple[str, Response] | None:
        if not scope.get("raw_path", b"/").startswith(b"/"):
            return _refuse(400, "absolute_target", "The target of a request is a path.")
        hosts = found.get(b"host", [])
        if len(hosts) != 1 or hosts[0].decode("latin-1").lower() not in self._hosts:
            return _refuse(
                421,
                "wrong_host",
                "This server does not have the name that the request asks for.",
                advice="Add the name to `hosts` of the web server's settings.",
            )
        return None

    def _by_origin(
        self, scope: Scope, found: Mapping[bytes, list[bytes]]
    ) -> tuple[str, Response] | None:
        origins = found.get(b"origin", [])
        is_reading = scope["type"] == "http" and scope["method"] in READS
        if not origins:
            if b"cookie" in found and not is_reading:
                return _refuse(403, "no_origin", "A request with a cookie names no page.")
            if b"cross-site" in found.get(b"sec-fetch-site", []) and not _is_visit(found):
                return _refuse(403, "wrong_origin", "Another page may not use this server.")
            return None
        if len(origins) != 1 or origins[0].decode("latin-1").lower() not in self._origins:
            return _refuse(
                403,
                "wrong_origin",
                "Another page may not use this server.",
                advice="Add the page's origin to `origins` of the web server's settings.",
            )
        return None

    def _take_prefix(self, scope: Scope) -> None:
        """Let routes see the path after the prefix, whether a proxy has stripped it or not."""
        path = scope["path"]
        if self._prefix and not f"{path}/".startswith(f"{self._prefix}/"):
            scope["path"] = self._prefix + path
        scope["root_path"] = self._prefix

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """The same body, but of bounded size and time."""
        end_s = asyncio.get_running_loop().time() + self._limits.body_timeout_s
        state = {"left": self._limits.body_bytes_max, "is_open": True}

        async def bounded() -> MutableMapping[str, Any]:
            if not state["is_open"]:
                return await receive()
            try:
                async with asyncio.timeout_at(end_s):
                    message = await receive()
            except TimeoutError:
                self._refusals["slow_body"] += 1
                raise HTTPException(408, "The body of the request did not come in time.") from None
            state["is_open"] = bool(message.get("more_body"))
            state["left"] -= len(message.get("body", b""))
            if state["left"] < 0:
                self._refusals["too_large"] += 1
                raise HTTPException(413, "The body of the request is too large.")
            return message

        return bounded


def _headers_by_name(headers: Collection[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value.strip())
    return found


def _is_visit(found: Mapping[bytes, list[bytes]]) -> bool:
    """Whether a person follows a link to the page, which shows nothing without a login."""
    return found.get(b"sec-fetch-mode") == [b"navigate"] and found.get(b"sec-fetch-dest") == [
        b"document"
    ]


def _by_url(scope: Scope) -> tuple[str, Response] | None:
    query = scope.get("query_string", b"").decode("latin-1")
    names = {name.lower() for name, _ in parse_qsl(query, keep_blank_values=True)} if query else ()
    if SECRETS.isdisjoint(names):
        return None
    return _refuse(
        400,
        "secret_in_url",
        "A URL has a parameter for a secret.",
        advice="Send the token as `Authorization: Bearer …`, or in the first message.",
    )


def _refuse(status: int, code: str, detail: str, *, advice: str = "") -> tuple[str, Response]:
    headers = {"connection": "close"} if status != HTTPStatus.FORBIDDEN else None
    return code, problem(status, detail, code=code, advice=advice, headers=headers)


async def _refuse_upgrade(answer: Response, send: Send) -> None:
    headers = [*answer.raw_headers, *HEADERS.items()]
    start = {"status": answer.status_code, "headers": headers}
    await send({"type": "websocket.http.response.start", **start})
    await send({"type": "websocket.http.response.body", "body": answer.body})


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            given += [item for item in HEADERS.items() if item[0] not in names]
            message = {**message, "headers": given}
        await send(message)

    return sending
