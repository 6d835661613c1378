"""A command that writes into a journal: through the system that writes it, or as its writer.

Invariant: the events have their ids before they are sent anywhere, so that an answer that was lost
does no harm: what stands there is not appended again.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Final

from callboard.actors.execution.history.events import Event, stream_of
from callboard.actors.execution.history.fold import ExecutionHistory
from callboard.messages.errors import CallboardError, UsageError
from callboard.messages.event_ids import new_event_id
from callboard.messages.events import Append, EventStore, NewEvent
from callboard.messages.wishes import WriteEvents

from ..journals import FileLock
from .logs import Found
from .owners import ask_owner, check_free, last_event

__all__ = ["write", "writer_name"]

WRITER_NAME: Final = "callboard-command"


def writer_name() -> str:
    """What a command is called that writes events of its own."""
    return f"{WRITER_NAME}/{os.getpid()}"


def write(
    found: Found,
    history: ExecutionHistory,
    events: Sequence[Event],
    *,
    take_over: bool,
    append_to: str | None = None,
    expected: int | None = None,
) -> bool:
    """Append events to an execution that nobody runs, all or none, durably.

    It is the one that was found, as `history` tells it, if `append_to` names no other. Gives
    whether a running system has written them. Raises what the store raises, and `UsageError`
    where somebody else writes the journal, or may.
    """
    to = found.id if append_to is None else append_to
    after = history.version if expected is None else expected
    new = tuple(NewEvent(new_event_id(), str(event.kind), event.write()) for event in events)
    wish = WriteEvents(
        execution_id=found.id,
        version=history.version,
        event=last_event(found, history),
        append_to=to,
        expected=after,
        events=tuple((event.id.hex(), event.kind, event.data.hex()) for event in new),
    )
    if ask_owner(found, wish) is not None:
        return True
    check_free(found, take_over=take_over)
    with _taken_over(found) as store:
        (outcome,) = store.commit([Append(stream_of(to), new, after)])
    if isinstance(outcome, CallboardError):
        raise outcome
    return False


@contextlib.contextmanager
def _taken_over(found: Found) -> Iterator[EventStore]:
    """The store, whose writer the command is meanwhile."""
    from ..stores.choose import event_store

    path = found.log.path
    lock = None if path is None else FileLock(path)
    if lock is not None and not lock.take():
        raise UsageError(
            f"the journal {found.log.url} is written by process {lock.owner()}, which has "
            "started meanwhile.",
            advice="Try again: a running system is asked instead.",
        )
    store = event_store(found.log.url)
    try:
        store.open()
        store.take_over(writer_name())
        yield store
    finally:
        store.close()
        if lock is not None:
            lock.release()
