"""Stores and caches that a URL names."""

from callboard.messages.storage.blobs import BlobStore
from callboard.messages.storage.stores import Cache, ReadModelStore, StateStore
from callboard.runtime.cache.local import LocalCache
from callboard.runtime.cache.tiers import TieredCache, open_cache
from callboard.runtime.stores.choose import blob_store, event_store, read_model_store, state_store

__all__ = [
    "BlobStore",
    "Cache",
    "LocalCache",
    "ReadModelStore",
    "StateStore",
    "TieredCache",
    "blob_store",
    "event_store",
    "open_cache",
    "read_model_store",
    "state_store",
]
