"""Snapshots: what the events of a stream amount to, so that not all are read again.

A snapshot saves time and nothing else. One that is missing, damaged, made by another version
of the fold, or of a state whose contract has changed is counted, left aside and written
anew; throwing all of them away at any moment loses nothing.
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
"""Events of a stream between two snapshots, unless told otherwise."""
CHECKSUM_BYTES: Final = 16


class Loaded(NamedTuple, Generic[StateT]):
    """What a usable snapshot holds."""

    state: StateT
    version: int
    extra: Any
    """What was kept beside the state: plain data."""


@dataclass(slots=True)
class SnapshotStatistics:
    """What has become of snapshots here."""

    used: int = 0
    saved: int = 0
    missing: int = 0
    other_schema: int = 0
    """Not used: another version of the fold made it, or of the state's contract."""
    damaged: int = 0
    failures: int = 0
    """Not written or not read: the store failed, or the state cannot be encoded."""


class Snapshots(Generic[StateT]):
    """The snapshots of one kind of state. `schema` is the version of the fold that makes it."""

    def __init__(
        self,
        store: EventStore,
        state: type[StateT],
        *,
        schema: int,
        every: int = SNAPSHOT_EVERY,
    ) -> None:
        if every < 1:
            raise SpecError(f"a snapshot each {every} events.", advice="It is from 1 on.")
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
        """The state as of the stream's snapshot, or None: then it is folded from all events."""
        statistics = self.statistics
        try:
            found = await self._threads.call(self._store.load_snapshot, stream)
        except StoreFailed as error:
            if isinstance(error, StoreDamaged):
                statistics.damaged += 1
            else:
                statistics.failures += 1
            LOGGER.warning("The snapshot of %r cannot be read and is left aside: %s", stream, error)
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
                raise StoreDamaged("its checksum is another one.")  # noqa: TRY301 - one way out
            fingerprint, body, extra, *beside = msgpack.unpackb(packed)
            if fingerprint != contract_key(self._state).fingerprint:
                self.statistics.other_schema += 1
                return None
            state = self._codec.decode(body, describe_contract(self._state).build, beside)
        except Exception as error:  # noqa: BLE001 - damaged bytes may be anything
            self.statistics.damaged += 1
            LOGGER.warning("The snapshot of %r is damaged and left aside: %s", found.stream, error)
            return None
        assert isinstance(state, self._state)
        self.statistics.used += 1
        return Loaded(state, found.version, extra)

    async def save(self, stream: str, version: int, state: StateT, extra: Any = None) -> bool:
        """Keep a snapshot. False when that fails: it costs time later, and nothing else.

        It fails when the store does, and for a state that is too large or cannot be encoded.
        """
        assert isinstance(state, self._state), state
        try:
            body, beside = self._codec.encode(state)
            fingerprint = contract_key(self._state).fingerprint
            packed = msgpack.packb([fingerprint, body, extra, *(bytes(b) for b in beside)])
            data = _checksum(stream, version, packed) + packed
            await self._threads.call(
                self._store.save_snapshot, Snapshot(stream, version, self._schema, data)
            )
        except (CallboardError, TypeError, ValueError, OverflowError) as error:
            self.statistics.failures += 1
            LOGGER.warning("A snapshot of %r was not written: %s", stream, error)
            return False
        self.statistics.saved += 1
        return True

    async def drop(self, stream: str) -> None:
        """Throw the stream's snapshots away; the next load folds its events."""
        await self._threads.call(self._store.drop_snapshots, stream)

    def close(self) -> None:
        """Let go of its thread. The store is its owner's to close."""
        self._threads.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        self.close()


def _checksum(stream: str, version: int, packed: bytes) -> bytes:
    digest = hashlib.blake2b(packed, digest_size=CHECKSUM_BYTES)
    digest.update(f"{version} {stream}".encode())
    return digest.digest()
