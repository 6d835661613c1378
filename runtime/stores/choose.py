"""Stores by their URL: `memory:`, `sqlite:///path` or a path, `postgresql://...`."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from callboard.messages.errors import SpecError
from callboard.messages.events import EventStore
from callboard.messages.storage import ReadModelStore, StateStore

__all__ = ["event_store", "path_of", "read_model_store", "state_store"]

POSTGRES: Final = ("postgresql", "postgres")
KNOWN: Final = "Use a path, sqlite:///path, postgresql://user@host/database, or memory:."


def path_of(url: str) -> Path | None:
    """The file that a URL names; None when the store is none. Raises `SpecError`."""
    if not url.strip():
        raise SpecError("a store's URL is empty.", advice=KNOWN)
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "memory":
        return None
    if colon and scheme == "sqlite":
        path = unquote(rest.removeprefix("//"))
        # sqlite:///relative and sqlite:////absolute, as SQLAlchemy and others have it.
        path = path.removeprefix("/")
        if not path:
            raise SpecError(f"{url!r} names no file.", advice=KNOWN)
        return Path(path)
    if "://" in url:
        if scheme in POSTGRES:
            return None
        raise SpecError(f"{scheme}:// is no store that is known.", advice=KNOWN)
    return Path(url)


def event_store(url: str, *, durability: str = "full", reads_only: bool = False) -> EventStore:
    """The event store at a URL, not yet opened. Raises `SpecError`.

    With `reads_only` a file must be there, and is neither changed nor brought forward.
    """
    path = path_of(url)
    if path is not None:
        from .sqlite import SqliteEventStore

        return SqliteEventStore(path, durability=durability, reads_only=reads_only)
    if url.startswith("memory:"):
        from .memory import MemoryEventStore

        return MemoryEventStore()
    store: EventStore = _postgres(url).PostgresEventStore(url, durability=durability)
    return store


def state_store(url: str, *, durability: str = "full") -> StateStore:
    """The store of states at a URL, not yet opened. Raises `SpecError`."""
    path = path_of(url)
    if path is not None:
        from .sqlite import SqliteStateStore

        return SqliteStateStore(path, durability=durability)
    if url.startswith("memory:"):
        from .memory import MemoryStateStore

        return MemoryStateStore()
    store: StateStore = _postgres(url).PostgresStateStore(url, durability=durability)
    return store


def read_model_store(url: str, *, durability: str = "full") -> ReadModelStore:
    """The store of read models at a URL, not yet opened. Raises `SpecError`."""
    path = path_of(url)
    if path is not None:
        from .sqlite import SqliteReadModelStore

        return SqliteReadModelStore(path, durability=durability)
    if url.startswith("memory:"):
        from .memory import MemoryReadModelStore

        return MemoryReadModelStore()
    store: ReadModelStore = _postgres(url).PostgresReadModelStore(url, durability=durability)
    return store


def _postgres(url: str) -> Any:
    try:
        from . import postgres
    except ImportError as error:
        host = urlsplit(url).hostname or "the server"
        raise SpecError(
            f"a store on {host} needs the package psycopg ({error}).",
            advice="Install the extra: pip install 'callboard[postgres]'.",
        ) from error
    return postgres
