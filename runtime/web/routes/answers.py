"""Answers with entity tags, and the cursors of lists.

A cursor is opaque to clients: the version of its form, the name of its list, and a place there. A
cursor of another release or another list is refused, and so is every other text.
"""

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

from fastapi import Header, Query
from fastapi import Request as HttpRequest
from pydantic import BaseModel
from starlette.responses import Response

from callboard.messages.core.errors import UsageError

from ...admin.errors import StaleVersion

__all__ = [
    "ANSWER_BYTES_MAX",
    "After",
    "IfMatch",
    "Key",
    "Limit",
    "answered",
    "answered_bytes",
    "bounded",
    "check_match",
    "cursor",
    "fitting",
    "place_in",
    "tag_of",
]

ShapeT = TypeVar("ShapeT", bound=BaseModel)
FORM: Final = 1
CURSOR_CHARS_MAX: Final = 1_000
KEY_CHARS_MAX: Final = 255
ANSWER_BYTES_MAX: Final = 1_000_000
"""No answer of a list is larger."""
WRONG_CURSOR: Final = "Take `next` of the answer before, or leave `after` out."

Limit = Annotated[int, Query(ge=1, le=500, description="The most items.")]
After = Annotated[
    str,
    Query(max_length=CURSOR_CHARS_MAX, description="`next` of the answer before; empty to begin."),
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=KEY_CHARS_MAX,
        description="The same key of the same client acts once, however often it is sent.",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(max_length=200, description="The `ETag` that the resource must still have."),
]


def cursor(name: str, place: Sequence[Any] | None) -> str:
    """The cursor of a place in a list; empty for None."""
    if place is None:
        return ""
    data = json.dumps([FORM, name, *place], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def place_in(name: str, text: str, *kinds: type | tuple[type, ...]) -> list[Any] | None:
    """The place of a cursor of that list, whose parts are of these types; None for no cursor.

    Raises `UsageError` for any other text.
    """
    if not text:
        return None
    try:
        if len(text) > CURSOR_CHARS_MAX:
            raise ValueError  # noqa: TRY301 - answered like every other wrong text
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        loaded: list[Any] = json.loads(data, parse_constant=_refuse)
        form, found, *place = loaded
        is_right = (form, found) == (FORM, name) and len(place) == len(kinds)
        is_right = is_right and all(
            isinstance(part, kind) and not isinstance(part, bool)
            for part, kind in zip(place, kinds, strict=True)
        )
        # Larger ones are no place in any list, and not every store can compare them.
        is_right = is_right and all(
            not isinstance(part, int) or abs(part) < 2**62 for part in place
        )
    except (ValueError, TypeError, RecursionError):
        is_right = False
        place = []
    if not is_right:
        raise UsageError("the cursor `after` is not one of this list.", advice=WRONG_CURSOR)
    return place


def _refuse(_constant: str) -> None:
    raise ValueError


def answered(
    request: HttpRequest, shape: BaseModel, tag: str = "", *, status: int = 200
) -> Response:
    """The answer with an entity tag, or 304 if the client has it.

    Without a tag of the resource's version, a weak one of the content.
    """
    return answered_bytes(request, shape.model_dump_json().encode(), tag, status=status)


def answered_bytes(
    request: HttpRequest, body: bytes, tag: str = "", *, status: int = 200
) -> Response:
    """The same for an answer that is JSON already."""
    if not tag:
        tag = f'W/"{_digest(body)}"'
    headers = {"etag": tag}
    known = {part.strip() for part in request.headers.get("if-none-match", "").split(",")}
    known = known if request.method == "GET" else set()
    if "*" in known or tag.removeprefix("W/") in {part.removeprefix("W/") for part in known}:
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers, media_type="application/json")


def tag_of(version: str, shape: BaseModel) -> str:
    """The tag of a resource: its version, which commands compare, and its content."""
    return f'"{version}-{_digest(shape.model_dump_json().encode())}"'


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=9).hexdigest()


def check_match(wanted: str | None, version: str) -> None:
    """Raise `StaleVersion` unless the client wants this version, or any."""
    if wanted is None or wanted.strip() == "*":
        return
    if version not in {part.strip().strip('"').rpartition("-")[0] for part in wanted.split(",")}:
        raise StaleVersion(
            "it has changed since you read it.", advice="Read it again, and decide again."
        )


async def fitting(limit: int, page: Callable[[int], Awaitable[ShapeT]]) -> ShapeT:
    """The page with as many of `limit` items as fit into one answer, at least one."""
    while True:
        shape = await page(limit)
        if limit == 1 or len(shape.model_dump_json()) <= ANSWER_BYTES_MAX:
            return shape
        limit = max(1, limit // 4)


def bounded(items: Sequence[ShapeT]) -> Sequence[ShapeT]:
    """The first of these items that fit into one answer, at least one."""
    size = 0
    for place, item in enumerate(items):
        size += len(item.model_dump_json()) + 1
        if place and size > ANSWER_BYTES_MAX - 50_000:
            return items[:place]
    return items
