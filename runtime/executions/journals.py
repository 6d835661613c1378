"""The location of a system's journal, and its opening.

A journal has one writer, so two systems never share one. A lock says whether the writer of a file
lives. A system takes its own file when that is free, otherwise the next file of the same folder.
"""

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from callboard.actors.executions.history.blobs import Blobs
from callboard.actors.executions.history.snapshots import HistorySnapshots
from callboard.actors.journal.journal import Journal
from callboard.messages.core.errors import CallboardError, DeadlineExceeded, SpecError
from callboard.messages.storage.errors import StoreUnavailable

from ..hosting.settings import Settings
from ..stores.file_lock import FileLock
from ..stores.private import narrow, private_folder
from .states import SystemStates, open_system_states

__all__ = [
    "AUTO",
    "OFF",
    "JournalOpener",
    "OpenJournal",
    "detached_journal",
    "home",
    "journal_files",
    "no_journal",
    "open_journal",
]

LOGGER: Final = logging.getLogger("callboard")
AUTO: Final = "auto"
OFF: Final = "off"
FILES_MAX: Final = 64
"""The most systems of one name that run at once, each with a file."""
FLUSH_S: Final = 10.0


def home(environment: Mapping[str, str]) -> Path:
    """The folder of Callboard's files: `CALLBOARD_HOME`, or the user's state folder."""
    chosen = environment.get("CALLBOARD_HOME")
    if chosen:
        return Path(chosen)
    state = environment.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "callboard"


def journal_files(environment: Mapping[str, str]) -> list[Path]:
    """The journal files of the default setting, by name."""
    return sorted((home(environment) / "journals").glob("*.db"))


class OpenJournal:
    """A journal with its lock, stored results, snapshots and states."""

    def __init__(
        self,
        journal: Journal,
        lock: FileLock | None,
        blobs: Blobs | None = None,
        snapshots: HistorySnapshots | None = None,
    ) -> None:
        self.journal: Final = journal
        self.states: SystemStates | None = None
        """The states that the journal feeds; None without the setting `states`."""
        self.snapshots: Final = snapshots
        self.blobs: Final = blobs
        self._lock = lock

    async def close(self) -> None:
        """Commit the pending events, and close all stores."""
        if self.blobs is not None:
            await self.blobs.close()
        if self.snapshots is not None:
            await self.snapshots.close()
        if self.states is not None:
            with contextlib.suppress(DeadlineExceeded):
                await self.journal.flush(FLUSH_S)
            await self.states.close()
        await self.journal.close()
        if self._lock is not None:
            self._lock.release()


class JournalOpener(Protocol):
    """Opens the journal that the settings name; returns None without a journal."""

    async def __call__(self, settings: Settings, /, *, fence: int = 0) -> OpenJournal | None:
        """Open it, as the actor with this fencing token; see `EventStore.take_over`."""


async def no_journal(_settings: Settings, *, fence: int = 0) -> OpenJournal | None:  # noqa: ARG001 - a `JournalOpener`
    """Open no journal, whatever the settings say."""
    return None


async def open_journal(
    settings: Settings, environment: Mapping[str, str] = os.environ, *, fence: int = 0
) -> OpenJournal | None:
    """Open the journal that the settings name, see `JournalOpener`; None without a journal.

    A named journal must open: otherwise its store's error is raised, `StoreUnavailable` when
    another system writes it, and `SpecError` for a text that names no store. When the default
    journal does not open, a warning says so, and the system has none. The states that the journal
    feeds must open in both cases.
    """
    journal = await _open_named(settings, environment, fence)
    if journal is not None:
        try:
            journal.states = await open_system_states(settings, journal.journal)
        except BaseException:
            await journal.close()
            raise
    return journal


async def _open_named(
    settings: Settings, environment: Mapping[str, str], fence: int
) -> OpenJournal | None:
    if settings.journal == OFF or (settings.journal == AUTO and settings.engine != "ray"):
        return None
    if settings.journal != AUTO:
        return await _open(settings.journal, settings, fence)
    try:
        return await _open_own(settings, environment, fence)
    except (CallboardError, OSError) as error:
        _warn(error)
        return None


def _warn(error: Exception) -> None:
    LOGGER.warning(
        "executions are not journalled: %s Name another journal by the setting `journal`, or "
        "turn it off by journal=%r.", error, OFF,
    )  # fmt: skip


async def _open_own(settings: Settings, environment: Mapping[str, str], fence: int) -> OpenJournal:
    lock, path = _own_lock(settings, environment)
    return await _opened(str(path), settings, lock, fence)


def _own_lock(settings: Settings, environment: Mapping[str, str]) -> tuple[FileLock, Path]:
    folder = home(environment) / "journals"
    private_folder(folder)
    narrow((folder,))
    for number in range(1, FILES_MAX + 1):
        name = settings.name if number == 1 else f"{settings.name}-{number}"
        path = folder / f"{name}.db"
        lock = FileLock(path)
        if lock.take():
            return lock, path
    raise StoreUnavailable(
        f"all {FILES_MAX} journals of systems named {settings.name!r} are in use.",
        advice="Give the system another name, or name a journal.",
    )


def detached_journal(settings: Settings, environment: Mapping[str, str]) -> str:
    """The journal of a detached system, as a text for the process that opens it.

    The path of a file is absolute. Raises `SpecError` for a text that names no store. When the
    default file cannot be used, a warning says so, and the system has no journal.
    """
    if settings.journal == OFF:
        return OFF
    if settings.journal == AUTO:
        try:
            return str(_own_file(settings, environment).absolute())
        except (CallboardError, OSError) as error:
            _warn(error)
            return OFF
    from ..stores.choose import event_store, path_of

    event_store(settings.journal)  # Refuse a wrong URL here, not in the process that opens it.
    path = path_of(settings.journal)
    return settings.journal if path is None else str(path.absolute())


def _own_file(settings: Settings, environment: Mapping[str, str]) -> Path:
    """The first of a system's own files that no process writes."""
    lock, path = _own_lock(settings, environment)
    lock.release()
    return path


async def _open(url: str, settings: Settings, fence: int) -> OpenJournal:
    from ..stores.choose import path_of

    path = path_of(url)
    if path is None:
        return await _opened(url, settings, None, fence)
    try:
        private_folder(path.parent)
        lock = FileLock(path)
        is_free = lock.take()
    except OSError as error:
        raise SpecError(
            f"setting journal is {url!r}: {error}.", advice="Name a writable file."
        ) from error
    if not is_free:
        raise StoreUnavailable(
            f"the journal {path} is written by process {lock.owner()}, since {lock.since()}.",
            advice="A journal has one writer: stop that system, or name another journal.",
        )
    return await _opened(url, settings, lock, fence)


async def _opened(url: str, settings: Settings, lock: FileLock | None, fence: int) -> OpenJournal:
    from ..stores.choose import blob_store, event_store

    journal = Journal(
        event_store(url, durability=settings.durability),
        owner=f"{settings.name}/{os.getpid()}",
        fence=fence,
    )
    try:
        await journal.open()
    except BaseException:
        await journal.close()
        if lock is not None:
            lock.release()
        raise
    store = blob_store(settings.blobs, url, durability=settings.durability)
    blobs = None if store is None else Blobs(store)
    return OpenJournal(journal, lock, blobs, HistorySnapshots(journal.store))
