"""Actors that belong to a key, and the stores of their states."""

from callboard.actors.keyed.actor import KeyedActor, StoreActor
from callboard.messages.storage.keyed_stores import EncodedState, KeyedStore, MemoryStore
from callboard.runtime.api.keyed import KeyedActors

__all__ = [
    "EncodedState",
    "KeyedActor",
    "KeyedActors",
    "KeyedStore",
    "MemoryStore",
    "StoreActor",
]
