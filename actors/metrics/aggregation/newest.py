"""The newest closed windows in memory: queries of the present need no store."""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from ..ports import Extent
from ..query.columns import combine_rows, take_rows
from ..rows import WindowRows
from ..series import Matcher

__all__ = ["NewestWindows", "choose_rows"]


def choose_rows(
    rows: WindowRows, matchers: Sequence[Matcher], from_ns: int, to_ns: int
) -> WindowRows:
    """The rows of matching series that begin in `[from_ns, to_ns)`."""
    accepted = [all(each.accepts(key) for each in matchers) for key in rows.series]
    fits = (rows.starts_ns >= from_ns) & (rows.starts_ns < to_ns)
    fits &= np.array(accepted, bool)[rows.series_index]
    return take_rows(rows, np.flatnonzero(fits))


class _Part(NamedTuple):
    rows: WindowRows
    first_ns: int
    last_ns: int
    """The first and the last start."""


class NewestWindows:
    """At most `rows_max` closed windows, those that were given last.

    For each width it knows the time from which on it has all closed windows: those that begin
    after its own beginning, and after all windows that it has dropped.
    """

    def __init__(self, now_ns: int, rows_max: int) -> None:
        self._began_ns = now_ns
        self._rows_max = rows_max
        self._parts: Final[deque[_Part]] = deque()
        self._rows = 0
        self._dropped_ns: Final[dict[int, int]] = {}
        """For each width the start of the last window that was dropped."""

    def add(self, rows: WindowRows) -> None:
        """Add windows of one width that have closed or were corrected."""
        starts_ns = rows.starts_ns
        self._parts.append(_Part(rows, int(starts_ns.min()), int(starts_ns.max())))
        self._rows += len(rows)
        while self._rows > self._rows_max:
            gone, _, last_ns = self._parts.popleft()
            self._rows -= len(gone)
            known = self._dropped_ns.get(gone.width_ns, last_ns)
            self._dropped_ns[gone.width_ns] = max(known, last_ns)

    def complete_from_ns(self, width_ns: int) -> int:
        """All closed windows of this width that begin at or after this time are here."""
        dropped = self._dropped_ns.get(width_ns)
        return self._began_ns if dropped is None else max(self._began_ns, dropped + 1)

    def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int
    ) -> WindowRows:
        """The windows of matching series, each in its newest revision."""
        parts = [
            choose_rows(rows, matchers, from_ns, to_ns)
            for rows, first_ns, last_ns in reversed(self._parts)
            if rows.width_ns == width_ns and first_ns < to_ns and last_ns >= from_ns
        ]
        return combine_rows(width_ns, parts)

    def extents(self) -> dict[int, Extent]:
        """The time that the windows of each width cover."""
        found: dict[int, Extent] = {}
        for rows, first_ns, last_ns in self._parts:
            end_ns = last_ns + rows.width_ns
            known = found.get(rows.width_ns, Extent(first_ns, end_ns))
            found[rows.width_ns] = Extent(min(known.from_ns, first_ns), max(known.to_ns, end_ns))
        return found
