"""States in PostgreSQL: one row per state. Only a newer version replaces it."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from callboard.messages.storage.stores import StateRow

from .connection import StoreConnection
from .packed import big_integers, blobs, texts
from .row_store import RowStore

__all__ = ["PostgresStateStore"]


class PostgresStateStore(RowStore):
    """See `StateStore`. All operations are idempotent."""

    WORDS: ClassVar[Mapping[str, str]] = {
        "upsert": (
            "INSERT INTO {s}.states AS old (kind, id, version, data) "
            "SELECT $1::text, n.id, n.version, n.data "
            "FROM unnest($2::text[], $3::bigint[], $4::bytea[]) AS n (id, version, data) "
            "ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, "
            "data = excluded.data WHERE old.version < excluded.version RETURNING id"
        ),
        "find": (
            "SELECT id, version, data FROM {s}.states WHERE kind = $1 AND id = ANY ($2::text[])"
        ),
        "delete": "DELETE FROM {s}.states WHERE kind = $1 AND id = ANY ($2::text[])",
    }

    def upsert(self, table: str, rows: Sequence[StateRow]) -> list[bool]:
        """See `StateStore.upsert`.

        Raises `CommitUnknown` when the connection breaks meanwhile. On a repetition, rows that were
        stored count as not newer.
        """
        if not rows:
            return []
        waves = _waves(rows)

        def upsert(connection: StoreConnection) -> list[bool]:
            newer = [False] * len(rows)
            if len(waves) == 1:
                self._upsert_wave(connection, table, rows, waves[0], newer)
                return newer
            with connection.transaction():
                for wave in waves:
                    self._upsert_wave(connection, table, rows, wave, newer)
            return newer

        return self.connections.run(upsert, "storing states", repeatable=False)

    def _upsert_wave(
        self,
        connection: StoreConnection,
        table: str,
        rows: Sequence[StateRow],
        wave: Sequence[int],
        newer: list[bool],
    ) -> None:
        # Sorted by id, so that two writers of the same rows cannot deadlock.
        ordered = sorted((rows[index] for index in wave), key=lambda row: row.id)
        found = connection.rows(
            self.sql["upsert"],
            table,
            texts(row.id for row in ordered),
            big_integers([row.version for row in ordered]),
            blobs([row.data for row in ordered]),
        )
        written = {row[0] for row in found}
        for index in wave:
            newer[index] = rows[index].id in written

    def find_by_ids(self, table: str, ids: Sequence[str]) -> list[StateRow | None]:
        """See `StateStore.find_by_ids`."""
        if not ids:
            return []
        rows = self.connections.run(
            lambda connection: connection.rows(self.sql["find"], table, texts(ids)),
            "reading states",
        )
        found = {row[0]: StateRow._make(row) for row in rows}
        return [found.get(id_) for id_ in ids]

    def delete(self, table: str, ids: Sequence[str]) -> None:
        """See `StateStore.delete`."""
        self.connections.run(
            lambda connection: connection.rows(self.sql["delete"], table, texts(sorted(ids))),
            "deleting states",
        )


def _waves(rows: Sequence[StateRow]) -> list[list[int]]:
    """Indices of rows in waves without a repeated id: a statement takes each id only once."""
    seen: dict[str, int] = {}
    waves: list[list[int]] = []
    for index, row in enumerate(rows):
        number = seen.get(row.id, 0)
        seen[row.id] = number + 1
        if number == len(waves):
            waves.append([])
        waves[number].append(index)
    return waves
