"""The rules of every event store, and their errors."""

from typing import Final

from callboard.messages.core.errors import CallboardError, InvalidMessage
from callboard.messages.core.names import problem_of, shown
from callboard.messages.storage.errors import (
    EventIdReused,
    EventTooLarge,
    WriterFenced,
    WrongExpectedVersion,
)
from callboard.messages.storage.events import ANY, EVENT_ID_BYTES, Append

__all__ = [
    "EVENT_BYTES_MAX",
    "check_append",
    "check_new_stream",
    "is_storable",
    "replaced_writer",
    "reused_id",
    "unstorable",
    "wrong_version",
]

EVENT_BYTES_MAX: Final = 16 * 2**20


def replaced_writer(name: str, owner: str, epoch: int, fence: int) -> WriterFenced:
    """The error of a writer that may not take a log over any more."""
    return WriterFenced(
        f"{name}: {owner!r} has taken over with epoch {epoch}; this writer's fencing token is "
        f"{fence}.",
        advice="A newer process writes this log, and this one ends. If none does: the clock of "
        "the machine that started the system is behind that of an earlier one.",
        may_have_run=False,
        epoch=epoch,
    )


def check_new_stream(stream: str) -> InvalidMessage | None:
    """Why no stream can get this name; None when one can. An older stream may have any."""
    return _name_problem("the stream's name", stream)


def _name_problem(what: str, name: str) -> InvalidMessage | None:
    problem = problem_of(name)
    return None if problem is None else InvalidMessage(f"{what} {shown(name)} {problem}.")


def check_append(append: Append, event_bytes_max: int) -> CallboardError | None:
    """Why no log can store an append; None when one can."""
    if not append.events:
        return InvalidMessage(f"an append to the stream {append.stream!r} has no event.")
    for event in append.events:
        if len(event.id) != EVENT_ID_BYTES:
            return EventIdReused(
                f"an event {event.kind} for stream {append.stream!r} has an id of "
                f"{len(event.id)} bytes.",
                advice=f"An id has {EVENT_ID_BYTES} bytes; `new_event_id()` makes one.",
                stream=append.stream,
            )
        if problem_of(event.kind) is not None:
            return _name_problem(f"for stream {append.stream!r}: the kind of an event", event.kind)
        size = len(event.data) + len(event.metadata)
        if size > event_bytes_max:
            return EventTooLarge(
                f"an event {event.kind} for stream {append.stream!r} has {size} bytes, the limit "
                f"is {event_bytes_max}.",
                advice="Put the large part into a blob store, and append a reference.",
                stream=append.stream,
            )
    return None


def wrong_version(append: Append, version: int) -> WrongExpectedVersion:
    """The error for an append whose stream has changed."""
    if append.expected in (ANY, version):
        wanted = f"the event {append.follows.hex()} to be its last one"
    else:
        wanted = "no event" if append.expected == 0 else f"version {append.expected}"
    return WrongExpectedVersion(
        f"stream {append.stream!r} is at version {version}; the append expects {wanted}.",
        advice="Read the new events, decide again, and append with the new version.",
        stream=append.stream,
        version=version,
        expected=append.expected,
    )


def is_storable(text: str) -> bool:
    """Whether a database can hold a text: it has no lone surrogate and no NUL."""
    return "\0" not in text and text.encode("utf-8", "replace").decode() == text


def unstorable(store: str, text: str) -> InvalidMessage:
    """The error for a text that no database can hold."""
    return InvalidMessage(
        f"{store}: the text {shown(text)} has a lone surrogate or a NUL, which no store can hold.",
        advice="Give another text.",
    )


def reused_id(append: Append) -> EventIdReused:
    """The error for an id that another event already has."""
    return EventIdReused(
        f"an id of the {len(append.events)} event(s) for stream {append.stream!r} belongs to "
        "another event of the log, or to another append.",
        advice="Give each event an id of its own, and repeat an append only as a whole.",
        stream=append.stream,
    )
