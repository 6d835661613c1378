"""Requests and replies of the admin API as lines of JSON, the same over every carrier.

    {"admin": 1, "request": "callboard.query_actor", "version": 1, "fields": {"path": "host-1"}}
    {"admin": 1, "reply": {"system": "demo", ...}}
    {"admin": 1, "error": {"code": "usage", "message": ..., "advice": ..., "details": {}}}

`admin` is the version of this format, `version` the version of the request's contract. A line has
one newline, at its end.
"""

import json
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from callboard.messages.core.contract import Contract, Request, reply_type
from callboard.messages.core.errors import (
    CallboardError,
    PayloadTooLarge,
    UsageError,
    VersionMismatch,
    error_from_data,
)

from .port import REQUESTS

__all__ = [
    "ADMIN_VERSION",
    "REPLY_BYTES_MAX",
    "REPLY_TIMEOUT_S",
    "REQUEST_BYTES_MAX",
    "decode_reply",
    "decode_request",
    "encode_error",
    "encode_reply",
    "encode_request",
    "too_long",
]

ReplyT = TypeVar("ReplyT")
ADMIN_VERSION: Final = 1
REQUEST_BYTES_MAX: Final = 1 << 20
REPLY_BYTES_MAX: Final = 1 << 26
REPLY_TIMEOUT_S: Final = 25.0
"""How long a process of the system waits for the reply of another: more than a service takes."""
SAME_RELEASE: Final = "Both sides must run the same release of Callboard."
SHOWN_MAX: Final = 100


def encode_request(request: Request[Any]) -> bytes:
    """A request as one line.

    Raises `UsageError` for a request outside the admin API, and `PayloadTooLarge`.
    """
    contract = type(request)
    if REQUESTS.get(contract.contract_name) is not contract:
        raise UsageError(
            f"{contract.__name__} is not a request of the admin API.",
            advice=f"It has: {', '.join(REQUESTS)}.",
        )
    line = _line(
        request=contract.contract_name,
        version=contract.contract_version,
        fields=request.model_dump(mode="json"),
    )
    if len(line) > REQUEST_BYTES_MAX:
        raise too_long()
    return line


def decode_request(line: bytes) -> Request[Any]:
    """The request in a line of any bytes.

    Raises `UsageError`, `VersionMismatch`, and `PayloadTooLarge`.
    """
    if len(line) > REQUEST_BYTES_MAX:
        raise too_long()
    try:
        data = json.loads(line)
        spoken, name, version = data["admin"], data["request"], data["version"]
        contract = REQUESTS.get(str(name))
        fields = dict(data.get("fields") or {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"this is not a line of the admin API: {error!r:.{SHOWN_MAX}}.", advice=SAME_RELEASE
        ) from None
    if spoken != ADMIN_VERSION:
        raise VersionMismatch(
            f"this process speaks version {ADMIN_VERSION} of the admin API, not "
            f"{spoken!r:.{SHOWN_MAX}}.",
            advice=SAME_RELEASE,
        )
    if contract is None or version != contract.contract_version:
        raise UsageError(
            f"the admin API has no request {name!r:.{SHOWN_MAX}} v{version!r:.{SHOWN_MAX}}.",
            advice=f"It has: {', '.join(REQUESTS)}. {SAME_RELEASE}",
        )
    try:
        return contract.model_validate(fields)
    except (ValidationError, CallboardError) as error:
        raise UsageError(
            f"the fields of {contract.contract_name} do not fit: {error}", advice=SAME_RELEASE
        ) from None


def encode_reply(reply: Contract) -> bytes:
    """A reply as one line. Raises `PayloadTooLarge` above `REPLY_BYTES_MAX`."""
    line = _line(reply=reply.model_dump(mode="json"))
    if len(line) > REPLY_BYTES_MAX:
        raise PayloadTooLarge(
            f"the reply has {len(line):,} bytes; the limit is {REPLY_BYTES_MAX:,}.",
            advice="Ask for less, for instance for fewer actors.",
        )
    return line


def encode_error(error: CallboardError) -> bytes:
    """An error as one line."""
    return _line(error=error.to_data())


def too_long() -> PayloadTooLarge:
    """The error for a line above `REQUEST_BYTES_MAX`."""
    return PayloadTooLarge(f"a request of the admin API has at most {REQUEST_BYTES_MAX:,} bytes.")


def decode_reply(request: Request[ReplyT], line: bytes) -> ReplyT:
    """The reply to a request. Raises the error in the line; `ValueError` for an invalid line."""
    data = json.loads(line)
    if not isinstance(data, dict):
        raise ValueError("the reply is invalid")  # noqa: TRY004 - bytes from outside, no type of ours
    error = data.get("error")
    if isinstance(error, dict):
        raise error_from_data(error)
    contract: Any = reply_type(type(request))
    # Through JSON again: only there pydantic takes a list for a tuple.
    reply: ReplyT = contract.model_validate_json(json.dumps(data.get("reply")))
    return reply


def _line(**data: Any) -> bytes:
    return json.dumps({"admin": ADMIN_VERSION, **data}).encode() + b"\n"
