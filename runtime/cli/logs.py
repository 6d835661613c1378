"""The journals that a command reads: opened beside their writers, which they do not disturb."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from callboard.actors.executions.history.events import PREFIX, stream_of
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.actors.executions.history.reading import read_history
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.storage.events import EventStore, RecordedEvent

from ..executions.journals import journal_files

__all__ = ["Found", "Log", "catch_up", "find", "history_of", "open_logs", "plain"]

MATCHES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Log:
    """One journal that is open for reading."""

    url: str
    store: EventStore
    path: Path | None
    """Its file; None for one that a server keeps."""

    def writer(self) -> str | None:
        """The process that writes it; empty when there is none, None where nobody can tell.

        Asks the lock of the file. What a server keeps may be written from any machine.
        """
        return None if self.path is None else _holder(self.path)

    def lives(self, owner: str) -> bool | None:
        """Whether the system that an event names as its owner still runs."""
        writer = self.writer()
        return None if writer is None else bool(writer) and owner.rpartition("/")[2] == writer


def _holder(path: Path) -> str:
    try:
        handle = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""  # A writer makes it first of all.
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.read(handle, 100).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(handle)
    return ""


@contextlib.contextmanager
def open_logs(url: str | None) -> Iterator[list[Log]]:
    """The journal that was named, or all that there are here; one that fails is told on stderr.

    They are open to read: a file is not made, changed, or brought to this release's tables.
    Raises `UsageError` for a file that is not there, and what the named store raises.
    """
    from ..stores.choose import event_store, path_of

    wanted = [str(path) for path in journal_files(os.environ)] if url is None else [url]
    with contextlib.ExitStack() as stack:
        logs: list[Log] = []
        for one in wanted:
            path = path_of(one)
            if path is not None and not path.is_file():
                raise UsageError(f"there is no journal {path}.", advice="Name an existing file.")
            store = event_store(one, reads_only=True)
            stack.callback(store.close)
            try:
                store.open()
            except CallboardError as error:
                if url is not None:
                    raise
                click.echo(f"{one} cannot be read: {error}", err=True)
            else:
                logs.append(Log(one, store, path))
        yield logs


@dataclass(frozen=True, slots=True)
class Found:
    """The one execution that an id means."""

    log: Log
    id: str


def find(logs: Sequence[Log], prefix: str) -> Found:
    """The execution whose id begins so. Raises `UsageError` for none, and for several."""
    found: list[Found] = []
    for log in logs:
        names = log.store.streams(PREFIX + prefix, limit=MATCHES_SHOWN + 1)
        exact = [name for name in names if name == PREFIX + prefix]
        found += [Found(log, name.removeprefix(PREFIX)) for name in exact or names]
    exact_ones = [one for one in found if one.id == prefix]
    if len(exact_ones or found) == 1:
        return (exact_ones or found)[0]
    if not found:
        raise UsageError(
            f"no execution has an id that begins with {prefix!r}.",
            advice="`callboard ls` lists them; --journal names another journal.",
        )
    shown = ", ".join(f"{one.id} ({one.log.url})" for one in found[:MATCHES_SHOWN])
    raise UsageError(
        f"{prefix!r} may mean several executions: {shown}"
        f"{', …' if len(found) > MATCHES_SHOWN else '.'}",
        advice="Give more of the id, or choose a journal with --journal.",
    )


def history_of(found: Found, up_to: int | None = None) -> ExecutionHistory:
    """The whole history of an execution; raises `StoreDamaged`, `UnknownEvent`."""
    store = found.log.store

    async def read(stream: str, *, after: int = 0, limit: int = 1_000) -> list[RecordedEvent]:
        return store.read_stream(stream, after=after, limit=limit)

    history = asyncio.run(read_history(read, found.id, up_to=up_to))
    if history is None:
        raise UsageError(f"execution {found.id} has no events.")
    return history


def catch_up(found: Found, history: ExecutionHistory) -> None:
    """Bring a history to what the journal says now. Raises as `history_of` does."""
    stream = stream_of(history.id)
    while events := found.log.store.read_stream(stream, after=history.version):
        for event in events:
            history.apply(event)


def plain(value: Any) -> Any:
    """A value of an event as JSON can hold it: bytes are told by their number."""
    if isinstance(value, bytes):
        return {"bytes": len(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return repr(value)
