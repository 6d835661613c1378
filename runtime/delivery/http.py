"""One HTTP request with JSON, on the event loop, by the standard library alone.

The caller bounds the time: a cancelled request closes its connection and leaves no thread. Only
the status line and the beginning of the body of an answer are read.
"""

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from callboard.messages.core.errors import SpecError

__all__ = ["Answer", "BadAnswer", "Endpoint", "endpoint", "post"]

HEAD_BYTES_MAX: Final = 65_536
BODY_BYTES_SHOWN: Final = 300
BODY_S_MAX: Final = 1.0
STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r?\n)")
WORD: Final = re.compile(r"[\x21-\x7e]+\Z")
PORTS: Final = {"http": 80, "https": 443}
INTERIM_MAX: Final = 10


class BadAnswer(Exception):
    """What came is no answer of HTTP."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to send a request."""

    host: str
    port: int
    path: str
    is_tls: bool
    authorization: str = field(default="", repr=False)
    """The value of the header, from the user and the password of the URL."""

    @property
    def shown(self) -> str:
        """The URL for people, without what is secret in it."""
        scheme = "https" if self.is_tls else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of an answer, and the beginning of its body."""

    status: int
    text: str


def endpoint(url: str, *, path: str = "") -> Endpoint:
    """The place of a URL, with `path` behind its own. Raises `SpecError`, which has no secret."""
    advice = "Write http://host:port/path or https://host/path."
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise SpecError("the URL of a receiver is wrong.", advice=advice, field="url") from None
    if parts.scheme not in PORTS or not host or not WORD.match(url) or not url.isascii():
        raise SpecError(
            f"the URL of a receiver is wrong: its scheme is {parts.scheme!r:.20}, its host "
            f"{host!r:.80}.",
            advice=advice,
            field="url",
        )
    target = (parts.path.rstrip("/") + path if path else parts.path) or "/"
    if parts.query:
        target += f"?{parts.query}"
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Endpoint(
        host, port or PORTS[parts.scheme], target, parts.scheme == "https", authorization
    )


async def post(place: Endpoint, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Post a body of JSON. Raises `OSError`, `ssl.SSLError` and `BadAnswer`."""
    context = ssl.create_default_context() if place.is_tls else None
    reader, writer = await asyncio.open_connection(
        place.host, place.port, ssl=context, limit=HEAD_BYTES_MAX
    )
    try:
        writer.write(_request(place, body, headers))
        await writer.drain()
        return await _answer(reader)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise BadAnswer(f"the answer is no HTTP: {error!r:.100}") from None
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            writer.transport.abort()


def _request(place: Endpoint, body: bytes, headers: Mapping[str, str]) -> bytes:
    host = f"[{place.host}]" if ":" in place.host else place.host
    lines = {
        "Host": f"{host}:{place.port}",
        "User-Agent": "callboard",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    if place.authorization:
        lines["Authorization"] = place.authorization
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {place.path} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


async def _answer(reader: asyncio.StreamReader) -> Answer:
    for _ in range(INTERIM_MAX):
        line = await reader.readuntil(b"\n")
        found = STATUS.match(line)
        if found is None:
            raise BadAnswer(f"the answer is no HTTP: {line[:60]!r}")
        left = HEAD_BYTES_MAX
        while (line := await reader.readuntil(b"\n")).strip():
            left -= len(line)
            if left < 0:
                raise BadAnswer("the head of the answer has no end")
        status = int(found[1])
        if 200 <= status < 300:
            return Answer(status, "")  # Nobody reads it, and it may never come.
        if status >= 300:
            body = b""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BODY_S_MAX):
                    body = await reader.read(BODY_BYTES_SHOWN)
            return Answer(status, body.decode("utf-8", "replace").strip())
    raise BadAnswer("the answer is only interim ones")
