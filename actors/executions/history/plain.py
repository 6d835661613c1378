"""The fields of an event of an execution in JSON's types: for lists, streams and people."""

import json
from typing import Any, Final

from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.events import RecordedEvent
from callboard.messages.storage.incoming import KINDS as INCOMING

from .encoding import Kind, unpack

__all__ = ["fields_of", "plain"]

KINDS: Final = frozenset(map(str, Kind))


def fields_of(event: RecordedEvent) -> dict[str, Any] | None:
    """The fields of an event of an execution, or from outside; None for other events."""
    if event.kind in INCOMING:
        try:
            return dict(json.loads(event.data))
        except ValueError as error:
            return {"damaged": str(error)}
    if event.kind not in KINDS:
        return None
    try:
        fields: dict[str, Any] = plain(unpack(event.kind, event.data))
    except CallboardError as error:
        return {"damaged": error.message}
    return fields


def plain(value: Any) -> Any:
    """A value of an event in JSON's types. Bytes become their number."""
    if isinstance(value, bytes):
        return {"bytes": len(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return repr(value)
