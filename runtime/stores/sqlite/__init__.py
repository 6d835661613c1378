"""Stores in SQLite files, in WAL mode."""

from .events import SqliteEventStore
from .read_models import SqliteReadModelStore
from .states import SqliteStateStore
from .windows import SqliteMetricsStorage

__all__ = [
    "SqliteEventStore",
    "SqliteMetricsStorage",
    "SqliteReadModelStore",
    "SqliteStateStore",
]
