"""Stores in PostgreSQL, by URL. Needs the extra `callboard[postgres]`."""

from .events import PostgresEventStore
from .read_models import PostgresReadModelStore
from .states import PostgresStateStore
from .windows import PostgresMetricsStorage

__all__ = [
    "PostgresEventStore",
    "PostgresMetricsStorage",
    "PostgresReadModelStore",
    "PostgresStateStore",
]
