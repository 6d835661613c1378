"""Events of the system as publications: encoded once, with the tags that clients filter by."""

from collections.abc import Mapping
from typing import Any, Final

from callboard.actors.streaming.messages import EVENT_BYTES_MAX, StreamEvent, StreamMetadata
from callboard.actors.streaming.protocol import Publication

__all__ = ["TAG_CHARACTERS_MAX", "publication_of"]

TAG_CHARACTERS_MAX: Final = 200


def publication_of(
    channel: str,
    event_type: str,
    payload: Any,
    *,
    event_id: str,
    timestamp: float,
    source: str,
    tags: Mapping[str, str] | None = None,
    offset: int = 0,
    key: str = "",
) -> Publication:
    """A publication of a `StreamEvent`. A payload that is too large or no JSON is left out.

    `tags` has `type` and `source` besides what is given; long values are cut.
    """
    flat = {"type": event_type, "source": source, **(tags or {})}
    flat = {name: value[:TAG_CHARACTERS_MAX] for name, value in flat.items() if value}
    event = StreamEvent(
        event_id=event_id,
        event_type=event_type,
        timestamp=timestamp,
        source=source,
        payload=payload,
        metadata=StreamMetadata(tags=flat),
    )
    try:
        data = event.model_dump_json().encode()
    except ValueError:  # A lone surrogate, for instance, which no JSON has.
        data = b""
    if not data or len(data) > EVENT_BYTES_MAX:
        left_out = event.model_copy(update={"payload": {"is_cut": True, "bytes": len(data)}})
        data = left_out.model_dump_json().encode()
    return Publication(
        channel, data, offset=offset, tags=flat, time_ms=int(timestamp * 1000), key=key
    )
