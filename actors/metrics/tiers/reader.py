"""A reader of the windows in segments.

It asks the catalogue for each query, and then has a lease on the files (`catalogue.LEASE_S`). When
a file is gone all the same (the query was slow, and a move is over), it asks once more.

A segment that is missing or damaged costs its own windows only, where the one who asks allows it
(`query/missing.py`). A store that is away fails the query: it may be back for the next one.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from callboard.messages.core.errors import StoreFailed
from callboard.messages.storage.errors import StoreDamaged, StoreUnavailable

from ...kernel.inspection.metric_sources import Name, Reading
from ...kernel.threads import ThreadRunner
from ...storage.catalogue import LEASE_S, Catalogue
from ...storage.objects import ObjectMissing, ObjectStore
from ...storage.segments import Segment, SegmentState
from ..ports import Extent
from ..query.columns import combine_rows
from ..query.missing import note_missing
from ..query.readers import too_many_rows, too_many_series
from ..rows import WINDOWS_NS, WindowRows
from ..series import Matcher, SeriesKey
from .content import fetching
from .ports import WindowFormat
from .rules import dataset_of

__all__ = ["SegmentReader"]

ReturnT = TypeVar("ReturnT")
TRIES: Final = 3
THREADS: Final = 2
FINISH_S: Final = 5.0


class SegmentReader:
    """A `WindowReader` of what has left the hot store. It belongs to one event loop.

    Put it last in a `CombinedReader`: windows move from the hot store into segments.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        stores: Mapping[str, ObjectStore],
        form: WindowFormat,
        *,
        widths_ns: Sequence[int] = WINDOWS_NS,
    ) -> None:
        """`widths_ns` are the widths of all windows that are stored."""
        self._catalogue = catalogue
        self._stores = stores
        self._format = form
        self._widths_ns = tuple(widths_ns)
        self._threads = ThreadRunner("segments", THREADS)
        self._unread = 0

    def reading(self) -> Reading:
        """What queries could not read, as a metric of this host."""
        return Reading({Name("callboard_tier_unread_segments"): self._unread}, {})

    async def extents(self) -> Mapping[int, Extent]:
        """See `WindowReader.extents`."""
        return await self._threads.call(self._extents)

    def _extents(self) -> Mapping[int, Extent]:
        found = {}
        for width_ns in self._widths_ns:
            blocks = [each.block for each in self._catalogue.segments(dataset_of(width_ns))]
            if blocks:
                found[width_ns] = Extent(
                    min(block.from_ns for block in blocks), max(block.to_ns for block in blocks)
                )
        return found

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `WindowReader.series`."""
        return await self._answer(
            lambda attempt: self._series(attempt, matchers, from_ns, to_ns, limit)
        )

    def _series(
        self,
        attempt: "_Attempt",
        matchers: Sequence[Matcher],
        from_ns: int,
        to_ns: int,
        limit: int,
    ) -> tuple[SeriesKey, ...]:
        found: set[SeriesKey] = set()
        for width_ns in self._widths_ns:
            # A window has a part of the time when it begins up to one width before it.
            first = from_ns - width_ns + 1
            for segment, fetch in self._leased(width_ns, first, to_ns):
                read = functools.partial(
                    self._format.series, segment.name, fetch, matchers, first, to_ns
                )
                found |= attempt.read(segment, read) or set()
                if len(found) > limit:
                    raise too_many_series(limit)
        return tuple(sorted(found))

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `WindowReader.windows`."""
        return await self._answer(
            lambda attempt: self._windows(attempt, matchers, width_ns, from_ns, to_ns, limit)
        )

    def _windows(
        self,
        attempt: "_Attempt",
        matchers: Sequence[Matcher],
        width_ns: int,
        from_ns: int,
        to_ns: int,
        limit: int,
    ) -> WindowRows:
        parts: list[WindowRows] = []
        rows = 0
        for segment, fetch in self._leased(width_ns, from_ns, to_ns):
            # Twice the limit: a correction is in a segment of its own next to what it corrects.
            left = 2 * limit - rows
            read = functools.partial(
                self._format.read, segment.name, fetch, width_ns, matchers, from_ns, to_ns, left
            )
            part = attempt.read(segment, read)
            if part is None:
                continue
            rows += len(part)
            if rows > 2 * limit:
                raise too_many_rows(limit)
            parts.append(part)
        found = combine_rows(width_ns, parts)
        if len(found) > limit:
            raise too_many_rows(limit)
        return found

    def _leased(
        self, width_ns: int, from_ns: int, to_ns: int
    ) -> "list[tuple[Segment, Callable[[], bytes]]]":
        ends_s = time.monotonic() + LEASE_S
        segments = self._catalogue.segments(dataset_of(width_ns), from_ns, to_ns)
        return [(segment, self._within(segment, ends_s)) for segment in segments]

    def _within(self, segment: Segment, ends_s: float) -> Callable[[], bytes]:
        fetch = fetching(self._stores[segment.location], segment)

        def fetch_within() -> bytes:
            if time.monotonic() > ends_s:
                raise StoreUnavailable(
                    f"a query over segments took more than {LEASE_S:g} s.",
                    advice="Ask for a shorter time or fewer series, or for wider windows.",
                    may_have_run=False,
                )
            return fetch()

        return fetch_within

    async def _answer(self, query: "Callable[[_Attempt], ReturnT]") -> ReturnT:
        """Raise the error of a segment, unless the one who asks takes an answer without it."""
        answered: tuple[ReturnT, dict[str, StoreFailed]] = await self._threads.call(
            self._attempted, query
        )
        found, unread = answered
        self._unread += len(unread)
        if unread and not note_missing(unread):
            raise next(iter(unread.values()))
        return found

    def _attempted(
        self, query: "Callable[[_Attempt], ReturnT]"
    ) -> tuple[ReturnT, dict[str, StoreFailed]]:
        """Repeat a query from the catalogue on when a file has gone meanwhile."""
        for _ in range(TRIES - 1):
            attempt = _Attempt()
            with contextlib.suppress(ObjectMissing):
                return query(attempt), attempt.unread
        attempt = _Attempt(is_last=True)
        return query(attempt), attempt.unread

    async def close(self) -> None:
        """End the threads; may be called twice. The catalogue and the stores are the caller's."""
        self._threads.close()


class _Attempt:
    """One attempt of a query, and the segments that it could not read."""

    def __init__(self, *, is_last: bool = False) -> None:
        self.unread: Final[dict[str, StoreFailed]] = {}
        self._is_last = is_last

    def read(self, segment: Segment, read: Callable[[], ReturnT]) -> ReturnT | None:
        """What is read; None of a segment that is damaged, or missing at the last attempt."""
        try:
            if segment.state is not SegmentState.CORRUPT:
                return read()
            error: StoreFailed = StoreDamaged(
                f"the segment {segment.name} of {segment.block} is missing or damaged.",
                advice="Restore its file from a backup, or ask for a time without it.",
                may_have_run=False,
            )
        except StoreDamaged as damaged:
            error = damaged
        except ObjectMissing as missing:
            if not self._is_last:
                raise
            error = missing
        self.unread[segment.name] = error
        return None
