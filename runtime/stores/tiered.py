"""A hot store of metrics and the catalogue in the same database, by their URL."""

from typing import Any

from callboard.actors.metrics.tiers.ports import HotWindows
from callboard.actors.metrics.tiers.rules import OWNER
from callboard.actors.storage.catalogue import Catalogue

from .choose import metrics_storage, path_of

__all__ = ["tiered_stores"]


def tiered_stores(
    url: str, *, durability: str = "full", reads_only: bool = False
) -> tuple[HotWindows, Catalogue]:
    """The hot store of metrics at a URL and the catalogue in it, not yet opened.

    Raises `SpecError`. A store in memory belongs to the two that are returned. With `reads_only`
    a file must exist, and stays unchanged.
    """
    path = path_of(url)
    if path is not None:
        from .sqlite.catalogue import SqliteCatalogue
        from .sqlite.hot_windows import SqliteHotWindows
        from .sqlite.windows import SqliteMetricsStorage

        return (
            SqliteMetricsStorage(path, durability=durability, reads_only=reads_only),
            SqliteCatalogue(
                path,
                owner=OWNER,
                hot=SqliteHotWindows(),
                durability=durability,
                reads_only=reads_only,
            ),
        )
    if url.startswith("memory:"):
        from .memory_catalogue import MemoryCatalogue, MemoryHotWindows
        from .memory_windows import MemoryMetricsStorage

        storage = MemoryMetricsStorage()
        return storage, MemoryCatalogue(owner=OWNER, hot=MemoryHotWindows(storage))
    metrics_storage(url)  # Raises `SpecError` without the package.
    from .postgres.catalogue import PostgresCatalogue
    from .postgres.hot_windows import PostgresHotWindows
    from .postgres.windows import PostgresMetricsStorage

    # `Connections` refuses a wrong durability.
    checked_later: Any = durability
    hot = PostgresMetricsStorage(url, durability=checked_later, reads_only=reads_only)
    taken = PostgresHotWindows(hot.connections.place.schema)
    return hot, PostgresCatalogue(
        url, owner=OWNER, hot=taken, durability=checked_later, reads_only=reads_only
    )
