"""Stores in memory: for tests, and for data that need not outlive the process."""

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from callboard.messages.core.errors import CallboardError
from callboard.messages.core.fences import is_replaced
from callboard.messages.storage.errors import WriterFenced
from callboard.messages.storage.events import (
    ANY,
    Append,
    Appended,
    EventStore,
    NewEvent,
    RecordedEvent,
    Snapshot,
)
from callboard.messages.storage.stores import StateRow

from .rules import (
    EVENT_BYTES_MAX,
    check_append,
    check_new_stream,
    replaced_writer,
    reused_id,
    wrong_version,
)

__all__ = ["MemoryEventStore", "MemoryReadModelStore", "MemoryStateStore"]


class MemoryEventStore:
    """An `EventStore` in memory. Several stores may share one log: see `sibling`."""

    name = "memory"

    def __init__(
        self,
        *,
        event_bytes_max: int = EVENT_BYTES_MAX,
        wall_time: Callable[[], float] = time.time,
        log: "_Log | None" = None,
    ) -> None:
        self._event_bytes_max = event_bytes_max
        self._wall_time = wall_time
        self._log = _Log() if log is None else log
        self._epoch = -1

    def second_handle(self) -> EventStore:
        """A second store on the same log, as another process opens it."""
        return MemoryEventStore(
            event_bytes_max=self._event_bytes_max, wall_time=self._wall_time, log=self._log
        )

    def open(self) -> None:
        """See `EventStore.open`. There is nothing to create."""

    def take_over(self, owner: str, fence: int = 0) -> int:
        """See `EventStore.take_over`."""
        with self._log.lock:
            if is_replaced(fence, self._log.epoch):
                raise replaced_writer(self.name, self._log.owner, self._log.epoch, fence)
            self._log.epoch = max(self._log.epoch + 1, fence)
            self._log.owner = owner
            self._epoch = self._log.epoch
            return self._epoch

    def commit(self, appends: Sequence[Append]) -> list[Appended | CallboardError]:
        """See `EventStore.commit`."""
        log = self._log
        with log.lock:
            if self._epoch != log.epoch:
                raise WriterFenced(
                    f"{self.name}: {log.owner or 'nobody'} writes this log (epoch {log.epoch}), "
                    f"not the writer of epoch {self._epoch}.",
                    may_have_run=False,
                    epoch=log.epoch,
                )
            now = self._wall_time()
            return [self._append(append, now) for append in appends]

    def _append(self, append: Append, now: float) -> Appended | CallboardError:
        log = self._log
        refused = check_append(append, self._event_bytes_max)
        if refused is None and append.stream not in log.streams:
            refused = check_new_stream(append.stream)
        if refused is not None:
            return refused
        stream = log.streams.get(append.stream, [])
        known = [log.by_id.get(event.id) for event in append.events]
        if any(known) or len({event.id for event in append.events}) < len(known):
            return self._repeat(append, known)
        last = log.events[stream[-1] - 1].id if stream else b""
        if append.expected not in (ANY, len(stream)) or append.follows not in (b"", last):
            return wrong_version(append, len(stream))
        first = len(log.events) + 1
        stream = log.streams.setdefault(append.stream, [])
        for event in append.events:
            self._record(append.stream, event, now, stream)
        return Appended(first, len(log.events), len(stream))

    def _record(self, name: str, event: NewEvent, now: float, stream: list[int]) -> None:
        log = self._log
        position = len(log.events) + 1
        log.by_id[event.id] = position
        stream.append(position)
        recorded = RecordedEvent(
            position, name, len(stream), event.id, event.kind, event.schema, event.data,
            event.metadata, now,
        )  # fmt: skip
        log.events.append(recorded)

    def _repeat(self, append: Append, known: Sequence[int | None]) -> Appended | CallboardError:
        first = known[0] if known else None
        if first is None or list(known) != list(range(first, first + len(known))):
            return reused_id(append)
        events = self._log.events[first - 1 : first - 1 + len(known)]
        if any(event.stream != append.stream for event in events):
            return reused_id(append)
        return Appended(first, events[-1].position, events[-1].version, is_repeat=True)

    def head(self) -> int:
        """See `EventStore.head`."""
        return len(self._log.events)

    def version_of(self, stream: str) -> int:
        """See `EventStore.version_of`."""
        return len(self._log.streams.get(stream, ()))

    def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """See `EventStore.read`."""
        events = self._log.events
        if kinds is None:
            return events[after : after + limit]
        found: list[RecordedEvent] = []
        for position in range(after, len(events)):
            if events[position].kind in kinds:
                found.append(events[position])
                if len(found) == limit:
                    break
        return found

    def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore.read_stream`."""
        positions = self._log.streams.get(stream, [])
        if backwards:
            end = after - 1 if after else len(positions)
            chosen = positions[max(0, end - limit) : end][::-1]
        else:
            chosen = positions[after : after + limit]
        return [self._log.events[position - 1] for position in chosen]

    def streams(self, prefix: str = "", *, after: str = "", limit: int = 1_000) -> list[str]:
        """See `EventStore.streams`."""
        names = sorted(name for name in tuple(self._log.streams) if name.startswith(prefix))
        start = bisect_right(names, after) if after else 0
        return names[start : start + limit]

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See `EventStore.save_snapshot`."""
        self._log.snapshots[snapshot.stream] = snapshot

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """See `EventStore.load_snapshot`."""
        return self._log.snapshots.get(stream)

    def drop_snapshots(self, stream: str) -> None:
        """See `EventStore.drop_snapshots`."""
        self._log.snapshots.pop(stream, None)

    def close(self) -> None:
        """See `EventStore.close`. The log lasts as long as a store refers to it."""


class _Log:
    """The log that several stores share."""

    def __init__(self) -> None:
        self.lock: Final = threading.Lock()
        self.events: Final[list[RecordedEvent]] = []
        self.streams: Final[dict[str, list[int]]] = {}
        self.by_id: Final[dict[bytes, int]] = {}
        self.snapshots: Final[dict[str, Snapshot]] = {}
        self.epoch = 0
        self.owner = ""


class MemoryStateStore:
    """A `StateStore` in memory."""

    name = "memory"

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, StateRow]] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        """See `StateStore.open`."""

    def upsert(self, table: str, rows: Sequence[StateRow]) -> list[bool]:
        """See `StateStore.upsert`."""
        with self._lock:
            stored = self._tables.setdefault(table, {})
            newer: list[bool] = []
            for row in rows:
                before = stored.get(row.id)
                newer.append(before is None or row.version > before.version)
                if newer[-1]:
                    stored[row.id] = row
            return newer

    def find_by_ids(self, table: str, ids: Sequence[str]) -> list[StateRow | None]:
        """See `StateStore.find_by_ids`."""
        stored = self._tables.get(table, {})
        return [stored.get(id_) for id_ in ids]

    def delete(self, table: str, ids: Sequence[str]) -> None:
        """See `StateStore.delete`."""
        with self._lock:
            stored = self._tables.get(table, {})
            for id_ in ids:
                stored.pop(id_, None)

    def close(self) -> None:
        """See `StateStore.close`."""


class MemoryReadModelStore:
    """A `ReadModelStore` in memory."""

    name = "memory"

    def __init__(self) -> None:
        self._models: dict[str, dict[str, bytes]] = {}
        self._positions: dict[str, int] = {}
        self._meanings: dict[str, str] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        """See `ReadModelStore.open`."""

    def position(self, model: str) -> int:
        """See `ReadModelStore.position`."""
        return self._positions.get(model, 0)

    def apply(
        self, model: str, before: int, after: int, changes: Mapping[str, bytes | None]
    ) -> bool:
        """See `ReadModelStore.apply`."""
        with self._lock:
            if self._positions.get(model, 0) != before:
                return False
            values = self._models.setdefault(model, {})
            for key, value in changes.items():
                if value is None:
                    values.pop(key, None)
                else:
                    values[key] = value
            self._positions[model] = after
            return True

    def get_many(self, model: str, keys: Sequence[str]) -> list[bytes | None]:
        """See `ReadModelStore.get_many`."""
        values = self._models.get(model, {})
        return [values.get(key) for key in keys]

    def items(
        self, model: str, prefix: str = "", *, after: str = "", limit: int = 1_000
    ) -> list[tuple[str, bytes]]:
        """See `ReadModelStore.items`."""
        with self._lock:
            values = dict(self._models.get(model, {}))
        keys = sorted(values)
        start = max(bisect_left(keys, prefix), bisect_right(keys, after) if after else 0)
        found: list[tuple[str, bytes]] = []
        for key in keys[start:]:
            if not key.startswith(prefix) or len(found) == limit:
                break
            found.append((key, values[key]))
        return found

    def promote(self, name: str, model: str) -> None:
        """See `ReadModelStore.promote`."""
        self._meanings[name] = model

    def meaning(self, name: str) -> str:
        """See `ReadModelStore.meaning`."""
        return self._meanings.get(name, name)

    def drop(self, model: str) -> None:
        """See `ReadModelStore.drop`."""
        with self._lock:
            self._models.pop(model, None)
            self._positions.pop(model, None)

    def close(self) -> None:
        """See `ReadModelStore.close`."""
