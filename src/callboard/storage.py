"""Stores and caches that a URL names."""

from callboard.actors.storage.core import MoveLimits
from callboard.actors.storage.lifecycle import LifecycleRule, rules_from_data, rules_to_data
from callboard.actors.storage.objects import ObjectInfo, ObjectStore
from callboard.messages.storage.blobs import BlobStore
from callboard.messages.storage.stores import Cache, ReadModelStore, StateStore
from callboard.runtime.cache.local import LocalCache, LocalStatistics
from callboard.runtime.cache.redis import RedisStatistics
from callboard.runtime.cache.tiers import TieredCache, TieredStatistics, open_cache
from callboard.runtime.objects.choose import object_store
from callboard.runtime.stores.choose import blob_store, event_store, read_model_store, state_store

__all__ = [
    "BlobStore",
    "Cache",
    "LifecycleRule",
    "LocalCache",
    "LocalStatistics",
    "MoveLimits",
    "ObjectInfo",
    "ObjectStore",
    "ReadModelStore",
    "RedisStatistics",
    "StateStore",
    "TieredCache",
    "TieredStatistics",
    "blob_store",
    "event_store",
    "object_store",
    "open_cache",
    "read_model_store",
    "rules_from_data",
    "rules_to_data",
    "state_store",
]
