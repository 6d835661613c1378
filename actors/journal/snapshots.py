"""Snapshots: the state of a stream at a version, so that not all its events are read again.

A snapshot only saves time. One that is missing, damaged, of another version of the fold, or of a
changed contract is counted, ignored and written again. Deleting all snapshots loses nothing.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar

import msgpack

from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import (
    Contract,
    ContractRegistry,
    contract_key,
    describe_contract,
)
from callboard.messages.core.errors import CallboardError, SpecError, StoreFailed
from callboard.messages.storage.errors import StoreDamaged
from callboard.messages.storage.events import EventStore, Snapshot

from ..kernel.threads import ThreadRunner

__all__ = ["SNAPSHOT_EVERY", "Loaded", "SnapshotStatistics", "Snapshots"]

LOGGER: Final = logging.getLogger("callboard.events")
StateT = TypeVar("StateT", bound=Contract)

SNAPSHOT_EVERY: Final = 100
"""Events of a stream between two snapshots, by default."""
CHECKSUM_BYTES: Final = 16


class Loaded(NamedTuple, Generic[StateT]):
    """The content of a usable snapshot."""

    state: StateT
    version: int
    extra: Any
    """Plain data that was saved with the state."""


@dataclass(slots=True)
class SnapshotStatistics:
    """Counts of loads and saves of snapshots."""

    used: int = 0
    saved: int = 0
    missing: int = 0
    other_schema: int = 0
    """Ignored: from another version of the fold, or of the state's contract."""
    damaged: int = 0
    failures: int = 0
    """Loads and saves that failed with the store, and states that cannot be encoded."""


class Snapshots(Generic[StateT]):
    """The snapshots of one kind of state.

    `schema` is the version of the fold that makes the state. A snapshot is due after each
    `every` events of a stream. Raises `SpecError` for an `every` below 1.
    """

    def __init__(
        self,
        store: EventStore,
        state: type[StateT],
        *,
        schema: int,
        every: int = SNAPSHOT_EVERY,
    ) -> None:
        if every < 1:
            raise SpecError(
                f"a snapshot after each {every} events is not possible.",
                advice="Set `every` to at least 1.",
            )
        self.statistics: Final = SnapshotStatistics()
        self.every: Final = every
        self._store = store
        self._state = state
        self._schema = schema
        registry = ContractRegistry()
        registry.learn(state)
        self._codec = Codec(registry)
        self._threads = ThreadRunner("snapshots")

    def is_due(self, before: int, after: int) -> bool:
        """Whether a stream that grew from one version to another is due for a snapshot."""
        return before // self.every < after // self.every

    async def load(self, stream: str) -> Loaded[StateT] | None:
        """The stream's snapshot; None when there is none to use: then fold all its events."""
        statistics = self.statistics
        try:
            found = await self._threads.call(self._store.load_snapshot, stream)
        except StoreFailed as error:
            if isinstance(error, StoreDamaged):
                statistics.damaged += 1
            else:
                statistics.failures += 1
            LOGGER.warning("The snapshot of %r cannot be read and is ignored: %s", stream, error)
            return None
        if found is None:
            statistics.missing += 1
            return None
        if found.schema != self._schema:
            statistics.other_schema += 1
            return None
        return self._decoded(found)

    def _decoded(self, found: Snapshot) -> Loaded[StateT] | None:
        checksum, packed = found.data[:CHECKSUM_BYTES], found.data[CHECKSUM_BYTES:]
        try:
            if checksum != _checksum(found.stream, found.version, packed):
                raise StoreDamaged("its checksum is wrong.")  # noqa: TRY301 - one way out
            fingerprint, body, extra, *buffers = msgpack.unpackb(packed)
            if fingerprint != contract_key(self._state).fingerprint:
                self.statistics.other_schema += 1
                return None
            state = self._codec.decode(body, describe_contract(self._state).build, buffers)
        except Exception as error:  # noqa: BLE001 - damaged bytes may be anything
            self.statistics.damaged += 1
            LOGGER.warning("The snapshot of %r is damaged and ignored: %s", found.stream, error)
            return None
        assert isinstance(state, self._state)
        self.statistics.used += 1
        return Loaded(state, found.version, extra)

    async def save(self, stream: str, version: int, state: StateT, extra: Any = None) -> bool:
        """Save a snapshot; gives whether this succeeded. Raises no `CallboardError`.

        It fails when the store fails, and for a state that is too large or cannot be encoded.
        """
        assert isinstance(state, self._state), state
        try:
            body, buffers = self._codec.encode(state)
            fingerprint = contract_key(self._state).fingerprint
            packed = msgpack.packb([fingerprint, body, extra, *(bytes(b) for b in buffers)])
            data = _checksum(stream, version, packed) + packed
            await self._threads.call(
                self._store.save_snapshot, Snapshot(stream, version, self._schema, data)
            )
        except (CallboardError, TypeError, ValueError, OverflowError) as error:
            self.statistics.failures += 1
            LOGGER.warning("The snapshot of %r could not be written: %s", stream, error)
            return False
        self.statistics.saved += 1
        return True

    async def drop(self, stream: str) -> None:
        """Delete the stream's snapshots; its state is then folded from its events."""
        await self._threads.call(self._store.drop_snapshots, stream)

    def close(self) -> None:
        """End its thread. The owner of the store closes the store."""
        self._threads.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        self.close()


def _checksum(stream: str, version: int, packed: bytes) -> bytes:
    digest = hashlib.blake2b(packed, digest_size=CHECKSUM_BYTES)
    digest.update(f"{version} {stream}".encode())
    return digest.digest()
