"""Read models in PostgreSQL. One statement stores the changes and the position of a model."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from .packed import blobs, texts
from .row_store import RowStore
from .statements import after_prefix

__all__ = ["PostgresReadModelStore"]

# As in a commit of events: without a row of `moved` nothing changes.
APPLY: Final = """
WITH moved AS (
  INSERT INTO {s}.models AS old (model, position)
  SELECT $1::text, $3::bigint
  WHERE $2::bigint = 0 OR EXISTS (SELECT 1 FROM {s}.models WHERE model = $1)
  ON CONFLICT (model) DO UPDATE SET position = excluded.position WHERE old.position = $2::bigint
  RETURNING 1
), kept AS (
  INSERT INTO {s}.model_items (model, key, value)
  SELECT $1, n.key, n.value FROM moved, unnest($4::text[], $5::bytea[]) AS n (key, value)
  ON CONFLICT (model, key) DO UPDATE SET value = excluded.value
), gone AS (
  DELETE FROM {s}.model_items AS old USING moved
  WHERE old.model = $1 AND old.key = ANY ($6::text[])
)
SELECT count(*) FROM moved
"""


class PostgresReadModelStore(RowStore):
    """See `ReadModelStore`."""

    WORDS: ClassVar[Mapping[str, str]] = {
        "apply": APPLY,
        "position": "SELECT position FROM {s}.models WHERE model = $1",
        "get": "SELECT key, value FROM {s}.model_items WHERE model = $1 AND key = ANY ($2::text[])",
        "items": (
            "SELECT key, value FROM {s}.model_items WHERE model = $1 AND key >= $3 "
            "AND ($2::text = '' OR key > $2) "
            "AND ($4::text IS NULL OR key < $4) ORDER BY key LIMIT $5"
        ),
        "promote": (
            "INSERT INTO {s}.model_names (name, model) VALUES ($1, $2) "
            "ON CONFLICT (name) DO UPDATE SET model = excluded.model"
        ),
        "meaning": "SELECT model FROM {s}.model_names WHERE name = $1",
        "drop": (
            "WITH items AS (DELETE FROM {s}.model_items WHERE model = $1) "
            "DELETE FROM {s}.models WHERE model = $1"
        ),
    }

    def position(self, model: str) -> int:
        """See `ReadModelStore.position`."""
        rows = self._rows("position", model)
        return int(rows[0][0]) if rows else 0

    def apply(
        self, model: str, before: int, after: int, changes: Mapping[str, bytes | None]
    ) -> bool:
        """See `ReadModelStore.apply`.

        Raises `CommitUnknown` when the connection breaks meanwhile; `position` then shows the
        outcome.
        """
        # Sorted by key, so that two transactions on one model cannot deadlock.
        updated = sorted((key, value) for key, value in changes.items() if value is not None)
        values = (
            model,
            before,
            after,
            texts(key for key, _ in updated),
            blobs([value for _, value in updated]),
            texts(sorted(key for key, value in changes.items() if value is None)),
        )
        ((count,),) = self.connections.run(
            lambda connection: connection.rows(self.sql["apply"], *values),
            "applying events",
            repeatable=False,
        )
        return bool(count)

    def get_many(self, model: str, keys: Sequence[str]) -> list[bytes | None]:
        """See `ReadModelStore.get_many`."""
        if not keys:
            return []
        found: dict[str, bytes] = dict(self._rows("get", model, texts(keys)))
        return [found.get(key) for key in keys]

    def items(
        self, model: str, prefix: str = "", *, after: str = "", limit: int = 1_000
    ) -> list[tuple[str, bytes]]:
        """See `ReadModelStore.items`."""
        rows = self._rows("items", model, after, prefix, after_prefix(prefix), max(limit, 0))
        return [(key, value) for key, value in rows]

    def promote(self, name: str, model: str) -> None:
        """See `ReadModelStore.promote`."""
        self._rows("promote", name, model)

    def meaning(self, name: str) -> str:
        """See `ReadModelStore.meaning`."""
        rows = self._rows("meaning", name)
        return str(rows[0][0]) if rows else name

    def drop(self, model: str) -> None:
        """See `ReadModelStore.drop`."""
        self._rows("drop", model)

    def _rows(self, name: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connections.run(
            lambda connection: connection.rows(self.sql[name], *values), "a read model"
        )
