"""Threads share connections, broken ones are replaced, and every wait for one ends."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable
from callboard.messages.storage.events import Appended
from callboard.runtime.stores.postgres.connection import StoreConnection
from callboard.runtime.stores.postgres.events import READERS_MAX, PostgresEventStore
from tests.runtime.stores.postgres.drive import SHORT, append, opened
from tests.servers.postgres_server import PostgresServer
from tests.servers.proxy import Cut, Proxy


def test_a_cut_that_only_the_client_has_seen_is_a_cut(postgres_url: str) -> None:
    """The error of psycopg for a socket closed during a wait. The connection looks intact."""
    with opened(postgres_url) as store:
        left = [psycopg.OperationalError("connection socket closed")]

        def action(connection: StoreConnection) -> int:
            if left:
                raise left.pop()
            return int(connection.rows(b"SELECT 7")[0][0])

        assert store.reading.run(action, "a look") == 7
        left.append(psycopg.OperationalError("connection socket closed"))
        with pytest.raises(CommitUnknown):
            store.writing.run(action, "a commit", repeatable=False)
        assert store.commit([append("a", b"1")]) == [Appended(1, 1, 1)]


def test_all_connections_that_a_restart_has_broken_are_replaced_at_once(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    with opened(postgres_url) as store:
        _use_all(store)
        postgres_server.restart()
        began_s = time.monotonic()
        _use_all(store)
        assert time.monotonic() - began_s < SHORT.reconnect_s


def test_a_cut_replaces_each_connection_once(postgres_proxy: Proxy, proxied_url: str) -> None:
    """A healthy connection that returns late is replaced, and the new ones stay."""
    with opened(proxied_url) as store:
        taken, ends = threading.Event(), threading.Event()

        def action(connection: StoreConnection) -> None:
            connection.rows(b"SELECT 1")
            taken.set()
            assert ends.wait(30)

        _use_all(store)
        late = threading.Thread(target=store.reading.run, args=(action, "a long look"))
        late.start()
        assert taken.wait(30)
        postgres_proxy.arm(b"marked 5", Cut.BEFORE)
        assert store.version_of("marked 5") == 0
        _use_all(store, READERS_MAX - 1)
        before = postgres_proxy.accepted
        ends.set()
        late.join(30)
        _use_all(store)
        assert postgres_proxy.accepted == before + 1


def test_the_wait_for_a_connection_that_others_use_ends(postgres_url: str) -> None:
    with opened(postgres_url, timeouts=replace(SHORT, borrow_s=0.3)) as store:
        refused: list[StoreUnavailable] = []

        def action(connection: StoreConnection) -> None:
            with pytest.raises(StoreUnavailable) as error:
                store.writing.run(lambda other: other.rows(b"SELECT 1"), "a look")
            refused.append(error.value)

        store.writing.run(action, "a long look")
        assert "no connection was free" in str(refused[0])
        assert store.commit([append("a", b"1")]) == [Appended(1, 1, 1)]


def test_a_missing_role_is_reported_before_the_time_to_reconnect_is_over(
    postgres_server: PostgresServer, postgres_schema: str
) -> None:
    role = f"renamed_{postgres_schema}"
    postgres_server.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
    with opened(postgres_server.url(user=role, schema=postgres_schema)) as store:
        postgres_server.execute(f"ALTER ROLE {role} RENAME TO {role}_gone")
        postgres_server.restart()
        began_s = time.monotonic()
        with pytest.raises(StoreUnavailable, match="does not exist"):
            store.head()
        assert time.monotonic() - began_s < SHORT.reconnect_s
        postgres_server.execute(f"ALTER ROLE {role}_gone RENAME TO {role}")
        assert store.head() == 0


def test_a_closed_store_says_so_and_can_be_opened_again(postgres_url: str) -> None:
    with opened(postgres_url) as store:
        taken, closed = threading.Event(), threading.Event()

        def action(connection: StoreConnection) -> list[tuple[int]]:
            taken.set()
            assert closed.wait(30)
            return connection.rows(b"SELECT 7")

        found: list[object] = []
        user = threading.Thread(target=lambda: found.append(store.reading.run(action, "a look")))
        user.start()
        assert taken.wait(30)
        store.close()
        store.close()
        with pytest.raises(StoreUnavailable, match="is closed"):
            store.head()
        closed.set()
        user.join(30)
        assert found == [[(7,)]]  # An action that has a connection may finish.
        store.open()
        assert store.commit([append("a", b"1")]) == [Appended(1, 1, 1)]


def _use_all(store: PostgresEventStore, count: int = READERS_MAX) -> None:
    together = threading.Barrier(count)

    def action(connection: StoreConnection) -> None:
        together.wait(30)
        connection.rows(b"SELECT 1")

    _in_threads(count, lambda: store.reading.run(action, "a look"))


def _in_threads(count: int, call: Callable[[], object]) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
