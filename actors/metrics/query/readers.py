"""Readers of windows: in memory, and one over several others."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from callboard.messages.core.errors import UsageError

from ..ports import Extent, WindowReader
from ..rows import WindowRows
from ..series import Matcher, SeriesKey
from .columns import combine_rows, take_rows

__all__ = ["CombinedReader", "MemoryWindows", "too_many_rows", "too_many_series"]


class MemoryWindows:
    """Windows in memory: for tests, benchmarks, and windows that come from elsewhere."""

    def __init__(self, rows: Iterable[WindowRows] = ()) -> None:
        self._tables: Final[dict[int, _Table]] = {}
        for each in rows:
            self.add(each)

    def add(self, rows: WindowRows) -> None:
        """Add windows; a newer revision of a window replaces it."""
        known = self._tables.get(rows.width_ns)
        parts = [rows] if known is None else [known.rows, rows]
        self._tables[rows.width_ns] = _Table(combine_rows(rows.width_ns, parts))

    async def extents(self) -> Mapping[int, Extent]:
        """See `WindowReader.extents`."""
        return {
            width: Extent(int(starts.min()), int(starts.max()) + width)
            for width, table in self._tables.items()
            if len(starts := table.rows.starts_ns)
        }

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `WindowReader.series`."""
        found: set[SeriesKey] = set()
        for width, table in self._tables.items():
            # A window has a part of the time when it begins up to one width before it.
            for key, places in table.places(matchers, from_ns - width + 1, to_ns):
                if len(places):
                    found.add(key)
        if len(found) > limit:
            raise too_many_series(limit)
        return tuple(sorted(found))

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `WindowReader.windows`."""
        table = self._tables.get(width_ns)
        if table is None:
            return WindowRows.empty(width_ns)
        chosen = [places for _, places in table.places(matchers, from_ns, to_ns)]
        if sum(map(len, chosen)) > limit:
            raise too_many_rows(limit)
        if not any(map(len, chosen)):
            return WindowRows.empty(width_ns)
        places = [np.arange(each.start, each.stop) for each in chosen]
        return take_rows(table.rows, np.concatenate(places))


class _Table:
    """The windows of one width, sorted by series and start."""

    def __init__(self, rows: WindowRows) -> None:
        self.rows: Final = rows
        self._bounds: Final = np.searchsorted(
            rows.series_index, np.arange(len(rows.series) + 1)
        ).tolist()

    def places(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int
    ) -> Iterable[tuple[SeriesKey, range]]:
        """The rows of each series that fulfils all matchers, with starts in `[from_ns, to_ns)`."""
        for number, key in enumerate(self.rows.series):
            if all(matcher.accepts(key) for matcher in matchers):
                begin, end = self._bounds[number], self._bounds[number + 1]
                starts = self.rows.starts_ns[begin:end]
                first, last = np.searchsorted(starts, (from_ns, to_ns)).tolist()
                yield key, range(begin + first, begin + last)


class CombinedReader:
    """One reader over several: each window once, in its newest revision.

    Name the readers in the direction in which windows move: those in memory, the hot store, the
    archive. They are asked one after the other in this order. A window that leaves one of them
    during a query has arrived in the next one by then, so that it is never missed.
    """

    def __init__(self, readers: Sequence[WindowReader]) -> None:
        self._readers: Final = tuple(readers)

    async def extents(self) -> Mapping[int, Extent]:
        """See `WindowReader.extents`."""
        found: dict[int, Extent] = {}
        for reader in self._readers:
            for width, extent in (await reader.extents()).items():
                known = found.get(width, extent)
                found[width] = Extent(
                    min(known.from_ns, extent.from_ns), max(known.to_ns, extent.to_ns)
                )
        return found

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `WindowReader.series`."""
        found: set[SeriesKey] = set()
        for reader in self._readers:
            found.update(await reader.series(matchers, from_ns, to_ns, limit))
        if len(found) > limit:
            raise too_many_series(limit)
        return tuple(sorted(found))

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `WindowReader.windows`."""
        parts = [
            await reader.windows(matchers, width_ns, from_ns, to_ns, limit)
            for reader in self._readers
        ]
        full = [part for part in parts if len(part)]
        found = full[0] if len(full) == 1 else combine_rows(width_ns, full)
        if len(found) > limit:
            raise too_many_rows(limit)
        return found


def too_many_series(limit: int) -> UsageError:
    """The error of a query that selects more series than its limit."""
    return UsageError(
        f"the query selects more than {limit:,} series.",
        advice="Name more tags, or raise the limit.",
    )


def too_many_rows(limit: int) -> UsageError:
    """The error of a query that reads more windows than its limit."""
    return UsageError(
        f"the query reads more than {limit:,} windows.",
        advice="Ask for a shorter time, a longer step or fewer series, or raise the limit.",
    )
