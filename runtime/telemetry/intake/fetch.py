"""One HTTP GET, within a deadline and a limit of bytes.

Redirections are not followed: a target is what its configuration says.
"""

import asyncio
import zlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from callboard.messages.core.errors import CallboardError, UsageError

from ...transport.http_calls import http_call

__all__ = ["FetchFailed", "Fetched", "check_url", "fetch"]

PART_BYTES: Final = 65_536
SCHEMES: Final = ("http", "https")


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
    try:
        async with (
            asyncio.timeout(timeout_s),
            http_call("GET", url, {**headers, "Accept-Encoding": "gzip"}) as answer,
        ):
            if answer.status != HTTPStatus.OK:
                raise FetchFailed(f"{url} answers {answer.status}.", advice="Look at the target.")
            body = await _read(answer.reader, answer.headers, bytes_max, url)
    except TimeoutError:
        raise FetchFailed(
            f"{url} has not answered in {timeout_s:g} s.", advice="Look at the target."
        ) from None
    except (OSError, EOFError, asyncio.LimitOverrunError, ValueError, zlib.error) as error:
        raise FetchFailed(
            f"{url} cannot be read: {error}.", advice="Look at the target, and at its address."
        ) from error
    return Fetched(body, answer.headers.get("content-type", ""))


async def _read(
    reader: asyncio.StreamReader, headers: Mapping[str, str], bytes_max: int, url: str
) -> bytes:
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
