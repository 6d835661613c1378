"""Read models and their positions in an SQLite file."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from .database import Database

__all__ = ["SqliteReadModelStore"]

KEYS_AT_ONCE: Final = 10_000
ROWS_AT_ONCE: Final = 500
"""Values of one statement. SQLite releases the interpreter lock during a statement."""


class SqliteReadModelStore:
    """A `ReadModelStore`. Several stores may share one file, also with an event store."""

    def __init__(self, path: str | Path, *, durability: str = "full") -> None:
        self._database = Database(path, durability=durability)
        self.name: Final = self._database.name

    def open(self) -> None:
        """See `ReadModelStore.open`."""
        self._database.open()

    def position(self, model: str) -> int:
        """See `ReadModelStore.position`."""
        rows = self._database.rows("SELECT position FROM models WHERE name = ?", (model,))
        return int(rows[0][0]) if rows else 0

    def apply(
        self, model: str, before: int, after: int, changes: Mapping[str, bytes | None]
    ) -> bool:
        """See `ReadModelStore.apply`."""
        with self._database.writing() as writer:
            if not _move(writer, model, before, after):
                return False
            (number,) = writer.execute("SELECT id FROM models WHERE name = ?", (model,)).fetchone()
            _change(writer, number, changes)
        return True

    def get_many(self, model: str, keys: Sequence[str]) -> list[bytes | None]:
        """See `ReadModelStore.get_many`."""
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            found.update(
                self._database.rows(
                    "SELECT key, value FROM model_values WHERE "  # noqa: S608 - marks only
                    f"model = (SELECT id FROM models WHERE name = ?) AND key IN ({marks})",
                    (model, *some),
                )
            )
        return [found.get(key) for key in keys]

    def items(
        self, model: str, prefix: str = "", *, after: str = "", limit: int = 1_000
    ) -> list[tuple[str, bytes]]:
        """See `ReadModelStore.items`."""
        rows = self._database.rows(
            "SELECT key, value FROM model_values WHERE "
            "model = (SELECT id FROM models WHERE name = ?) AND key >= ? AND key > ? "
            "AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?",
            (model, prefix, after, len(prefix), prefix, limit),
        )
        if not after and not prefix:
            # `key > ''` excludes the empty key, which is a valid key.
            empty = self.get_many(model, [""])[0]
            if empty is not None:
                rows = [("", empty), *rows][:limit]
        return rows

    def promote(self, name: str, model: str) -> None:
        """See `ReadModelStore.promote`."""
        with self._database.writing() as writer:
            writer.execute("INSERT OR REPLACE INTO meanings VALUES (?, ?)", (name, model))

    def meaning(self, name: str) -> str:
        """See `ReadModelStore.meaning`."""
        rows = self._database.rows("SELECT model FROM meanings WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else name

    def drop(self, model: str) -> None:
        """See `ReadModelStore.drop`."""
        with self._database.writing() as writer:
            writer.execute(
                "DELETE FROM model_values WHERE model = (SELECT id FROM models WHERE name = ?)",
                (model,),
            )
            writer.execute("DELETE FROM models WHERE name = ?", (model,))

    def close(self) -> None:
        """See `ReadModelStore.close`."""
        self._database.close()


def _move(writer: sqlite3.Connection, model: str, before: int, after: int) -> bool:
    """Move the model from position `before` to `after`. False if it was at another position."""
    if before == 0:
        writer.execute("INSERT OR IGNORE INTO models (name, position) VALUES (?, 0)", (model,))
    moved = writer.execute(
        "UPDATE models SET position = ? WHERE name = ? AND position = ?", (after, model, before)
    )
    return moved.rowcount == 1


def _change(writer: sqlite3.Connection, number: int, changes: Mapping[str, bytes | None]) -> None:
    deleted = [(number, key) for key, value in changes.items() if value is None]
    if deleted:
        writer.executemany("DELETE FROM model_values WHERE model = ? AND key = ?", deleted)
    updated = sorted((key, value) for key, value in changes.items() if value is not None)
    for start in range(0, len(updated), ROWS_AT_ONCE):
        some = updated[start : start + ROWS_AT_ONCE]
        marks = ",".join(["(?,?,?)"] * len(some))
        parameters = [part for key, value in some for part in (number, key, value)]
        writer.execute(f"INSERT OR REPLACE INTO model_values VALUES {marks}", parameters)  # noqa: S608 - marks only
