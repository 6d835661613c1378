"""Stores in SQLite files, in WAL mode."""

from .events import SqliteEventStore
from .read_models import SqliteReadModelStore
from .states import SqliteStateStore

__all__ = ["SqliteEventStore", "SqliteReadModelStore", "SqliteStateStore"]
