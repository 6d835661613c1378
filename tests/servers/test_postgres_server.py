"""The PostgreSQL of the tests, and its faults."""

from collections.abc import Callable

import pytest

from tests.servers.postgres_server import PostgresServer


@pytest.mark.parametrize(
    "end",
    [PostgresServer.stop, PostgresServer.stop_at_once, PostgresServer.kill],
    ids=lambda end: end.__name__,
)
def test_committed_data_survives_a_restart(
    end: Callable[[PostgresServer], None], postgres_server: PostgresServer, postgres_schema: str
) -> None:
    postgres_server.execute(f"CREATE TABLE {postgres_schema} AS SELECT 7 AS number")
    end(postgres_server)
    assert not postgres_server.is_running
    postgres_server.start()
    assert postgres_server.execute(f"SELECT * FROM {postgres_schema}") == [(7,)]


def test_its_programs_are_copied_for_a_user_who_cannot_reach_them() -> None:
    server = PostgresServer(copied=True)
    try:
        server.start()
        assert server.execute("SELECT 1") == [(1,)]
    finally:
        server.remove()
    assert not server.folder.exists()
