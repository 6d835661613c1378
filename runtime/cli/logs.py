"""The journals that a command reads. Reading does not disturb a journal's writer."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from callboard.actors.executions.history.events import PREFIX, stream_of
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.actors.executions.history.reading import read_history
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.storage.events import EventStore, RecordedEvent

from ..executions.journals import journal_files
from .figures import echo
from .remote_journal import RemoteJournal
from .sources import server

__all__ = ["Found", "Log", "catch_up", "find", "history_of", "open_logs"]

MATCHES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Log:
    """One journal, open for reading."""

    url: str
    store: EventStore
    path: Path | None
    """Its file; None for a journal on a server."""

    def writer(self) -> str | None:
        """The process that writes it; empty without a writer, None where this is unknown.

        The lock of the file names the process. A journal on a server may have a writer on any
        machine.
        """
        return None if self.path is None else _holder(self.path)

    def is_running(self, owner: str) -> bool | None:
        """Whether the system that owns an execution still runs; None where this is unknown."""
        writer = self.writer()
        return None if writer is None else bool(writer) and owner.rpartition("/")[2] == writer


def _holder(path: Path) -> str:
    try:
        handle = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""  # A writer makes the lock file first.
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.read(handle, 100).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(handle)
    return ""


@contextlib.contextmanager
def open_logs(url: str | None) -> Iterator[list[Log]]:
    """The named journal, or all journals of this user. A failure of one of them goes to stderr.

    With `--url` it is the journal of that system, whose web server reads it. They are open for
    reading only: nothing is created, changed or migrated. Raises `UsageError`
    for a file that does not exist, and what the named store raises.
    """
    from ..stores.choose import event_store, path_of

    remote = server()
    if remote is not None:
        with contextlib.closing(RemoteJournal(remote)) as journal:
            yield [RemoteLog(remote.name, journal, None)]
        return
    wanted = [str(path) for path in journal_files(os.environ)] if url is None else [url]
    with contextlib.ExitStack() as stack:
        logs: list[Log] = []
        for one in wanted:
            path = path_of(one)
            if path is not None and not path.is_file():
                raise UsageError(
                    f"the journal {path} does not exist.", advice="Name an existing file."
                )
            store = event_store(one, reads_only=True)
            stack.callback(store.close)
            try:
                store.open()
            except CallboardError as error:
                if url is not None:
                    raise
                echo(f"{one} cannot be read: {error}", err=True)
            else:
                logs.append(Log(one, store, path))
        yield logs


@dataclass(frozen=True, slots=True)
class RemoteLog(Log):
    """The journal of a system behind a web server, which answers: so its writer lives."""

    def writer(self) -> str | None:
        """See `Log.writer`."""
        assert isinstance(self.store, RemoteJournal), "open_logs has made it"
        return self.store.writer()


@dataclass(frozen=True, slots=True)
class Found:
    """The one execution that an id means."""

    log: Log
    id: str


def find(logs: Sequence[Log], prefix: str) -> Found:
    """The execution whose id begins with `prefix`. Raises `UsageError` for none or several."""
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
    """The whole history of an execution. Raises `StoreDamaged` and `UnknownEvent`."""
    store = found.log.store

    async def read(stream: str, *, after: int = 0, limit: int = 1_000) -> list[RecordedEvent]:
        return store.read_stream(stream, after=after, limit=limit)

    history = asyncio.run(read_history(read, found.id, up_to=up_to))
    if history is None:
        raise UsageError(f"execution {found.id} has no events.")
    return history


def catch_up(found: Found, history: ExecutionHistory) -> None:
    """Apply new events of the journal to a history. Raises what `history_of` raises."""
    stream = stream_of(history.id)
    while events := found.log.store.read_stream(stream, after=history.version):
        for event in events:
            history.apply(event)
