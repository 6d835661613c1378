"""The catalogue of segments in PostgreSQL."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from callboard.actors.storage.hot import HotRows

from ..catalogue import SqlCatalogue, Transaction
from .connection import StoreConnection
from .place import Durability, PostgresTimeouts
from .row_store import RowStore
from .tables import check_tables

__all__ = ["PostgresCatalogue"]

ReturnT = TypeVar("ReturnT")


class PostgresCatalogue(SqlCatalogue):
    """A `Catalogue` in the schema of the hot store."""

    def __init__(
        self,
        url: str,
        *,
        owner: str,
        hot: HotRows | None = None,
        durability: Durability = "full",
        timeouts: PostgresTimeouts | None = None,
        reads_only: bool = False,
    ) -> None:
        super().__init__(owner, hot)
        self._reads_only = reads_only
        self._rows = RowStore(url, durability=durability, timeouts=timeouts)
        self.name = self._rows.name

    def open(self) -> None:
        """See `EventStore.open`."""
        if self._reads_only:
            self._rows.connections.open_for(check_tables)
        else:
            self._rows.open()

    def close(self) -> None:
        """See `EventStore.close`."""
        self._rows.close()

    def _read(self, action: Callable[[Transaction], ReturnT]) -> ReturnT:
        return self._run(action, "reading the catalogue")

    def _write(self, action: Callable[[Transaction], ReturnT]) -> ReturnT:
        # Each write has no second effect, so that it is repeated when the connection breaks.
        return self._run(action, "writing the catalogue")

    def _run(self, action: Callable[[Transaction], ReturnT], what: str) -> ReturnT:
        def run(connection: StoreConnection) -> ReturnT:
            with connection.transaction():
                return action(Transaction(self._statements(connection), connection))

        return self._rows.connections.run(run, what)

    def _statements(self, connection: StoreConnection) -> Callable[..., Sequence[Sequence[Any]]]:
        schema = self._rows.connections.place.schema

        def rows(statement: str, *values: Any) -> Sequence[Sequence[Any]]:
            return connection.rows(in_schema(statement, schema), *values)

        return rows


@functools.lru_cache(maxsize=256)
def in_schema(statement: str, schema: str) -> bytes:
    """The statement with the name of its schema, which `Place` has checked."""
    return statement.replace("{s}", f'"{schema}".').encode()
