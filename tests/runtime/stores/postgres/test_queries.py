"""How often a writer asks its server, and what a reader says when the server has lost an event."""

import uuid
from typing import Any

import pytest

from callboard.messages.storage.errors import StoreDamaged
from callboard.messages.storage.events import ANY, NO_STREAM, Append, Appended, NewEvent
from callboard.runtime.stores.postgres import PostgresEventStore
from tests.servers.postgres_server import PostgresServer


def event() -> NewEvent:
    return NewEvent(uuid.uuid4().bytes, "noted", b"x")


def test_a_known_stream_and_a_new_one_need_no_query(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresEventStore(postgres_url)
    store.open()
    asked: list[str] = []
    run = store.writing.run

    def counted(work: Any, what: str, **options: Any) -> Any:
        asked.append(what)
        return run(work, what, **options)

    monkeypatch.setattr(store.writing, "run", counted)
    try:
        store.take_over("the test")
        store.commit([Append("a", (event(),), NO_STREAM)])
        store.commit([Append("a", (event(),), 1), Append("b", (event(),), NO_STREAM)])
        assert store.commit([Append("a", (event(),), ANY)]) == [Appended(4, 4, 3)]
        assert asked == ["taking over", "a commit", "a commit", "a commit"]
        store.take_over("the test")
        assert store.commit([Append("a", (event(),), 3)]) == [Appended(5, 5, 4)]
        assert asked[4:] == ["taking over", "reading streams", "a commit"]
    finally:
        store.close()


def test_a_missing_event_is_damage_that_a_reader_has_not_done(
    postgres_server: PostgresServer, postgres_url: str, postgres_schema: str
) -> None:
    store = PostgresEventStore(postgres_url)
    store.open()
    try:
        store.take_over("the test")
        store.commit([Append("a", (event(), event(), event()))])
        postgres_server.execute(f"DELETE FROM {postgres_schema}.events WHERE position = 2")
        with pytest.raises(StoreDamaged, match="missing") as of_all:
            store.read(0, 9)
        with pytest.raises(StoreDamaged, match="missing") as of_stream:
            store.read_stream("a", backwards=True)
        assert [of_all.value.may_have_run, of_stream.value.may_have_run] == [False, False]
        assert [event.version for event in store.read_stream("a", after=2)] == [3]
    finally:
        store.close()
