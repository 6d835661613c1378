"""A simulated disk with one event log: it takes time, it fails, and it forgets unsynced commits.

A commit is written, then synced, then answered, each at its own virtual time. A reader sees
synced commits. When the machine crashes, unsynced commits may be lost, from some commit on. A
commit on its way is complete or absent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from callboard.messages.core.errors import CallboardError
from callboard.messages.core.fences import is_replaced
from callboard.messages.storage.errors import (
    CommitUnknown,
    StoreFull,
    StoreUnavailable,
    WriterFenced,
)
from callboard.messages.storage.events import Append, Appended, NewEvent, RecordedEvent, Snapshot
from callboard.runtime.stores.memory import MemoryEventStore
from callboard.runtime.stores.rules import replaced_writer
from callboard.runtime.testing.loop import Later

__all__ = ["NO_DISK_FAULTS", "DiskFaults", "SimulatedDisk", "SimulatedEventStore"]

ALL: Final = 1_000_000


@final
@dataclass(frozen=True, slots=True)
class DiskFaults:
    """The delays and the failures of a disk: probabilities for each call, times in seconds."""

    write_max_s: float = 0.001
    sync_max_s: float = 0.004
    unavailable: float = 0.0
    full: float = 0.0
    unknown: float = 0.0
    """A commit without an answer: it may be written, and synced, or not."""


NO_DISK_FAULTS: Final = DiskFaults()


class SimulatedDisk:
    """The disk survives every process of a world; `on_synced` gets each event once."""

    def __init__(
        self,
        draw: Callable[[], float],
        wall_time: Callable[[], float],
        on_synced: Callable[[RecordedEvent], None],
    ) -> None:
        self.draw: Final = draw
        self.faults = NO_DISK_FAULTS
        self.epoch = 0
        self.owner = ""
        self.synced = 0
        """The last position that a crash cannot lose."""
        self.under_way: list[tuple[int, Sequence[Append]]] = []
        """Commits that are not written yet, with their writers' epochs."""
        self._wall_time = wall_time
        self._on_synced = on_synced
        self._ends: list[int] = []
        """The end positions of written, unsynced commits."""
        self.log = self._new_log()

    def _new_log(self) -> MemoryEventStore:
        log = MemoryEventStore(wall_time=self._wall_time)
        log.take_over("the disk")
        return log

    def write(self, epoch: int, appends: Sequence[Append]) -> list[Appended | CallboardError]:
        """Write one transaction, which checks the epoch. Raises `WriterFenced`."""
        if epoch != self.epoch:
            raise WriterFenced(
                f"{self.owner} writes this log (epoch {self.epoch}), not epoch {epoch}.",
                may_have_run=False,
                epoch=self.epoch,
            )
        results = self.log.commit(appends)
        self._ends.append(self.log.head())
        return results

    def sync(self) -> None:
        """Sync all written commits."""
        self._ends.clear()
        head = self.log.head()
        if head > self.synced:
            found = self.log.read(self.synced, head - self.synced)
            self.synced = head
            for event in found:
                self._on_synced(event)

    def crash(self) -> None:
        """Crash the machine; it comes back with the commits that the disk has kept."""
        draw = self.draw
        under_way, self.under_way = self.under_way, []
        for epoch, appends in under_way:
            if epoch == self.epoch and draw() < 0.5:
                self.write(epoch, appends)
        kept = [self.synced, *self._ends]
        end = kept[int(draw() * len(kept))]
        if end < self.log.head():
            before, self.log = self.log.read(0, end), self._new_log()
            for event in before:
                new = NewEvent(event.id, event.kind, event.data, event.schema, event.metadata)
                self.log.commit([Append(event.stream, (new,))])
        self.sync()


class SimulatedEventStore:
    """The disk as one process uses it: an `EventStore` whose calls take virtual time."""

    name = "simulated"

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self._epoch = -1

    def open(self) -> None:
        """See `EventStore.open`."""

    def take_over(self, owner: str, fence: int = 0) -> int:
        """See `EventStore.take_over`."""
        disk = self._disk
        if is_replaced(fence, disk.epoch):
            raise replaced_writer(self.name, disk.owner, disk.epoch, fence)
        disk.epoch = max(disk.epoch + 1, fence)
        disk.owner, self._epoch = owner, disk.epoch
        return disk.epoch

    def commit(self, appends: Sequence[Append]) -> Any:
        """See `EventStore.commit`; the outcome comes later."""
        disk, faults, draw = self._disk, self._disk.faults, self._disk.draw
        chance = draw() if faults is not NO_DISK_FAULTS else 1.0
        if chance < faults.unavailable:
            raise StoreUnavailable("the disk does not answer.", may_have_run=False)
        if chance < faults.unavailable + faults.full:
            raise StoreFull("the disk is full.", may_have_run=False)
        is_unknown = chance < faults.unavailable + faults.full + faults.unknown
        entry = (self._epoch, appends)
        disk.under_way.append(entry)

        def written() -> Any:
            disk.under_way.remove(entry)
            how = draw() if is_unknown else 1.0
            if how < 0.4:
                raise CommitUnknown("the connection is lost; the commit is not written.")
            results = disk.write(self._epoch, appends)
            if how < 0.7:
                raise CommitUnknown("the connection is lost; the commit is written.")

            def synced() -> list[Appended | CallboardError]:
                disk.sync()
                if is_unknown:
                    raise CommitUnknown("the connection is lost; the commit is synced.")
                return results

            return Later(faults.sync_max_s * draw(), synced)

        return Later(faults.write_max_s * draw(), written)

    # --- reading: synced commits -----------------------------------------------------------

    def _may_read(self) -> None:
        faults = self._disk.faults
        if faults.unavailable and self._disk.draw() < faults.unavailable:
            raise StoreUnavailable("the disk does not answer.", may_have_run=False)

    def head(self) -> int:
        """See `EventStore.head`."""
        return self._disk.synced

    def version_of(self, stream: str) -> int:
        """See `EventStore.version_of`."""
        return len(self._stream(stream))

    def _stream(self, stream: str) -> list[RecordedEvent]:
        found = self._disk.log.read_stream(stream, limit=ALL)
        return [event for event in found if event.position <= self._disk.synced]

    def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """See `EventStore.read`."""
        self._may_read()
        found = self._disk.log.read(after, limit, kinds=kinds)
        return [event for event in found if event.position <= self._disk.synced]

    def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore.read_stream`."""
        self._may_read()
        found = self._stream(stream)
        if backwards:
            return found[: after - 1 if after else None][::-1][:limit]
        return found[after : after + limit]

    def streams(self, prefix: str = "", *, after: str = "", limit: int = 1_000) -> list[str]:
        """See `EventStore.streams`."""
        return self._disk.log.streams(prefix, after=after, limit=limit)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See `EventStore.save_snapshot`."""
        self._disk.log.save_snapshot(snapshot)

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """See `EventStore.load_snapshot`."""
        return self._disk.log.load_snapshot(stream)

    def drop_snapshots(self, stream: str) -> None:
        """See `EventStore.drop_snapshots`."""
        self._disk.log.drop_snapshots(stream)

    def close(self) -> None:
        """See `EventStore.close`; the disk stays."""
