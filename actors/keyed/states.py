"""Loads and saves the states of one host's activations in a store.

A save has the fencing token of its incarnation and the version that it replaces. When the answer
to a save is lost, the next save meets a newer version. If it has the same token, the save replaces
it. A state with a higher token belongs to a newer incarnation: the older one ends.
"""

import asyncio
import inspect
from typing import Any, Final, Protocol

from callboard.messages.core.contract import describe_contract
from callboard.messages.core.errors import StateConflict, StoreFailed
from callboard.messages.storage.errors import WriterFenced
from callboard.messages.storage.keyed_stores import (
    ClaimingStore,
    EncodedState,
    KeyedStore,
    LoadedState,
    check_fence,
)

from ..kernel.actor import Actor
from ..kernel.cell import Cell
from ..kernel.ports import CellHost
from .actor import KeyedActor

__all__ = ["States", "StoredCell"]

STORE_TIMEOUT_S: Final = 20.0
"""The deadline of one load or save."""
SAVES_AT_ONCE: Final = 64
LOADS_AT_ONCE: Final = 256


class StoredCell(Protocol):
    """What loads and saves need of an activation's cell."""

    version: int
    """The version of its state in the store."""
    unsaved: int
    """Messages since the last save."""
    saved_s: float
    """The time of the last save."""

    @property
    def id(self) -> int:
        """Its number on its host."""

    @property
    def fence(self) -> int:
        """The fencing token of its incarnation."""

    @property
    def key(self) -> str:
        """Its key."""

    @property
    def path(self) -> str:
        """Its path, for people."""

    @property
    def actor(self) -> Actor | None:
        """The actor that has the state."""


class States:
    """Loads and saves for one key region."""

    def __init__(self, host: CellHost[Cell], kind: str, store: KeyedStore) -> None:
        self._host = host
        self._kind = kind
        self._store = store
        self._writing: dict[str, asyncio.Future[None]] = {}
        """Running saves: each key has one at a time, and no load meanwhile."""
        self._saves = asyncio.Semaphore(SAVES_AT_ONCE)
        self._loads = asyncio.Semaphore(LOADS_AT_ONCE)

    async def restore(self, cell: StoredCell) -> None:
        """Load the state of a key into its new actor. Raises `StoreFailed`, `WriterFenced`."""
        host, actor = self._host, cell.actor
        assert isinstance(actor, KeyedActor)
        await self._wait_for_save(cell.key)
        try:
            async with self._loads, asyncio.timeout(STORE_TIMEOUT_S):
                loaded = await self._load(cell)
            message = None
            state = loaded.state
            if state is not None and state.contract:
                build = host.contracts.resolve(state.contract, state.version, state.fingerprint)
                message = host.codec.decode(state.body, build, state.buffers)
        except WriterFenced:
            raise
        except Exception as error:
            raise _store_failed("load", cell, error) from error
        result = actor.restore(message)
        if inspect.isawaitable(result):
            await result
        cell.version = loaded.version
        cell.unsaved = 0
        cell.saved_s = host.now()

    async def _load(self, cell: StoredCell) -> LoadedState:
        store, kind, key = self._store, self._kind, cell.key
        if isinstance(store, ClaimingStore):
            return await store.claim(kind, key, cell.fence)
        loaded = await store.load(kind, key)
        if loaded.state is not None:
            check_fence(kind, key, cell.fence, loaded.state.fence)
        return loaded

    async def write(self, cell: StoredCell) -> None:
        """Save the state of a quiet activation.

        Raises `StoreFailed`, `StateConflict`, `WriterFenced`.
        """
        await self._wait_for_save(cell.key)
        done = self._writing[cell.key] = self._host.loop.create_future()
        try:
            await self._write(cell)
        finally:
            del self._writing[cell.key]
            done.set_result(None)

    async def _wait_for_save(self, key: str) -> None:
        while (writing := self._writing.get(key)) is not None:
            await asyncio.shield(writing)

    async def _write(self, cell: StoredCell) -> None:
        actor, taken = cell.actor, cell.unsaved
        if not taken or not isinstance(actor, KeyedActor):
            return  # Saved meanwhile, or renewed.
        try:
            snapshot = actor.snapshot()
            if inspect.isawaitable(snapshot):
                snapshot = await snapshot
            state = self._encode(cell, snapshot)
            async with self._saves, asyncio.timeout(STORE_TIMEOUT_S):
                version = await self._replace(cell, state)
        except (StateConflict, WriterFenced):
            raise
        except Exception as error:
            raise _store_failed("save", cell, error) from error
        if cell.actor is actor:
            cell.version = version
            cell.unsaved -= taken
            cell.saved_s = self._host.now()

    async def _replace(self, cell: StoredCell, state: EncodedState) -> int:
        store, kind, key = self._store, self._kind, cell.key
        try:
            return await store.save(kind, key, state, cell.version)
        except StateConflict:
            kept = await store.load(kind, key)
            if (
                kept.state is None
                or kept.state.writer != state.writer
                or kept.version != cell.version + 1
            ):
                raise
            # Our own save: only its answer was lost.
            return await store.save(kind, key, state, kept.version)

    def _encode(self, cell: StoredCell, snapshot: Any) -> EncodedState:
        host = self._host
        writer = str(cell.fence)
        if snapshot is None:
            return EncodedState(contract="", version=0, fingerprint=0, body=b"", writer=writer)
        key = describe_contract(type(snapshot)).key
        body, buffers = host.codec.encode(snapshot)
        return EncodedState(
            contract=key.name,
            version=key.version,
            fingerprint=key.fingerprint,
            body=body,
            buffers=tuple(bytes(buffer) for buffer in buffers),
            writer=writer,
        )


def _store_failed(what: str, cell: StoredCell, error: Exception) -> StoreFailed:
    return StoreFailed(
        f"the store could not {what} the state of {cell.path}: {type(error).__name__}: {error}",
        advice="Check the store; the next message or save tries again.",
        may_have_run=False,
    )
