"""Stores: an old incarnation does not overwrite a newer one."""

import pytest

from callboard.messages.core.errors import StateConflict
from callboard.messages.storage.keyed_stores import MemoryStore


async def test_old_incarnation_does_not_overwrite_a_newer_state() -> None:
    store = MemoryStore()
    assert await store.save("Account", "a", None, 0) == 1
    with pytest.raises(StateConflict, match="version 1; this save replaces 0"):
        await store.save("Account", "a", None, 0)
    assert (await store.load("Account", "a")).version == 1
