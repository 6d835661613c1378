"""What bytes of a client may be: JSON of a bounded depth, without numbers or texts that it lacks.

Python's reader takes more than JSON is (NaN, texts that have no UTF-8), and nests until its stack
ends. All bytes of clients go through `parse`, so that no codec finds anything of that.
"""

import json
from typing import Any, Final

from callboard.messages.core.errors import CallboardError

__all__ = ["FRAME_BYTES_MAX", "BadFrame", "dump", "is_text", "one_line", "parse"]

FRAME_BYTES_MAX: Final = 1 << 16
"""The largest message of a client."""
DEPTH_MAX: Final = 64
"""Levels of nesting, as many as a message of Callboard may have."""
OPENING: Final = (b"[", b"{")


class BadFrame(CallboardError):
    """A client sent bytes that its protocol does not have; the connection is closed."""

    code = "bad_frame"


def parse(data: bytes | str) -> Any:
    """The value of these bytes of JSON. Raises `BadFrame`."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(raw) > FRAME_BYTES_MAX:
        raise BadFrame(f"A message has more than {FRAME_BYTES_MAX} bytes.")
    try:
        value = json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError):
        # The text of Python's error may quote the message, which may hold a token.
        raise BadFrame("A message is not JSON.") from None
    if sum(map(raw.count, OPENING)) > DEPTH_MAX and _is_deeper(value, DEPTH_MAX):
        raise BadFrame(f"A message nests deeper than {DEPTH_MAX} levels.")
    return value


def dump(value: Any) -> bytes:
    """A value of `parse` as compact JSON, on one line. Raises `BadFrame`: 1e999 has no JSON."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise BadFrame("A message has a number without an end.") from None


def one_line(data: bytes) -> bytes:
    """JSON on one line: between its values, a line break is a space like others."""
    if b"\n" in data or b"\r" in data:
        return data.replace(b"\r", b" ").replace(b"\n", b" ")
    return data


def is_text(value: Any) -> bool:
    """Whether it is a text that has UTF-8, which half of a surrogate pair has not."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(_constant: str) -> Any:
    raise ValueError


def _is_deeper(value: Any, levels: int) -> bool:
    row = [value]
    for _ in range(levels + 1):
        row = [
            child
            for parent in row
            if isinstance(parent, list | dict)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not row:
            return False
    return True
