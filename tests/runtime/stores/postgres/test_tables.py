"""The tables of a store: created once, migrated in one transaction, left alone when newer."""

import threading

import psycopg
import pytest

from callboard.messages.core.errors import SpecError
from callboard.messages.storage.errors import StoreTooNew, StoreTooOld, StoreUnavailable
from callboard.messages.storage.events import Appended
from callboard.runtime.stores.choose import event_store
from callboard.runtime.stores.postgres.events import PostgresEventStore
from callboard.runtime.stores.postgres.place import Place, PostgresTimeouts
from callboard.runtime.stores.postgres.tables import STEPS, open_tables
from tests.runtime.stores.postgres.drive import append, check_log, opened
from tests.servers.postgres_server import PostgresServer

NEXT = "ALTER TABLE {s}.events ADD COLUMN further integer NOT NULL DEFAULT 7;"


def version(server: PostgresServer, schema: str) -> int:
    ((found,),) = server.execute(f"SELECT version FROM {schema}.about")
    assert isinstance(found, int)
    return found


def test_many_that_open_at_once_make_the_tables_once(postgres_url: str) -> None:
    errors: list[BaseException] = []

    def make() -> None:
        try:
            with opened(postgres_url, take_over=False) as store:
                store.head()
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors


def test_a_reader_creates_and_migrates_nothing(
    postgres_server: PostgresServer, postgres_url: str, postgres_schema: str
) -> None:
    with pytest.raises(StoreUnavailable, match="no tables yet"):
        event_store(postgres_url, reads_only=True).open()
    assert not postgres_server.execute(
        "SELECT 1 FROM pg_namespace WHERE nspname = %s", postgres_schema
    )
    with opened(postgres_url) as store:
        store.commit([append("a", b"1")])
    reader = event_store(postgres_url, reads_only=True)
    reader.open()
    assert [event.data for event in reader.read(0, 10)] == [b"1"]
    reader.close()
    postgres_server.execute(f"UPDATE {postgres_schema}.about SET version = {len(STEPS) + 1}")
    with pytest.raises(StoreTooNew):
        event_store(postgres_url, reads_only=True).open()


def test_a_store_is_migrated_with_its_events(
    postgres_server: PostgresServer, postgres_url: str, postgres_schema: str
) -> None:
    with opened(postgres_url) as store:
        store.commit([append("a", b"1")])
        threads = [
            threading.Thread(
                target=open_tables, args=(store.reading,), kwargs={"steps": (*STEPS, NEXT)}
            )
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert version(postgres_server, postgres_schema) == len(STEPS) + 1
        assert check_log(store) == [b"1"]
        assert postgres_server.execute(f"SELECT further FROM {postgres_schema}.events") == [(7,)]


def test_a_step_that_fails_leaves_the_store_as_it_was(
    postgres_server: PostgresServer, postgres_url: str, postgres_schema: str
) -> None:
    with opened(postgres_url) as store:
        store.commit([append("a", b"1")])
        with pytest.raises(Exception, match="division by zero"):
            open_tables(store.writing, steps=(*STEPS, NEXT, "SELECT 1 / 0;"))
        assert version(postgres_server, postgres_schema) == len(STEPS)
        assert store.commit([append("a", b"2")]) == [Appended(2, 2, 2)]


def test_a_newer_store_is_not_touched(
    postgres_server: PostgresServer, postgres_url: str, postgres_schema: str
) -> None:
    with opened(postgres_url):
        postgres_server.execute(f"UPDATE {postgres_schema}.about SET version = 99")
    with pytest.raises(StoreTooNew, match="99"):
        PostgresEventStore(postgres_url).open()


def test_a_store_that_is_too_old_is_refused(postgres_url: str) -> None:
    with opened(postgres_url) as store:
        steps = (*STEPS, NEXT, NEXT.replace("further", "more"))
        with pytest.raises(StoreTooOld):
            open_tables(store.writing, steps=steps, oldest=len(STEPS) + 1)


def test_logs_of_two_schemas_are_separate(
    postgres_server: PostgresServer, postgres_schema: str
) -> None:
    urls = [postgres_server.url(schema=f"{postgres_schema}_{name}") for name in "ab"]
    with opened(urls[0]) as one, opened(urls[1]) as other:
        one.commit([append("a", b"1")])
        assert other.commit([append("a", b"2")]) == [Appended(1, 1, 1)]
        assert (check_log(one), check_log(other)) == ([b"1"], [b"2"])


def test_a_schema_with_tables_of_others_is_refused(
    postgres_server: PostgresServer, postgres_url: str, postgres_schema: str
) -> None:
    postgres_server.execute(f"CREATE SCHEMA {postgres_schema}")
    postgres_server.execute(f"CREATE TABLE {postgres_schema}.events (mine integer)")
    with pytest.raises(SpecError, match="other tables"):
        PostgresEventStore(postgres_url).open()
    assert postgres_server.execute(f"SELECT * FROM {postgres_schema}.events") == []
    with pytest.raises(psycopg.errors.UndefinedTable):
        postgres_server.execute(f"SELECT * FROM {postgres_schema}.writer")


def test_an_unknown_durability_is_refused(postgres_url: str) -> None:
    with pytest.raises(SpecError, match="durability"):
        event_store(postgres_url, durability="sometimes")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/d",
        "postgresql://h/d?schema=",
        "postgresql://h/d?schema=A-b",
        "postgresql://h/d?schema=pg_mine",
        "postgresql://h/d?no_such_option=1",
    ],
)
def test_a_url_that_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(SpecError):
        Place.of(url, PostgresTimeouts())
