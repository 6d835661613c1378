"""One HTTP GET, within a deadline and a limit of bytes.

The request is HTTP/1.0: the answer then ends with the connection, so there is nothing to parse but
its head. Redirections are not followed: a target is what its configuration says.
"""

import asyncio
import ssl
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from callboard.messages.core.errors import CallboardError, UsageError

__all__ = ["FetchFailed", "Fetched", "check_url", "fetch"]

HEAD_BYTES_MAX: Final = 65_536
PART_BYTES: Final = 65_536
SCHEMES: Final = {"http": 80, "https": 443}


class FetchFailed(CallboardError):
    """A target did not answer, or not with a page."""


class Fetched(NamedTuple):
    """The answer of a target."""

    body: bytes
    content_type: str


def check_url(url: str) -> None:
    """Raise `UsageError` unless this is a URL that `fetch` takes."""
    try:
        parts = urlsplit(url)
        is_right = bool(parts.hostname) and parts.port != 0 and not parts.username
        is_right = is_right and parts.scheme in SCHEMES
    except ValueError:
        is_right = False
    if not is_right or any(ord(each) <= 32 or ord(each) > 126 for each in url):
        raise UsageError(
            f"{url[:200]!r} is no address of metrics.", advice="Write http://HOST:PORT/metrics."
        )


async def fetch(
    url: str, headers: Mapping[str, str], *, bytes_max: int, timeout_s: float
) -> Fetched:
    """The page behind a URL. Raises `FetchFailed`, also when it is too large or takes too long."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or SCHEMES[parts.scheme]
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    name = parts.netloc
    lines = [f"GET {path} HTTP/1.0", f"Host: {name}", *(f"{n}: {v}" for n, v in headers.items())]
    request = "\r\n".join([*lines, "Accept-Encoding: gzip", "Connection: close", "", ""])
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=secure, limit=HEAD_BYTES_MAX
            )
            try:
                writer.write(request.encode("latin-1"))
                head = await reader.readuntil(b"\r\n\r\n")
                status, found = _head_of(head)
                if status != 200:
                    raise FetchFailed(f"{url} answers {status}.", advice="Look at the target.")
                body = await _read(reader, found, bytes_max, url)
            finally:
                writer.close()
    except TimeoutError:
        raise FetchFailed(
            f"{url} has not answered in {timeout_s:g} s.", advice="Look at the target."
        ) from None
    except (OSError, EOFError, asyncio.LimitOverrunError, ValueError, zlib.error) as error:
        raise FetchFailed(
            f"{url} cannot be read: {error}.", advice="Look at the target, and at its address."
        ) from error
    return Fetched(body, found.get("content-type", ""))


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


async def _read(
    reader: asyncio.StreamReader, headers: Mapping[str, str], bytes_max: int, url: str
) -> bytes:
    if headers.get("transfer-encoding", "identity") != "identity":
        raise ValueError("it sends parts to a client of HTTP/1.0")
    length = int(headers["content-length"]) if "content-length" in headers else None
    unpack = zlib.decompressobj(31) if headers.get("content-encoding") == "gzip" else None
    body, received = bytearray(), 0
    while length is None or received < length:
        part = await reader.read(PART_BYTES)
        if not part:
            break
        received += len(part)
        # Of a small part that unpacks to a large one, no more than is allowed is unpacked.
        body += part if unpack is None else unpack.decompress(part, bytes_max + 1 - len(body))
        if len(body) > bytes_max or (unpack is not None and unpack.unconsumed_tail):
            raise FetchFailed(
                f"{url} has more than {bytes_max:,} bytes.",
                advice="Let the target show less, or raise bytes_max.",
            )
    if (length is not None and received < length) or (unpack is not None and not unpack.eof):
        raise EOFError("it ends too early")
    return bytes(body)
