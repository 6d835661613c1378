"""Reads the history of one execution from a log; a fork begins with its origin's history."""

from collections.abc import Awaitable
from typing import Final, Protocol

from callboard.messages.storage.errors import StoreDamaged
from callboard.messages.storage.events import RecordedEvent

from .events import Forked, Kind, stream_of
from .events import read as read_event
from .fold import ExecutionHistory
from .fork import forked

__all__ = ["EVENTS_AT_ONCE", "ReadStream", "read_history"]

EVENTS_AT_ONCE: Final = 256
FORKS_MAX: Final = 64
"""The most forks of forks in a chain, all of which are read."""


class ReadStream(Protocol):
    """Reads a page of one stream: a method of journals and their clients."""

    def __call__(
        self, stream: str, *, after: int = 0, limit: int = 1_000
    ) -> Awaitable[list[RecordedEvent]]:
        """See `EventStore.read_stream`."""


async def read_history(
    read: ReadStream,
    execution_id: str,
    *,
    up_to: int | None = None,
    base: ExecutionHistory | None = None,
) -> ExecutionHistory | None:
    """The history of one execution, up to a version; None when there is no such execution.

    With `base`, the history in a snapshot, only later events are read, and `base` is changed; it
    is ignored when the stream does not continue it. Raises `UnknownEvent`, and `StoreDamaged`,
    also when the origin of a fork is missing.
    """
    if base is not None:
        found = await read(stream_of(execution_id), after=base.version - 1, limit=1)
        if found and (found[0].version, found[0].id) == (base.version, base.last_id):
            return await _read_on(read, base, up_to, ())
    return await _read(read, execution_id, up_to, ())


async def _read(
    read: ReadStream, execution_id: str, up_to: int | None, forks: tuple[str, ...]
) -> ExecutionHistory | None:
    history = await _read_on(read, ExecutionHistory(execution_id), up_to, forks)
    return history if history.version else None


async def _read_on(
    read: ReadStream, history: ExecutionHistory, up_to: int | None, forks: tuple[str, ...]
) -> ExecutionHistory:
    execution_id = history.id
    stream = stream_of(execution_id)
    while found := await read(stream, after=history.version, limit=EVENTS_AT_ONCE):
        for event in found:
            if up_to is not None and event.version > up_to:
                return history
            if event.kind == Kind.FORKED and history.version == 0:
                history = await _forked(read, execution_id, event, (*forks, execution_id))
            else:
                history.apply(event)
    return history


async def _forked(
    read: ReadStream, execution_id: str, event: RecordedEvent, forks: tuple[str, ...]
) -> ExecutionHistory:
    fork = read_event(event.kind, event.data)
    assert isinstance(fork, Forked)
    try:
        of, version = str(fork.of_id), int(fork.version)
        if of in forks or len(forks) > FORKS_MAX:
            raise StoreDamaged(
                f"execution {execution_id} is a fork of {of} in a chain of {len(forks)} forks, "
                "which is circular or too long."
            )
        origin = await _read(read, of, version, forks)
        if origin is None or origin.version < version:
            raise StoreDamaged(
                f"execution {execution_id} is a fork of {of}, which this journal does not have"
                f"{'' if origin is None else f' beyond version {origin.version}'}.",
                advice="Restore the events of the origin: a fork needs them.",
            )
        history = forked(origin, execution_id, fork)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise StoreDamaged(
            f"execution {execution_id}: event {event.version} ({event.kind}) is malformed: "
            f"{error!r}."
        ) from error
    history.version, history.at = event.version, event.recorded_at
    history.last_id = event.id
    return history
