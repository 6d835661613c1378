"""HTTP calls as a client: one request for each connection, within deadlines and limits of bytes.

The request is HTTP/1.0: the answer then ends with the connection, so there is nothing to parse but
its head, and a stream is read line by line. Redirections are not followed: a token goes to the
server that was named, and to no other.
"""

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from callboard.messages.core.errors import UsageError

__all__ = ["Answer", "check_server", "http_call"]

HEAD_BYTES_MAX: Final = 65_536
SCHEMES: Final = {"http": 80, "https": 443}


class Answer(NamedTuple):
    """The head of an answer, and the reader of its body."""

    status: int
    headers: Mapping[str, str]
    reader: asyncio.StreamReader

    async def body(self, bytes_max: int) -> bytes:
        """The whole body. Raises `ValueError` when it is too large, `EOFError` when it is cut."""
        length = int(self.headers["content-length"]) if "content-length" in self.headers else None
        body = bytearray()
        while length is None or len(body) < length:
            part = await self.reader.read(HEAD_BYTES_MAX)
            if not part:
                break
            body += part
            if len(body) > bytes_max:
                raise ValueError(f"the answer has more than {bytes_max:,} bytes")
        if length is not None and len(body) < length:
            raise EOFError("the answer ends too early")
        return bytes(body)


def check_server(url: str) -> None:
    """Raise `UsageError` unless this is the URL of a server to which a token may be sent.

    Without TLS, that is only a server of this machine.
    """
    scheme, host = "", ""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.port != 0 and not (parts.username or parts.query or parts.fragment):
            scheme, host = parts.scheme, parts.hostname or ""
    if scheme not in SCHEMES or not host or any(not 32 < ord(each) < 127 for each in url):
        raise UsageError(
            "this is no address of a server of Callboard.", advice="Write https://HOST:PORT/."
        )
    if scheme == "http" and not _is_loopback(host):
        raise UsageError(
            f"others could read the token on its way to {host}: its address has no TLS.",
            advice="Use https://, or a tunnel to 127.0.0.1.",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.asynccontextmanager
async def http_call(
    method: str, url: str, headers: Mapping[str, str], body: bytes = b""
) -> AsyncIterator[Answer]:
    """Send a request; the connection ends with the block. The caller has a deadline around it.

    Raises `OSError`, `EOFError`, `ValueError` and `asyncio.LimitOverrunError`.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or SCHEMES[parts.scheme]
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {path} HTTP/1.0", f"Host: {parts.netloc}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method != "GET":
        lines.append(f"Content-Length: {len(body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header of the request has a line break")
    reader, writer = await asyncio.open_connection(host, port, ssl=secure, limit=HEAD_BYTES_MAX)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        status, found = _head_of(await reader.readuntil(b"\r\n\r\n"))
        if found.get("transfer-encoding", "identity") != "identity":
            raise ValueError("it sends parts to a client of HTTP/1.0")
        yield Answer(status, found, reader)
    finally:
        writer.close()


def _head_of(head: bytes) -> tuple[int, Mapping[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if not version.startswith("HTTP/"):
        raise ValueError("this is no HTTP")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(rest[:3]), headers
