"""`callboard store check`, `migrate` and `blobs`: the maintenance of a store."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from callboard.actors.executions.history.events import Kind, Moved, read
from callboard.messages.core.errors import UsageError
from callboard.messages.storage.errors import StoreDamaged
from callboard.messages.storage.events import EventStore

from ..stores.blobs import MemoryBlobStore
from .figures import echo

__all__ = ["blobs", "check", "migrate"]

PAGE: Final = 4_096


def check(*, url: str, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    from ..stores.sqlite import SqliteEventStore  # Only this command needs it.

    with _found(url, reads_only=True) as journal:
        journal.open()
        if isinstance(journal, SqliteEventStore):
            journal.check()
        events, streams = _read_all(journal)
    data = {"url": url, "events": events, "streams": streams}
    _print(
        data,
        f"{journal.name} is intact: {events:,} events in {streams:,} streams.",
        as_json=as_json,
    )


def migrate(*, url: str, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    with _found(url) as journal:
        journal.open()
        head = journal.head()
    data = {"url": url, "events": head}
    _print(data, f"{journal.name} has this release's tables: {head:,} events.", as_json=as_json)


def blobs(*, url: str, place: str, drop: bool, hours: float, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    from ..stores.choose import blob_store

    blob_folder = blob_store(place, url)
    if blob_folder is None or isinstance(blob_folder, MemoryBlobStore):
        raise UsageError(f"{url} has no folder of blobs.", advice="Name the folder: --blobs.")
    before = time.time() - 3_600.0 * hours
    found = list(blob_folder.blobs())  # Listed first, so that newer blobs are left alone.
    with _found(url, reads_only=True) as journal:
        journal.open()
        needed = _digests(journal)
    unused = [blob for blob in found if blob.digest not in needed and blob.stored_at < before]
    swept = 0
    if drop:
        blob_folder.drop(blob.digest for blob in unused)
        swept = blob_folder.sweep(before)
    size, unused_size = (sum(blob.size_bytes for blob in some) for some in (found, unused))
    missing = len(needed - {blob.digest for blob in found})
    data = {
        "url": url,
        "blobs": len(found),
        "bytes": size,
        "unused": len(unused),
        "unused_bytes": unused_size,
        "missing": missing,
        "dropped": drop,
        "swept": swept,
    }
    text = (
        f"{blob_folder.name}: {len(found):,} blobs, {size:,} bytes; nothing refers to "
        f"{len(unused):,} of them, {unused_size:,} bytes"
        + (": deleted" if drop else "")
        + f"; {missing:,} that are referred to are not there."
    )
    _print(data, text, as_json=as_json)


def _digests(journal: EventStore) -> set[bytes]:
    """The blobs that the events of executions refer to."""
    position, needed = 0, set[bytes]()
    while page := journal.read(position, PAGE, kinds=(Kind.MOVED,)):
        for event in page:
            moved = read(event.kind, event.data)
            assert isinstance(moved, Moved)
            needed.update(blob.digest for blob in moved.blobs())
        position = page[-1].position
    return needed


@contextmanager
def _found(url: str, *, reads_only: bool = False) -> Iterator[EventStore]:
    from ..stores.choose import event_store, path_of

    path = path_of(url)
    if path is not None and not path.is_file():
        raise UsageError(f"the file {path} does not exist.", advice="Name an existing store.")
    journal = event_store(url, reads_only=reads_only)
    try:
        yield journal
    finally:
        journal.close()


def _read_all(journal: EventStore) -> tuple[int, int]:
    """The number of events and of streams. Raises `StoreDamaged` for a gap."""
    position = 0
    versions: dict[str, int] = {}
    while page := journal.read(position, PAGE):
        for event in page:
            version = versions.get(event.stream, 0) + 1
            if event.position != position + 1 or event.version != version:
                raise StoreDamaged(
                    f"{journal.name}: position {position} is followed by event {event.position}, "
                    f"version {event.version} of stream {event.stream!r} instead of {version}.",
                    advice="Keep a copy, and restore a backup.",
                )
            position, versions[event.stream] = event.position, version
    return position, len(versions)


def _print(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    echo(json.dumps(data) if as_json else text)
