"""A simulated disk with the windows of metrics: it takes time, fails, and outlives all hosts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from callboard.actors.metrics.ports import Extent, HotStorage, ShardState
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, SeriesKey
from callboard.messages.storage.errors import CommitUnknown, StoreFull, StoreUnavailable
from callboard.runtime.stores.memory_windows import MemoryMetricsStorage
from callboard.runtime.testing.loop import Later

from .message_log import current_message_log

__all__ = ["HEALTHY", "WindowDisk", "WindowFaults", "window_store"]


@final
@dataclass(frozen=True, slots=True)
class WindowFaults:
    """The delays and the failures of a disk: probabilities for each commit, times in seconds."""

    write_max_s: float = 0.005
    unavailable: float = 0.0
    full: float = 0.0
    unknown: float = 0.0
    """A commit without an answer: it may be written, or not."""


HEALTHY: Final = WindowFaults()


class WindowDisk:
    """The disk of one world."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self.draw: Final = draw
        self.faults = HEALTHY
        self.kept: Final = MemoryMetricsStorage()


class _Store:
    """The disk as one process uses it: a `HotStorage` whose commits take virtual time."""

    def __init__(self, disk: WindowDisk) -> None:
        self._disk = disk

    def open(self) -> None:
        """See `MetricsStorage.open`."""

    def claim(self, shard: int, fence: int) -> ShardState:
        """See `MetricsStorage.claim`."""
        self._may_fail()
        return self._disk.kept.claim(shard, fence)

    def _may_fail(self) -> None:
        faults, draw = self._disk.faults, self._disk.draw
        chance = draw() if faults is not HEALTHY else 1.0
        if chance < faults.unavailable:
            raise StoreUnavailable("the disk does not answer.", may_have_run=False)
        if chance < faults.unavailable + faults.full:
            raise StoreFull("the disk is full.", may_have_run=False)

    def commit(
        self,
        shard: int,
        fence: int,
        *,
        log: bytes = b"",
        state: bytes | None = None,
        windows: Sequence[WindowRows] = (),
    ) -> Any:
        """See `MetricsStorage.commit`; the outcome comes later."""
        self._may_fail()
        disk, faults, draw = self._disk, self._disk.faults, self._disk.draw
        how = draw() if faults is not HEALTHY and draw() < faults.unknown else 1.0

        def write() -> None:
            if how < 0.5:
                raise CommitUnknown("the connection is lost; nothing is written.")
            disk.kept.commit(shard, fence, log=log, state=state, windows=windows)
            if how < 1.0:
                raise CommitUnknown("the connection is lost; all is written.")

        return Later(faults.write_max_s * draw(), write)

    def pack(self, shard: int, before_ns: int, blocks_max: int) -> int:
        """See `HotStorage.pack`."""
        return self._disk.kept.pack(shard, before_ns, blocks_max)

    def shards(self) -> Sequence[int]:
        """See `MetricsStorage.shards`."""
        return self._disk.kept.shards()

    def extents(self) -> Mapping[int, Extent]:
        """See `MetricsStorage.extents`."""
        return self._disk.kept.extents()

    def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `MetricsStorage.series`."""
        return self._disk.kept.series(matchers, from_ns, to_ns, limit)

    def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `MetricsStorage.windows`."""
        return self._disk.kept.windows(matchers, width_ns, from_ns, to_ns, limit)

    def close(self) -> None:
        """See `MetricsStorage.close`; the disk stays."""


def window_store() -> HotStorage:
    """The disk of the world whose step this is."""
    disk: WindowDisk = current_message_log().window_disk
    return _Store(disk)
