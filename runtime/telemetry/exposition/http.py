"""HTTP for one page: a server that no client can hurt.

A connection gets one answer and is closed. It has a deadline for its request and one for taking
the answer; the number of connections is bounded. The body of a request is never read. Nothing else
is served, so no web framework is loaded into the processes of actors.
"""

import asyncio
import contextlib
import enum
import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from .text import Page

__all__ = ["HttpServer", "Refused", "Request", "parse"]

LOGGER: Final = logging.getLogger("callboard.metrics")
CONNECTIONS_MAX: Final = 16
"""Connections at once. More are refused."""
REQUEST_BYTES_MAX: Final = 16_384
REQUEST_TIMEOUT_S: Final = 5.0
SEND_TIMEOUT_S: Final = 10.0
PATHS: Final = ("/metrics", "/metrics/")


@enum.unique
class Refused(enum.Enum):
    """Why a connection got no metrics. The values are labels of a metric."""

    TOO_MANY = "too_many"
    INVALID = "invalid"
    NOT_FOUND = "not_found"
    LATE = "late"
    """It did not send its request, or did not take the answer, in time."""
    FAILED = "failed"


class Request(NamedTuple):
    """What counts of a request."""

    method: str
    path: str
    accept: str
    takes_gzip: bool


def parse(head: bytes) -> Request | None:
    """The request in these bytes, which end with an empty line; None for no HTTP request."""
    lines = head.decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    target, _, version = rest.partition(" ")
    if not method.isalpha() or not target.startswith("/") or not version.startswith("HTTP/1."):
        return None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            continue
        name = name.strip().lower()
        headers[name] = f"{headers[name]},{value}" if name in headers else value.strip()
    codings = [coding.strip() for coding in headers.get("accept-encoding", "").split(",")]
    takes_gzip = any(
        coding.partition(";")[0] == "gzip" and "q=0" not in coding.replace("q=0.", "")
        for coding in codings
    )
    path = target.partition("?")[0]
    return Request(method, path, headers.get("accept", ""), takes_gzip)


class HttpServer:
    """Serves `page` at `/metrics`; `count` hears of each connection that got none."""

    def __init__(
        self, page: Callable[[Request], Page], count: Callable[[Refused | None], None]
    ) -> None:
        self._page: Final = page
        self._count: Final = count
        self._open: Final[set[asyncio.StreamWriter]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection; for `asyncio.start_server`."""
        self._open.add(writer)
        refused: Refused | None = Refused.FAILED
        try:
            refused = await self._answer(reader, writer)
        except TimeoutError:
            refused = Refused.LATE
        except (OSError, asyncio.IncompleteReadError):
            refused = Refused.INVALID
        except asyncio.LimitOverrunError:
            refused = Refused.INVALID
            with contextlib.suppress(OSError, TimeoutError):
                await _send(writer, 431, Page(b"The request is too long.\n", "text/plain"))
        finally:
            self._open.discard(writer)
            self._count(refused)
            if refused is Refused.LATE:
                writer.transport.abort()  # What it does not take would stay in memory.
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Refused | None:
        if len(self._open) > CONNECTIONS_MAX:
            await _send(writer, 503, Page(b"Too many connections are open.\n", "text/plain"))
            return Refused.TOO_MANY
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
        request = parse(head)
        if request is None:
            await _send(writer, 400, Page(b"This is no request.\n", "text/plain"))
            return Refused.INVALID
        if request.method not in {"GET", "HEAD"}:
            await _send(writer, 405, Page(b"Use GET.\n", "text/plain"))
            return Refused.INVALID
        has_body = request.method == "GET"
        if request.path not in PATHS:
            text = Page(b"The metrics are at /metrics.\n", "text/plain")
            await _send(writer, 404, text, has_body=has_body)
            return Refused.NOT_FOUND
        try:
            page = self._page(request)
        except Exception:
            LOGGER.exception("the metrics of this node cannot be shown")
            await _send(writer, 500, Page(b"It failed.\n", "text/plain"), has_body=has_body)
            return Refused.FAILED
        await _send(writer, 200, page, has_body=has_body)
        return None

    def close(self) -> None:
        """Close all connections."""
        for writer in tuple(self._open):
            writer.transport.abort()


REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


async def _send(
    writer: asyncio.StreamWriter, status: int, page: Page, *, has_body: bool = True
) -> None:
    encoding = f"Content-Encoding: {page.encoding}\r\n" if page.encoding else ""
    allow = "Allow: GET, HEAD\r\n" if status == 405 else ""
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\n{encoding}{allow}"
        "Vary: Accept, Accept-Encoding\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode("latin-1"))
    if has_body:
        writer.write(page.body)
    async with asyncio.timeout(SEND_TIMEOUT_S):
        writer.transport.set_write_buffer_limits(0)  # Wait until all of it has left.
        await writer.drain()
