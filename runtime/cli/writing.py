"""A command that writes into a journal whose system is gone: it becomes the writer meanwhile."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from callboard.actors.execution.history.events import Kind, pack, stream_of
from callboard.messages.errors import CallboardError, UsageError
from callboard.messages.events import Append, EventStore, NewEvent

from ..journals import FileLock
from .logs import Found

__all__ = ["Writer", "writer_of"]

WRITER_NAME: Final = "callboard-command"
Change = tuple[Kind, Mapping[str, Any]]


class Writer:
    """The writer of one journal, for the time of a command."""

    def __init__(self, store: EventStore, name: str) -> None:
        self.name: Final = name
        self._store = store

    def append(self, execution_id: str, changes: Sequence[Change], expected: int) -> None:
        """Append events to an execution, all or none, durably. Raises what the store raises."""
        events = tuple(NewEvent(uuid4().bytes, str(kind), pack(of)) for kind, of in changes)
        (outcome,) = self._store.commit([Append(stream_of(execution_id), events, expected)])
        if isinstance(outcome, CallboardError):
            raise outcome


@contextlib.contextmanager
def writer_of(found: Found) -> Iterator[Writer]:
    """Be the writer of the journal that has an execution.

    Raises `UsageError` when somebody else writes it.
    """
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
        name = f"{WRITER_NAME}/{os.getpid()}"
        store.open()
        store.take_over(name)
        yield Writer(store, name)
    finally:
        store.close()
        if lock is not None:
            lock.release()
