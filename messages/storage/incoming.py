"""What comes into a system from outside, as events of its journal: acts, and external events.

Both name the principal. Acts are in the stream `acts`, external events in `received/CHANNEL`.
"""

import hashlib
import json
from typing import Any, Final, TypeVar

from pydantic import Field, FiniteFloat

from ..core.contract import Contract
from .errors import StoreDamaged
from .events import EVENT_ID_BYTES, NewEvent, RecordedEvent

__all__ = [
    "ACTS",
    "KINDS",
    "Act",
    "ReceivedEvent",
    "decoded",
    "event_of",
    "id_of_received",
    "received_stream",
]

ACTS: Final = "acts"
"""The stream of all acts."""


class Act(Contract, name="callboard.act"):
    """Somebody has acted through a socket or over HTTP; it is written before the act is done."""

    act: str
    """What: the name of a request of the admin API, or of another act, such as `token.create`."""
    subject: str
    """The principal."""
    way: str
    """The adapter that it came through."""
    token: str = ""
    """The id of its token, which is no secret; empty without one."""
    at: FiniteFloat
    """When, in seconds since 1970."""
    about: dict[str, Any] = Field(default_factory=dict)
    """On what: the short fields of the request."""


class ReceivedEvent(Contract, name="callboard.received_event"):
    """A client outside of the system has sent an event."""

    channel: str
    event_id: str
    """The client's id of the event, or a new one."""
    event_type: str
    at: FiniteFloat
    """When it came, in seconds since 1970."""
    subject: str
    """The principal that sent it."""
    way: str
    token: str = ""
    """The id of its token, which is no secret; empty without one."""
    payload: Any = None
    tags: dict[str, str] = Field(default_factory=dict)


RecordT = TypeVar("RecordT", Act, ReceivedEvent)
KINDS: Final = frozenset({Act.contract_name, ReceivedEvent.contract_name})
"""The kinds of these events."""


def received_stream(channel: str) -> str:
    """The stream of the external events of one channel."""
    return f"received/{channel}"


def id_of_received(event: ReceivedEvent) -> bytes:
    """The id of the event in the log: the same for repetitions by the same principal only."""
    text = json.dumps([event.subject, event.channel, event.event_id])
    return hashlib.blake2b(text.encode(), digest_size=EVENT_ID_BYTES).digest()


def event_of(record: Act | ReceivedEvent, event_id: bytes) -> NewEvent:
    """The event to append. Raises `InvalidMessage` for a text without an encoding."""
    return NewEvent(
        event_id, record.contract_name, record.model_dump_json().encode(), record.contract_version
    )


def decoded(kind: type[RecordT], event: RecordedEvent) -> RecordT:
    """The record in an event of that kind. Raises `StoreDamaged`."""
    try:
        return kind.model_validate_json(event.data)
    except ValueError as error:
        raise StoreDamaged(
            f"event {event.position} of kind {event.kind} does not decode: {error}."
        ) from error
