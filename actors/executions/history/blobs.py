"""Results that are too large for the journal: stored as blobs, to which events refer.

A blob is durable before the event that refers to it is written, so a reference is valid until the
blob is deleted. While the store is full or unavailable, an attempt waits, as the journal does for
its store. After that the attempt fails, with an error that says that it has run.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgpack

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError, InternalError, error_from_data
from callboard.messages.storage.blobs import BlobDamaged, BlobGone, BlobRef, BlobStore
from callboard.messages.storage.errors import StoreDamaged, StoreFault, StoreFull, StoreUnavailable
from callboard.messages.storage.errors import fault_of as kind_of

from ...kernel.inspection.metric_sources import Name, Reading
from ...kernel.threads import ThreadRunner
from .events import Packed
from .fold import ExecutionHistory

__all__ = ["BlobStatistics", "Blobs", "Limits", "unpacked"]

THREADS: Final = 2
HEAD_BYTES: Final = 4
"""A blob begins with the length of the packed list of part sizes, in this many bytes."""
Stored = Callable[[BlobRef | CallboardError], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of waiting for a store that is full or unavailable; times in seconds."""

    patience_s: float = 30.0
    retry_first_s: float = 0.02
    retry_max_s: float = 1.0


@dataclass(frozen=True, slots=True)
class BlobStatistics:
    """The counts of one `Blobs` since it was made."""

    stored: int
    shared: int
    """Stored results that equal an earlier one, with which they share a blob."""
    bytes: int
    """Bytes of the stored blobs, without shared ones."""
    lost: int
    """Results that were gone or damaged when an execution was resumed."""
    faults: Counter[StoreFault]
    """Failed attempts to store a result, by kind of fault."""


class Blobs:
    """The blobs of all executions of one driver. Belongs to one event loop."""

    def __init__(self, store: BlobStore, limits: Limits | None = None) -> None:
        self.store: Final = store
        self._limits = limits = limits or Limits()
        self._backoff = Backoff(limits.retry_first_s, limits.retry_max_s)
        self._threads = ThreadRunner("blobs", THREADS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stored = self._shared = self._bytes = self._lost = 0
        self._faults: Counter[StoreFault] = Counter()

    def keep(self, packed: Packed, done: Stored) -> None:
        """Store a result; `done` is called on the loop, once, when it is durable or has failed."""
        sizes: bytes = msgpack.packb([len(packed.body), *map(len, packed.buffers)])
        head = len(sizes).to_bytes(HEAD_BYTES, "big") + sizes
        parts = (head, packed.body, *packed.buffers)
        task = asyncio.get_running_loop().create_task(self._keep(parts, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, parts: Sequence[bytes], done: Stored) -> None:
        limits, now = self._limits, asyncio.get_running_loop().time
        until_s, failures = now() + limits.patience_s, 0
        while True:
            try:
                ref, is_new = await self._threads.call(self.store.put, parts)
            except Exception as error:  # noqa: BLE001 - `done` gets any error of a store
                failed = _failure(self.store.name, error)
                self._faults[kind_of(failed)] += 1
                passes = isinstance(failed, StoreUnavailable | StoreFull)
                failures += 1
                wait_s = self._backoff.delay_s(failures)
                if not passes or now() + wait_s > until_s:
                    done(failed)
                    return
                await asyncio.sleep(wait_s)
                continue
            self._stored += 1
            self._shared += not is_new
            self._bytes += ref.size_bytes if is_new else 0
            done(ref)
            return

    async def lost(self, history: ExecutionHistory) -> dict[int, CallboardError]:
        """The sub-tasks with lost or damaged results, and why. Raises what the store raises."""
        found: dict[int, CallboardError] = {}
        for index, (_, packed) in history.results.items():
            if packed.blob is None:
                continue
            try:
                await self._threads.call(self.store.get, packed.blob)
            except (BlobGone, BlobDamaged) as error:
                found[index] = error
        self._lost += len(found)
        return found

    def statistics(self) -> BlobStatistics:
        """The counts now."""
        return BlobStatistics(
            self._stored, self._shared, self._bytes, self._lost, Counter(self._faults)
        )

    def reading(self) -> Reading:
        """The same counts as metrics of the host."""
        counts: dict[Name, float] = {
            Name("callboard_blobs_stored"): self._stored,
            Name("callboard_blobs_shared"): self._shared,
            Name("callboard_blobs_bytes"): self._bytes,
            Name("callboard_blobs_lost"): self._lost,
        }
        for fault in StoreFault:
            counts[Name("callboard_blobs_faults", fault)] = self._faults[fault]
        return Reading(counts, {})

    async def close(self) -> None:
        """Stop storing; a later cleanup deletes blobs without a reference."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.close()


def unpacked(packed: Packed, data: bytes) -> Packed:
    """The packed result that was stored as a blob. Raises `StoreDamaged`."""
    try:
        at = HEAD_BYTES + int.from_bytes(data[:HEAD_BYTES], "big")
        parts = []
        for size in msgpack.unpackb(data[HEAD_BYTES:at]):
            parts.append(data[at : at + size])
            at += size
        body, *buffers = parts
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise StoreDamaged(f"a blob of {len(data)} bytes holds no result: {error!r}.") from error
    return Packed(packed.contract, body, tuple(buffers))


def _failure(name: str, error: Exception) -> CallboardError:
    """The error of an attempt whose result cannot be stored; it says that the attempt has run."""
    if not isinstance(error, CallboardError):
        failed = InternalError(f"{name} failed: {error!r}.", may_have_run=True)
        failed.__cause__ = error
        return failed
    data = error.to_data()
    return error_from_data({**data, "details": {**data["details"], "may_have_run": True}})
