"""The base of the stores of rows in PostgreSQL: a place, connections, and statements."""

from collections.abc import Mapping
from typing import ClassVar, Final

from .connections import Connections
from .place import Durability, Place, PostgresTimeouts
from .tables import open_tables, statement

__all__ = ["RowStore"]

CONNECTIONS_MAX: Final = 4


class RowStore:
    """A store for any number of threads. Its statements are `WORDS`, in its schema."""

    WORDS: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "full",
        timeouts: PostgresTimeouts | None = None,
    ) -> None:
        """Raises `SpecError` for a URL that names no place."""
        limits = timeouts or PostgresTimeouts()
        place = Place.of(url, limits)
        self.name: Final = place.shown
        self.connections: Final = Connections(place, limits, durability, size=CONNECTIONS_MAX)
        self.sql: Final = {
            name: statement(words, place.schema) for name, words in self.WORDS.items()
        }

    def open(self) -> None:
        """See `EventStore.open`."""
        self.connections.open_for(open_tables)

    def close(self) -> None:
        """See `EventStore.close`."""
        self.connections.close()
