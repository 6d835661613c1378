"""Snapshots of executions: a resume reads the newest one, and the events after it.

A thread writes them from the log while the execution goes on: after the first `EVERY` events of
an execution, and again each time it has grown by half. So all of them together cost about three
times as much as folding the execution once, however long it becomes. The count is of events, not
of sub-tasks: a busy turn is one event, and is folded faster than it is written.

Deleting them loses nothing. A snapshot is ignored when it is damaged, of another release, or of a
stream that has another event at the snapshot's version.
"""

import asyncio
import logging
from typing import Final

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.events import EventStore, RecordedEvent

from ...journal.snapshots import Snapshots, SnapshotStatistics
from ...kernel.threads import ThreadRunner
from .events import stream_of
from .fold import ExecutionHistory
from .reading import read_history
from .snapshot import SCHEMA, pack_history, unpack_history

__all__ = ["EVERY", "HistorySnapshots"]

LOGGER: Final = logging.getLogger("callboard.journal")
EVERY: Final = 1_000
GROWTH: Final = 1.5
CLOSE_S: Final = 10.0
BYTES_MAX: Final = 128 * 2**20
"""A larger snapshot is not written: it would delay the journal for too long."""


class HistoryMark(Contract, name="callboard.execution.snapshot"):
    """The execution of a snapshot, whose history is in the snapshot's extra data."""

    execution_id: str


class HistorySnapshots:
    """The snapshots of one journal's executions. Belongs to one event loop."""

    def __init__(self, store: EventStore, *, every: int = EVERY) -> None:
        self._store = store
        self._every = every
        self._snapshots = Snapshots(store, HistoryMark, schema=SCHEMA, every=every)
        self._threads = ThreadRunner("histories")
        self._due: dict[str, int] = {}
        """The version at which each running execution gets its next snapshot."""
        self._writing: dict[str, asyncio.Task[None]] = {}
        self._is_closed = False

    @property
    def statistics(self) -> SnapshotStatistics:
        """The counts of loads and saves."""
        return self._snapshots.statistics

    async def load(self, execution_id: str) -> ExecutionHistory | None:
        """The history in the newest snapshot; None when there is no usable one."""
        loaded = await self._snapshots.load(stream_of(execution_id))
        if loaded is None:
            return None
        try:
            history = await self._threads.call(unpack_history, loaded.extra)
            if (history.id, history.version) != (execution_id, loaded.version):
                raise ValueError(f"it is of {history.id!r} at {history.version}")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - damaged bytes may raise anything
            self.statistics.damaged += 1
            LOGGER.warning("The snapshot of execution %s is ignored: %r", execution_id, error)
            return None
        self._due[execution_id] = self._next(history.version)
        return history

    def _next(self, version: int) -> int:
        return max(self._every, int(version * GROWTH))

    def committed(self, execution_id: str, version: int) -> None:
        """Note the version of an execution; starts to write a snapshot if one is due."""
        due = self._due.get(execution_id, self._every)
        if version < due or execution_id in self._writing or self._is_closed:
            return
        self._due[execution_id] = self._next(version)
        writing = asyncio.get_running_loop().create_task(self._write(execution_id))
        self._writing[execution_id] = writing
        writing.add_done_callback(lambda _task: self._writing.pop(execution_id, None))

    async def _write(self, execution_id: str) -> None:
        try:
            base = await self.load(execution_id)
            version, data = await self._threads.call(self._made, execution_id, base)
        except CallboardError as error:
            self.statistics.failures += 1
            LOGGER.warning(
                "The snapshot of execution %s could not be written: %s", execution_id, error
            )
            return
        self._due[execution_id] = self._next(version)
        if len(data) <= BYTES_MAX:
            mark = HistoryMark(execution_id=execution_id)
            await self._snapshots.save(stream_of(execution_id), version, mark, data)

    def _made(self, execution_id: str, base: ExecutionHistory | None) -> tuple[int, bytes]:
        """In a thread: the packed history of the events in the log, and its version."""

        async def read(stream: str, *, after: int = 0, limit: int = 1_000) -> list[RecordedEvent]:
            return self._store.read_stream(stream, after=after, limit=limit)

        history = asyncio.run(read_history(read, execution_id, base=base))
        assert history is not None, "something of it was committed"
        return history.version, pack_history(history)

    def forget(self, execution_id: str) -> None:
        """Note that an execution has ended here."""
        self._due.pop(execution_id, None)

    async def close(self) -> None:
        """Finish the snapshots that are being written, for at most 10 s. Close the store after."""
        self._is_closed = True
        if self._writing:
            _, late = await asyncio.wait(tuple(self._writing.values()), timeout=CLOSE_S)
            for writing in late:
                writing.cancel()
        self._snapshots.close()
        self._threads.close()
