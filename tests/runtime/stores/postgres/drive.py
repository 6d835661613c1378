"""Helpers of the tests of stores in PostgreSQL."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable
from callboard.messages.storage.events import ANY, Append, Appended, NewEvent
from callboard.runtime.stores.postgres.events import PostgresEventStore
from callboard.runtime.stores.postgres.place import PostgresTimeouts

__all__ = ["SHORT", "append", "check_log", "committed", "event", "opened"]

SHORT: Final = PostgresTimeouts(
    connect_s=2.0, reconnect_s=5.0, statement_s=2.0, lock_s=1.0, silence_s=0.5, borrow_s=5.0
)


def event(data: bytes = b"", *, kind: str = "tests.happened") -> NewEvent:
    """A new event with a new id."""
    return NewEvent(uuid.uuid4().bytes, kind, data)


def append(stream: str, *data: bytes, expected: int = ANY) -> Append:
    """An append of one event for each of `data`."""
    return Append(stream, tuple(map(event, data)), expected)


@contextmanager
def opened(
    url: str, *, timeouts: PostgresTimeouts = SHORT, take_over: bool = True
) -> Iterator[PostgresEventStore]:
    """An open store, which takes over the log by default."""
    store = PostgresEventStore(url, timeouts=timeouts)
    try:
        store.open()
        if take_over:
            store.take_over(f"test/{os.getpid()}")
        yield store
    finally:
        store.close()


def committed(
    store: PostgresEventStore,
    appends: list[Append],
    *,
    between: Callable[[CallboardError], None] = lambda _error: None,
    tries: int = 20,
) -> list[Appended]:
    """Commit as the journal does: on an error, try again with the same ids."""
    for _ in range(tries - 1):
        try:
            results = store.commit(appends)
            break
        except (CommitUnknown, StoreUnavailable) as error:
            between(error)
    else:
        results = store.commit(appends)
    assert all(isinstance(result, Appended) for result in results), results
    return [result for result in results if isinstance(result, Appended)]


def check_log(store: PostgresEventStore) -> list[bytes]:
    """Check that positions and versions have no gap, and ids no repeat. Gives the data."""
    after, data = 0, []
    ids: set[bytes] = set()
    versions: dict[str, int] = {}
    while page := store.read(after, 500):
        for found in page:
            assert found.position == after + 1
            after = found.position
            assert found.version == versions.get(found.stream, 0) + 1
            versions[found.stream] = found.version
            assert found.id not in ids
            ids.add(found.id)
            data.append(found.data)
    assert store.head() == after
    return data
