"""The stores that keep each contract: each test of it runs on all of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import pytest

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
"""Opens the log of the test, as one more process would."""


KINDS: Final = ("memory", "sqlite", "postgres")


@pytest.fixture(params=KINDS)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStore]:
    """One log, which any number of stores may open."""
    opened: list[EventStore] = []
    shared = MemoryEventStore()

    def make() -> EventStore:
        store: EventStore
        if request.param == "memory":
            store = shared.second_handle()
        elif request.param == "sqlite":
            store = SqliteEventStore(tmp_path / "log.db", durability="off")
        else:
            # Asked for here, so that no server is started for the other stores.
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


Kept = TypeVar("Kept", StateStore, ReadModelStore)


def opening(make: Callable[[], Kept]) -> Iterator[Callable[[], Kept]]:
    """What opens stores as `make` makes them, and closes them all at the end."""
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
    """One store of states, which any number may open."""
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
    """One store of read models, which any number may open."""
    shared = MemoryReadModelStore()

    def make() -> ReadModelStore:
        if request.param == "memory":
            return shared
        if request.param == "sqlite":
            return SqliteReadModelStore(tmp_path / "models.db", durability="off")
        return PostgresReadModelStore(request.getfixturevalue("postgres_url"))

    yield from opening(make)
