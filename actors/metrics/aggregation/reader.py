"""Readers of windows that are in the memory of aggregators, and of those with the store behind."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from callboard.messages.core.contract import Request

from ..ports import Extent, WindowReader
from ..query.columns import combine_rows
from ..query.readers import CombinedReader, too_many_rows, too_many_series
from ..rows import WindowRows
from ..series import Matcher, SeriesKey
from .messages import (
    NewestRead,
    ReadNewest,
    ReadNewestExtents,
    ReadNewestSeries,
    matchers_text,
)
from .packed import series_from, unpack_windows

__all__ = ["AggregatorsReader", "SystemReader"]

Asks = Callable[[Request[Any]], Awaitable[Any]]
"""Asks the actor that offers a request, such as `System.ask`."""


class AggregatorsReader:
    """The windows in the memory of all aggregators of a system: the newest, also open ones."""

    def __init__(self, ask: Asks, shards: int) -> None:
        self._ask = ask
        self._shards = range(shards)

    async def extents(self) -> Mapping[int, Extent]:
        """See `WindowReader.extents`."""
        answers = await self._all([ReadNewestExtents(shard=shard) for shard in self._shards])
        found: dict[int, Extent] = {}
        for answer in answers:
            for width, extent in answer.extents_by_width().items():
                known = found.get(width, extent)
                found[width] = Extent(
                    min(known.from_ns, extent.from_ns), max(known.to_ns, extent.to_ns)
                )
        return found

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `WindowReader.series`."""
        texts = matchers_text(matchers)
        answers = await self._all(
            [
                ReadNewestSeries(
                    shard=shard, matchers=texts, from_ns=from_ns, to_ns=to_ns, limit=limit
                )
                for shard in self._shards
            ]
        )
        found = {text for answer in answers for text in answer.series}
        if len(found) > limit:
            raise too_many_series(limit)
        return tuple(sorted(map(series_from, found)))

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `WindowReader.windows`."""
        rows, _ = await self.newest(matchers, width_ns, from_ns, to_ns, limit)
        return rows

    async def newest(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> tuple[WindowRows, int]:
        """The windows in memory, and the time from which on these are all that there are."""
        texts = matchers_text(matchers)
        answers: list[NewestRead] = await self._all(
            [
                ReadNewest(
                    shard=shard,
                    matchers=texts,
                    width_ns=width_ns,
                    from_ns=from_ns,
                    to_ns=to_ns,
                    limit=limit,
                )
                for shard in self._shards
            ]
        )
        rows = combine_rows(width_ns, [unpack_windows(answer.data) for answer in answers])
        if len(rows) > limit:
            raise too_many_rows(limit)
        return rows, max((answer.complete_from_ns for answer in answers), default=to_ns)

    async def _all(self, requests: Sequence[Request[Any]]) -> list[Any]:
        return await asyncio.gather(*(self._ask(request) for request in requests))


class SystemReader:
    """All windows of a system. The newest come from memory, and only older ones from a store."""

    def __init__(self, aggregators: AggregatorsReader, *stores: WindowReader) -> None:
        """`stores` are in the direction in which windows move: the hot store, the archive."""
        self._aggregators = aggregators
        self._stores: Final = CombinedReader(stores)
        self._all: Final = CombinedReader((aggregators, *stores))

    async def extents(self) -> Mapping[int, Extent]:
        """See `WindowReader.extents`."""
        return await self._all.extents()

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `WindowReader.series`."""
        return await self._all.series(matchers, from_ns, to_ns, limit)

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `WindowReader.windows`."""
        newest, complete_from_ns = await self._aggregators.newest(
            matchers, width_ns, from_ns, to_ns, limit
        )
        if from_ns >= complete_from_ns:
            return newest
        # A window that closes meanwhile is in the store by now.
        stored = await self._stores.windows(matchers, width_ns, from_ns, to_ns, limit)
        rows = combine_rows(width_ns, [newest, stored])
        if len(rows) > limit:
            raise too_many_rows(limit)
        return rows
