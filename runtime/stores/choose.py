"""Stores by their URL: `memory:`, `sqlite:///path` or a path, `postgresql://...`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from callboard.actors.metrics.ports import HotStorage
from callboard.messages.core.errors import SpecError
from callboard.messages.core.names import shown
from callboard.messages.storage.blobs import BlobStore
from callboard.messages.storage.events import EventStore
from callboard.messages.storage.stores import ReadModelStore, StateStore

__all__ = [
    "blob_store",
    "event_store",
    "metrics_storage",
    "path_of",
    "read_model_store",
    "state_store",
]

POSTGRES: Final = ("postgresql", "postgres")
KNOWN: Final = "Use a path, sqlite:///path, postgresql://user@host/database, or memory:."


def path_of(url: str) -> Path | None:
    """The file that a URL names; None when the store is no file. Raises `SpecError`."""
    if not url.strip():
        raise SpecError("a store's URL is empty.", advice=KNOWN)
    if "\0" in url or "%00" in url:
        raise SpecError(f"the URL of a store has a NUL character: {shown(url)}.", advice=KNOWN)
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "memory":
        return None
    if colon and scheme == "sqlite":
        path = unquote(rest.removeprefix("//"))
        # sqlite:///relative and sqlite:////absolute, as in SQLAlchemy.
        path = path.removeprefix("/")
        if not path:
            raise SpecError(f"{url!r} names no file.", advice=KNOWN)
        return Path(path)
    if "://" in url:
        if scheme in POSTGRES:
            return None
        raise SpecError(f"{scheme}:// is not a known store.", advice=KNOWN)
    return Path(url)


class _Kind(NamedTuple):
    """One kind of store: its classes and their arguments."""

    events: Callable[..., EventStore]
    states: Callable[..., StateStore]
    read_models: Callable[..., ReadModelStore]
    windows: Callable[..., HotStorage]
    place: tuple[str | Path, ...]
    options: Mapping[str, Any]


def _kind(url: str, durability: str) -> _Kind:
    # Imported here, so that a driver loads only the store that it uses.
    path, options = path_of(url), {"durability": durability}
    if path is not None:
        from . import sqlite

        return _Kind(
            sqlite.SqliteEventStore,
            sqlite.SqliteStateStore,
            sqlite.SqliteReadModelStore,
            sqlite.SqliteMetricsStorage,
            (path,),
            options,
        )
    if url.startswith("memory:"):
        from . import memory, memory_windows

        return _Kind(
            memory.MemoryEventStore,
            memory.MemoryStateStore,
            memory.MemoryReadModelStore,
            memory_windows.MemoryMetricsStorage,
            (),
            {},
        )
    try:
        from . import postgres
    except ImportError as error:
        host = urlsplit(url).hostname or "the server"
        raise SpecError(
            f"a store on {host} needs the package psycopg ({error}).",
            advice="Install the extra: pip install 'callboard[postgres]'.",
        ) from error
    return _Kind(
        postgres.PostgresEventStore,
        postgres.PostgresStateStore,
        postgres.PostgresReadModelStore,
        postgres.PostgresMetricsStorage,
        (url,),
        options,
    )


def event_store(url: str, *, durability: str = "full", reads_only: bool = False) -> EventStore:
    """The event store at a URL, not yet opened. Raises `SpecError`.

    With `reads_only` the store must exist. It is neither changed nor migrated.
    """
    kind = _kind(url, durability)
    # A store in memory belongs to its process: there is nothing to protect.
    mode = {"reads_only": reads_only} if kind.options else {}
    return kind.events(*kind.place, **kind.options, **mode)


def state_store(url: str, *, durability: str = "full") -> StateStore:
    """The store of states at a URL, not yet opened. Raises `SpecError`."""
    kind = _kind(url, durability)
    return kind.states(*kind.place, **kind.options)


def read_model_store(url: str, *, durability: str = "full") -> ReadModelStore:
    """The store of read models at a URL, not yet opened. Raises `SpecError`."""
    kind = _kind(url, durability)
    return kind.read_models(*kind.place, **kind.options)


def metrics_storage(
    url: str, *, durability: str = "full", reads_only: bool = False, alone: bool = False
) -> HotStorage:
    """The hot store of metric windows at a URL, not yet opened. Raises `SpecError`.

    With `reads_only` the store must exist. It is neither changed nor migrated. With `alone` a file
    opens only while no other process has it open with `alone`; a server knows no such lock.
    """
    kind = _kind(url, durability)
    mode = {"reads_only": reads_only} if kind.options else {}
    if path_of(url) is not None:
        mode["alone"] = alone
    return kind.windows(*kind.place, **kind.options, **mode)


def blob_store(place: str, url: str, *, durability: str = "full") -> BlobStore | None:
    """The store for the large results of a journal at a URL; None without one.

    `place` is a folder, `off`, or `auto`: next to a journal file, in memory for a journal in
    memory, none for a server.
    """
    from .blobs import FileBlobStore, MemoryBlobStore

    if place == "off":
        return None
    if place != "auto":
        return FileBlobStore(Path(place), durability=durability)
    path = path_of(url)
    if path is not None:
        return FileBlobStore(path.with_name(path.name + ".blobs"), durability=durability)
    return MemoryBlobStore() if url.startswith("memory:") else None
