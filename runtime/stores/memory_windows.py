"""The hot store of metric windows in memory: for tests, and for what need not outlive a process."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from callboard.actors.metrics.ports import Extent, ShardState
from callboard.actors.metrics.query.columns import bare_rows, combine_rows, take_rows
from callboard.actors.metrics.query.readers import too_many_rows, too_many_series
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, SeriesKey

from .window_blocks import HotRange, fenced_shard, hot_ranges, period_ns

__all__ = ["MemoryMetricsStorage"]


class _Shard:
    def __init__(self) -> None:
        self.fence = 0
        self.changed = 0
        """The number of its last commit."""
        self.state = b""
        self.log: list[bytes] = []
        self.rows: Final[dict[tuple[int, int], WindowRows]] = {}
        """By width and number of the stretch."""


class MemoryMetricsStorage:
    """A `MetricsStorage` in memory. Any number of aggregators and readers share one object."""

    name = "memory"

    def __init__(self) -> None:
        self._shards: Final[dict[int, _Shard]] = {}
        self._commits = 0
        self._lock: Final = threading.RLock()

    def open(self) -> None:
        """See `MetricsStorage.open`."""

    def claim(self, shard: int, fence: int) -> ShardState:
        """See `MetricsStorage.claim`."""
        with self._lock:
            kept = self._owned(shard, fence)
            kept.fence = fence
            return ShardState(kept.state, tuple(kept.log))

    def _owned(self, shard: int, fence: int) -> _Shard:
        kept = self._shards.setdefault(shard, _Shard())
        if fence < kept.fence:
            raise fenced_shard(self.name, shard, fence, kept.fence)
        return kept

    def commit(
        self,
        shard: int,
        fence: int,
        *,
        log: bytes = b"",
        state: bytes | None = None,
        windows: Sequence[WindowRows] = (),
    ) -> None:
        """See `MetricsStorage.commit`."""
        with self._lock:
            kept = self._owned(shard, fence)
            if state is not None:
                kept.state = state
                kept.log.clear()
            elif log:
                kept.log.append(log)
            self._commits += 1
            kept.changed = self._commits
            for rows in windows:
                periods = rows.starts_ns // period_ns(rows.width_ns)
                for period in np.unique(periods).tolist():
                    place = (rows.width_ns, period)
                    parts = [take_rows(rows, np.flatnonzero(periods == period))]
                    if place in kept.rows:
                        parts.append(kept.rows[place])
                    kept.rows[place] = combine_rows(rows.width_ns, parts)

    def pack(self, shard: int, before_ns: int, blocks_max: int) -> int:
        """There is nothing to pack."""
        del shard, before_ns, blocks_max
        return 0

    def shards(self) -> list[int]:
        """See `MetricsStorage.shards`."""
        with self._lock:
            return list(self._shards)

    def extents(self) -> Mapping[int, Extent]:
        """See `MetricsStorage.extents`."""
        found: dict[int, Extent] = {}
        with self._lock:
            for kept in self._shards.values():
                for (width, _), rows in kept.rows.items():
                    first, until = int(rows.starts_ns.min()), int(rows.starts_ns.max()) + width
                    known = found.get(width, Extent(first, until))
                    found[width] = Extent(min(known.from_ns, first), max(known.to_ns, until))
        return found

    def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `MetricsStorage.series`."""
        found: set[SeriesKey] = set()
        with self._lock:
            widths = {width for kept in self._shards.values() for width, _ in kept.rows}
            for width in widths:
                found.update(self._rows(matchers, width, from_ns - width + 1, to_ns).series)
        if len(found) > limit:
            raise too_many_series(limit)
        return tuple(sorted(found))

    def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `MetricsStorage.windows`."""
        with self._lock:
            found = self._rows(matchers, width_ns, from_ns, to_ns)
        if len(found) > limit:
            raise too_many_rows(limit)
        return found

    def _rows(
        self,
        matchers: Sequence[Matcher],
        width_ns: int,
        from_ns: int,
        to_ns: int,
        shard: int | None = None,
    ) -> WindowRows:
        parts: list[WindowRows] = []
        for number, kept in self._shards.items():
            if shard not in (None, number):
                continue
            for (width, _), rows in kept.rows.items():
                if width != width_ns:
                    continue
                fits = (rows.starts_ns >= from_ns) & (rows.starts_ns < to_ns)
                accepted = [all(each.accepts(key) for each in matchers) for key in rows.series]
                fits &= np.array(accepted, bool)[rows.series_index]
                parts.append(take_rows(rows, np.flatnonzero(fits)))
        return combine_rows(width_ns, parts)

    def closed_before(self, width_ns: int, before_ns: int) -> list[HotRange]:
        """The stretches of each shard that ended by `before_ns`, the oldest first."""
        end = before_ns // period_ns(width_ns)
        with self._lock:
            found = sorted(
                (period, shard)
                for shard, kept in self._shards.items()
                for width, period in kept.rows
                if width == width_ns and period < end
            )
        return hot_ranges(width_ns, [(shard, period, 1) for period, shard in found])

    def read_range(
        self, shard: int, width_ns: int, from_ns: int, to_ns: int, *, bare: bool = False
    ) -> WindowRows:
        """See `HotWindows.read_range`."""
        with self._lock:
            rows = self._rows((), width_ns, from_ns, to_ns, shard)
        return bare_rows(rows) if bare else rows

    def read_parts(
        self, shard: int, width_ns: int, from_ns: int, to_ns: int
    ) -> Iterator[WindowRows]:
        """See `HotWindows.read_parts`. All of them are in memory anyway."""
        rows = self.read_range(shard, width_ns, from_ns, to_ns)
        if len(rows):
            yield rows

    def stamp_windows(self, shard: int, width_ns: int, from_ns: int, to_ns: int) -> str:
        """A text that changes with each change of these stretches; empty without windows."""
        with self._lock:
            places = self._places(shard, width_ns, from_ns, to_ns)
            return f"{len(places)}.{self._shards[shard].changed}" if places else ""

    def _places(self, shard: int, width_ns: int, from_ns: int, to_ns: int) -> list[tuple[int, int]]:
        rows = self._shards[shard].rows if shard in self._shards else {}
        length = period_ns(width_ns)
        return [
            (width, period)
            for width, period in rows
            if width == width_ns and from_ns <= period * length < to_ns
        ]

    def drop_windows(self, shard: int, width_ns: int, from_ns: int, to_ns: int) -> int:
        """Delete whole stretches of a shard; gives how many."""
        with self._lock:
            gone = self._places(shard, width_ns, from_ns, to_ns)
            for place in gone:
                del self._shards[shard].rows[place]
            return len(gone)

    def stamp(self, shard: int, width_ns: int, from_ns: int, to_ns: int) -> str:
        """A text that changes with every change of these windows; empty when there are none."""
        rows = self.read_range(shard, width_ns, from_ns, to_ns)
        return f"{len(rows)} {rows.revisions.sum()} {rows.counts.sum()}" if len(rows) else ""

    def drop_unchanged(
        self, shard: int, width_ns: int, from_ns: int, to_ns: int, stamp: str
    ) -> bool:
        """Delete whole stretches of a shard if they still have this stamp."""
        with self._lock:
            if self.stamp(shard, width_ns, from_ns, to_ns) != stamp:
                return False
            self.drop_windows(shard, width_ns, from_ns, to_ns)
            return True

    def close(self) -> None:
        """See `MetricsStorage.close`. The windows last as long as this object."""
