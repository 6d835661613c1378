"""Stores: an old incarnation does not overwrite a newer one."""

import pytest

from callboard.actors.keyed.actor import StoreActor
from callboard.messages.core.errors import StateConflict
from callboard.messages.storage.errors import WriterFenced
from callboard.messages.storage.keyed_stores import (
    ActorStore,
    ClaimingStore,
    EncodedState,
    LoadedState,
    MemoryStore,
)
from callboard.runtime.api.start import start

OLD, NEW = 1 << 22, 2 << 22


def state(writer: str) -> EncodedState:
    return EncodedState(contract="", version=0, fingerprint=0, body=b"", writer=writer)


async def test_old_incarnation_does_not_overwrite_a_newer_state() -> None:
    store = MemoryStore()
    assert await store.save("Account", "a", None, 0) == 1
    with pytest.raises(StateConflict, match="version 1; this save replaces 0"):
        await store.save("Account", "a", None, 0)
    assert (await store.load("Account", "a")).version == 1


async def in_memory(store: ClaimingStore) -> None:
    """The promises of a store that compares tokens."""
    assert await store.claim("Account", "a", OLD) == LoadedState()
    assert await store.save("Account", "a", state(str(OLD)), 0) == 1
    assert (await store.claim("Account", "a", NEW)).version == 1
    # The version alone would let this save pass, and the newer incarnation would lose its own.
    with pytest.raises(WriterFenced, match=f"token {NEW}; this one has {OLD}"):
        await store.save("Account", "a", state(str(OLD)), 1)
    with pytest.raises(WriterFenced):
        await store.claim("Account", "a", OLD)
    assert await store.save("Account", "a", state(str(NEW)), 1) == 2
    loaded = await store.load("Account", "a")
    assert loaded.version == 2
    assert loaded.state is not None
    assert loaded.state.fence == NEW
    assert await store.claim("Account", "b", OLD) == LoadedState(), "other keys are independent"


async def test_old_incarnation_cannot_save_once_a_newer_one_has_loaded() -> None:
    await in_memory(MemoryStore())


async def test_the_same_holds_for_a_store_actor() -> None:
    async with start(engine="inline", hosts=1) as system:
        await in_memory(ActorStore(await system.spawn(StoreActor)))


async def test_a_state_of_an_earlier_release_loads_and_is_replaced() -> None:
    store = MemoryStore()
    store._kept["Account", "a"] = LoadedState(state=state("3.17.4294967299.2"), version=5)
    claimed = await store.claim("Account", "a", OLD)
    assert claimed.state is not None
    assert (claimed.version, claimed.state.fence) == (5, 0)
    assert await store.save("Account", "a", state(str(OLD)), 5) == 6
