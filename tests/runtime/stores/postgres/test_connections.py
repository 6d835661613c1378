"""What is done on a connection: again when it may be, and told apart from what the server says."""

import psycopg
import pytest

from callboard.messages.storage.errors import CommitUnknown
from callboard.messages.storage.events import Appended
from callboard.runtime.stores.postgres.connection import StoreConnection
from tests.runtime.stores.postgres.drive import append, opened


def test_a_cut_that_only_the_client_has_seen_is_a_cut(postgres_url: str) -> None:
    """As psycopg says it when the socket is closed while it waits: the connection looks well."""
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
