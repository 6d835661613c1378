"""Stores in one SQLite file each, in WAL mode."""

from .events import SqliteEventStore
from .read_models import SqliteReadModelStore
from .states import SqliteStateStore

__all__ = ["SqliteEventStore", "SqliteReadModelStore", "SqliteStateStore"]
