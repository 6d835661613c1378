"""The stores of each contract. Each contract test runs on all of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import pytest

from callboard.actors.metrics.ports import HotStorage
from callboard.messages.storage.events import EventStore
from callboard.messages.storage.stores import ReadModelStore, StateStore
from callboard.runtime.stores.memory import MemoryEventStore, MemoryReadModelStore, MemoryStateStore
from callboard.runtime.stores.postgres import (
    PostgresEventStore,
    PostgresReadModelStore,
    PostgresStateStore,
)
from callboard.runtime.stores.sqlite import SqliteEventStore, SqliteReadModelStore, SqliteStateStore

OpenStore = Callable[[], EventStore]
"""Opens the log of the test, as another process would."""


KINDS: Final = ("memory", "sqlite", "postgres")


@pytest.fixture(params=KINDS)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStore]:
    """One log, for any number of stores."""
    opened: list[EventStore] = []
    shared = MemoryEventStore()

    def make() -> EventStore:
        store: EventStore
        if request.param == "memory":
            store = shared.second_handle()
        elif request.param == "sqlite":
            store = SqliteEventStore(tmp_path / "log.db", durability="off")
        else:
            # Requested here, so that the other stores start no server.
            store = PostgresEventStore(request.getfixturevalue("postgres_url"))
        store.open()
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> EventStore:
    """The writer of an empty log."""
    made = open_store()
    made.take_over("the test")
    return made


Kept = TypeVar("Kept", StateStore, ReadModelStore, HotStorage)


def opening(make: Callable[[], Kept]) -> Iterator[Callable[[], Kept]]:
    """Opens stores made by `make`, and closes them all at the end."""
    opened: list[Kept] = []

    def open_one() -> Kept:
        made = make()
        made.open()
        opened.append(made)
        return made

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture(params=KINDS)
def open_states(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[], StateStore]]:
    """One store of states, for any number of clients."""
    shared = MemoryStateStore()

    def make() -> StateStore:
        if request.param == "memory":
            return shared
        if request.param == "sqlite":
            return SqliteStateStore(tmp_path / "states.db", durability="off")
        return PostgresStateStore(request.getfixturevalue("postgres_url"))

    yield from opening(make)


@pytest.fixture(params=KINDS)
def open_models(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[], ReadModelStore]]:
    """One store of read models, for any number of clients."""
    shared = MemoryReadModelStore()

    def make() -> ReadModelStore:
        if request.param == "memory":
            return shared
        if request.param == "sqlite":
            return SqliteReadModelStore(tmp_path / "models.db", durability="off")
        return PostgresReadModelStore(request.getfixturevalue("postgres_url"))

    yield from opening(make)
