"""The record of acts and of external events, in the journal of the system.

Only processes of the system itself send these requests: they have checked who acts. Where the
system keeps no journal the answer is `NotServed`, and an act is in the log of the process alone.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from pydantic import BaseModel

from callboard.actors.journal.journal import Journal
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import MailboxFull
from callboard.messages.storage.incoming import (
    ACTS,
    Act,
    ReceivedEvent,
    event_of,
    id_of_received,
    received_stream,
)

__all__ = ["RecordAct", "Recorded", "TakeEvent", "about", "record", "take"]

TEXT_CHARS_MAX: Final = 300
ITEMS_MAX: Final = 20
LEFT_OUT: Final = frozenset({"by", "author", "asker", "token", "at", "version", "event"})
"""Who acts is in the record itself; the rest is how a command is repeated."""


class Recorded(Contract, name="callboard.admin.recorded"):
    """The record is durable."""

    is_repeat: bool = False
    """Whether the journal had it before."""


class RecordAct(Request[Recorded], name="callboard.admin.record_act"):
    """Write down an act."""

    record: Act


class TakeEvent(Request[Recorded], name="callboard.admin.take_event"):
    """Keep an external event; the same id of the same principal and channel is kept once."""

    record: ReceivedEvent


async def record(journal: Journal, request: RecordAct) -> Recorded:
    """Append an act. Raises what the journal raises."""
    await journal.append(ACTS, (event_of(request.record, uuid4().bytes),))
    return Recorded()


async def take(journal: Journal, request: TakeEvent) -> Recorded:
    """Append an external event. Raises `MailboxFull` when too much waits for the disk."""
    if not journal.has_room:
        raise MailboxFull(
            "too many events wait for the journal.", advice="Send it again.", may_have_run=False
        )
    event = request.record
    done = await journal.append(
        received_stream(event.channel), (event_of(event, id_of_received(event)),)
    )
    return Recorded(is_repeat=done.is_repeat)


def about(request: BaseModel) -> Mapping[str, Any]:
    """The short fields of a request: what an act is about."""
    found: dict[str, Any] = {}
    for name, value in request.model_dump(mode="json", exclude_defaults=True).items():
        if name in LEFT_OUT:
            continue
        if isinstance(value, str):
            found[name] = value[:TEXT_CHARS_MAX]
        elif isinstance(value, int | float):
            found[name] = value
        elif isinstance(value, list):
            found[name] = [str(item)[:TEXT_CHARS_MAX] for item in value[:ITEMS_MAX]]
    return found
