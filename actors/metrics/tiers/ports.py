"""What the tiers of metrics need of the hot store, and of a format of segments."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ...storage.hot import HotBlock
from ..rows import WindowRows
from ..series import SeriesKey

__all__ = ["HotWindows", "WindowFormat", "WindowSelection"]


class HotWindows(Protocol):
    """The hot store of windows as a source of moves. Every method blocks."""

    def closed_before(self, width_ns: int, before_ns: int, limit: int) -> Sequence[HotBlock]:
        """The starts that have closed windows which end at `before_ns` or earlier, oldest first.

        One `HotBlock` for each shard (its `part`) and start, at most `limit` of them. The shard
        has closed these windows: only a correction can still change one.
        """

    def read_block(self, width_ns: int, shard: int, from_ns: int, to_ns: int) -> WindowRows:
        """The windows of a shard that begin in `[from_ns, to_ns)`; none is open."""


class WindowSelection(NamedTuple):
    """The rows that a reader wants of a segment."""

    series: Sequence[int]
    """Numbers of series in the segment, ascending."""
    from_ns: int
    to_ns: int


class WindowFormat(Protocol):
    """Reads and writes segments of windows. Every method blocks; threads take turns.

    Raises `StoreDamaged` for what is no segment, and `StoreUnavailable` after the deadline.
    """

    def write(self, rows: WindowRows, level: int) -> bytes:
        """A segment of these rows, sorted by series and start. Equal rows give equal bytes."""

    def count(self, data: bytes) -> int:
        """The number of rows, read from the file itself."""

    def series(self, name: str, data: bytes) -> tuple[SeriesKey, ...]:
        """The series of a segment, by their numbers. `name` never names another content."""

    def read(
        self, name: str, data: bytes, width_ns: int, selection: WindowSelection | None, limit: int
    ) -> WindowRows:
        """Rows of a segment, sorted by series and start: at most `limit + 1` of them.

        Without a selection, all of them.
        """

    def close(self) -> None:
        """Release what it holds."""
