"""The catalogue of segments in memory, and the hot windows in memory, as it takes them."""

import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from callboard.actors.metrics.tiers.rules import width_of
from callboard.actors.storage.hot import HotRows
from callboard.actors.storage.segments import Block

from .catalogue import CATALOGUE_TABLES, SqlCatalogue, Transaction
from .memory_windows import MemoryMetricsStorage
from .sqlite.catalogue import of_sqlite, sqlite_transaction
from .sqlite.faults import translate_errors

__all__ = ["MemoryCatalogue", "MemoryHotWindows"]

ReturnT = TypeVar("ReturnT")


class MemoryCatalogue(SqlCatalogue):
    """A `Catalogue` in memory, next to a hot store in memory.

    A reader waits for the end of a write: so the hot rows and the segments change for it at once.
    """

    name = "memory"

    def __init__(self, *, owner: str, hot: HotRows | None = None) -> None:
        super().__init__(owner, hot)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        for statement in CATALOGUE_TABLES:
            self._connection.execute(of_sqlite(statement))

    def open(self) -> None:
        """See `EventStore.open`. There is nothing to create."""

    def close(self) -> None:
        """See `EventStore.close`. The segments last as long as the object."""

    def _read(self, action: Callable[[Transaction], ReturnT]) -> ReturnT:
        with self._lock, translate_errors(self.name):
            return action(sqlite_transaction(self._connection, None))

    def _write(self, action: Callable[[Transaction], ReturnT]) -> ReturnT:
        with self._lock, translate_errors(self.name):
            self._connection.execute("BEGIN")
            try:
                result = action(sqlite_transaction(self._connection, None))
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            return result


class MemoryHotWindows:
    """See `HotRows`."""

    def __init__(self, storage: MemoryMetricsStorage) -> None:
        self._storage = storage

    def stamp(self, connection: None, block: Block) -> str:
        """See `HotRows.stamp`."""
        width_ns = width_of(block.dataset)
        return self._storage.stamp(block.part, width_ns, block.from_ns, block.to_ns)

    def delete(self, connection: None, block: Block, stamp: str) -> bool:
        """See `HotRows.delete`."""
        width_ns = width_of(block.dataset)
        return self._storage.drop_unchanged(block.part, width_ns, block.from_ns, block.to_ns, stamp)
