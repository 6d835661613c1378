"""Log lines in bounded rings: those of one host, and those of all hosts. Pure.

Invariants: numbers of a ring grow by one, dropped lines included; a ring has at most `lines_max`
lines of `bytes_max` together.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from callboard.messages.control.logs import LEVELS, LogRow, LogRows, LogsPage, QueryLogs

__all__ = ["LogRing", "SystemLogs", "matches"]

LINES_MAX: Final = 1_000
BYTES_MAX: Final = 1 << 18
"""Of one host. Texts are cut, so that one line is a small part of this."""
ROW_BYTES: Final = 200
"""What a line takes without its text, about."""
ID_CHARS_MIN: Final = 4
"""The shortest beginning of an id that means an execution."""


class Numbered(NamedTuple):
    """A line and its number."""

    number: int
    row: LogRow
    size: int


class LogRing:
    """The last lines of one host."""

    __slots__ = ("_bytes", "_bytes_max", "_lines", "_lines_max", "dropped", "newest")

    def __init__(self, lines_max: int = LINES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._lines: deque[Numbered] = deque()
        self._lines_max: Final = lines_max
        self._bytes_max: Final = bytes_max
        self._bytes = 0
        self.newest = 0
        """The number of the newest line."""
        self.dropped = 0
        """Lines that had to make room."""

    def add(self, row: LogRow, number: int | None = None) -> None:
        """Add a line; the oldest ones make room. `number` is greater than all before it."""
        size = len(row.text) + ROW_BYTES
        self.newest = self.newest + 1 if number is None else number
        self._lines.append(Numbered(self.newest, row, size))
        self._bytes += size
        while len(self._lines) > self._lines_max or self._bytes > self._bytes_max:
            self._bytes -= self._lines.popleft().size
            self.dropped += 1

    def since(self, after: int) -> Iterator[Numbered]:
        """The lines with greater numbers, newest first."""
        for line in reversed(self._lines):
            if line.number <= after:
                return
            yield line


class SystemLogs:
    """The last lines of each host, dead ones included, for queries."""

    __slots__ = ("_numbers", "_rings", "_seen", "missed")

    def __init__(self) -> None:
        self._rings: dict[int, LogRing] = {}
        self._seen: dict[int, tuple[int, int]] = {}
        """For each slot: the epoch, and the number of its newest line."""
        self._numbers = 0
        self.missed = 0
        """Lines that their hosts had no room for."""

    def take(self, batch: LogRows) -> None:
        """Take the lines of a host; those that are here already, or of an old epoch, are not."""
        epoch, newest = self._seen.get(batch.slot, (batch.epoch, 0))
        if batch.epoch < epoch:
            return
        if batch.epoch > epoch:
            newest = 0
        ring = self._rings.setdefault(batch.slot, LogRing())
        self.missed += max(0, batch.first - newest - 1)
        for row in batch.rows[max(0, newest + 1 - batch.first) :]:
            self._numbers += 1
            ring.add(row, self._numbers)
        newest = max(newest, batch.first + len(batch.rows) - 1)
        self._seen[batch.slot] = (batch.epoch, newest)

    def page(self, query: QueryLogs) -> LogsPage:
        """The lines that a query asks for."""
        found = [
            line
            for ring in self._rings.values()
            for line in ring.since(query.after)
            if matches(line.row, query.where, query.level)
        ]
        found.sort(key=lambda line: line.number)
        cursor = self._numbers
        if query.after and len(found) > query.limit:
            found = found[: query.limit]
            cursor = found[-1].number
        found = found[-query.limit :]
        rows: Sequence[LogRow] = sorted((line.row for line in found), key=lambda row: row.time)
        dropped = self.missed + sum(ring.dropped for ring in self._rings.values())
        return LogsPage(rows=tuple(rows), cursor=cursor, dropped=dropped)


def matches(row: LogRow, where: str, level: str) -> bool:
    """Whether a line is of this level or above, and of this place or execution."""
    if level in LEVELS and LEVELS.index(row.level) < LEVELS.index(level):
        return False
    if not where:
        return True
    where = where.rstrip("/")
    return any(
        place == where or place.startswith(where + "/") for place in (row.place, row.path)
    ) or (len(where) >= ID_CHARS_MIN and row.execution.startswith(where))
