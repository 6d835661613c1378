"""Stores and caches that a URL names."""

from callboard.messages.storage.blobs import BlobStore
from callboard.messages.storage.stores import Cache, ReadModelStore, StateStore
from callboard.runtime.cache.local import LocalCache, LocalStatistics
from callboard.runtime.cache.redis import RedisStatistics
from callboard.runtime.cache.tiers import TieredCache, TieredStatistics, open_cache
from callboard.runtime.stores.choose import blob_store, event_store, read_model_store, state_store

__all__ = [
    "BlobStore",
    "Cache",
    "LocalCache",
    "LocalStatistics",
    "ReadModelStore",
    "RedisStatistics",
    "StateStore",
    "TieredCache",
    "TieredStatistics",
    "blob_store",
    "event_store",
    "open_cache",
    "read_model_store",
    "state_store",
]
