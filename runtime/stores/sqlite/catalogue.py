"""The catalogue of segments in an SQLite file."""

import functools
import re
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from callboard.actors.storage.hot import HotRows

from ..catalogue import SqlCatalogue, Transaction
from .database import Database
from .faults import translate_errors

__all__ = ["SqliteCatalogue", "of_sqlite", "sqlite_transaction"]

ReturnT = TypeVar("ReturnT")
PLACE: Final = re.compile(r"\$(\d+)(?:::\w+)?")


@functools.lru_cache(maxsize=64)
def of_sqlite(statement: str) -> str:
    """The statement as SQLite reads it."""
    return PLACE.sub(r"?\1", statement).replace("{s}", "")


def sqlite_transaction(connection: sqlite3.Connection, others: Any) -> Transaction:
    """A transaction on SQLite; `others` is the connection that the hot rows get."""

    def rows(statement: str, *values: Any) -> Sequence[Sequence[Any]]:
        return connection.execute(of_sqlite(statement), values).fetchall()

    return Transaction(rows, others)


class SqliteCatalogue(SqlCatalogue):
    """A `Catalogue` in the file of the hot store. Several processes may share the file."""

    def __init__(
        self,
        path: str | Path,
        *,
        owner: str,
        hot: HotRows | None = None,
        durability: str = "full",
        reads_only: bool = False,
    ) -> None:
        super().__init__(owner, hot)
        self._database = Database(
            path, durability=durability, reads_only=reads_only, stays_small=True
        )
        self.name = self._database.name

    def open(self) -> None:
        """See `EventStore.open`."""
        self._database.open()

    def close(self) -> None:
        """See `EventStore.close`."""
        self._database.close()

    def _read(self, action: Callable[[Transaction], ReturnT]) -> ReturnT:
        with translate_errors(self.name), self._database.reading() as reader:
            reader.execute("BEGIN")
            try:
                return action(sqlite_transaction(reader, reader))
            finally:
                reader.execute("ROLLBACK")

    def _write(self, action: Callable[[Transaction], ReturnT]) -> ReturnT:
        with self._database.writing() as writer:
            return action(sqlite_transaction(writer, writer))
