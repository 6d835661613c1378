"""States by id in an SQLite file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from callboard.messages.storage.stores import StateRow

from .database import Database

__all__ = ["SqliteStateStore"]

IDS_AT_ONCE: Final = 10_000
"""Parameters of one query. SQLite's limit is 32,766."""


class SqliteStateStore:
    """A `StateStore`. Several stores may share one file."""

    def __init__(self, path: str | Path, *, durability: str = "full") -> None:
        self._database = Database(path, durability=durability)
        self.name: Final = self._database.name

    def open(self) -> None:
        """See `StateStore.open`."""
        self._database.open()

    def upsert(self, table: str, rows: Sequence[StateRow]) -> list[bool]:
        """See `StateStore.upsert`."""
        newer: list[bool] = []
        with self._database.writing() as writer:
            for row in rows:
                cursor = writer.execute(
                    "INSERT INTO states VALUES (?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE "
                    "SET version = excluded.version, data = excluded.data "
                    "WHERE excluded.version > states.version",
                    (table, *row),
                )
                newer.append(cursor.rowcount == 1)
        return newer

    def find_by_ids(self, table: str, ids: Sequence[str]) -> list[StateRow | None]:
        """See `StateStore.find_by_ids`."""
        found: dict[str, StateRow] = {}
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self._database.rows(
                f"SELECT id, version, data FROM states WHERE kind = ? AND id IN ({marks})",  # noqa: S608 - marks only
                (table, *some),
            )
            found.update((row[0], StateRow(*row)) for row in rows)
        return [found.get(id_) for id_ in ids]

    def delete(self, table: str, ids: Sequence[str]) -> None:
        """See `StateStore.delete`."""
        with self._database.writing() as writer:
            writer.executemany(
                "DELETE FROM states WHERE kind = ? AND id = ?", [(table, id_) for id_ in ids]
            )

    def close(self) -> None:
        """See `StateStore.close`."""
        self._database.close()
