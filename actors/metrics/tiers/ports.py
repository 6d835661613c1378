"""What the tiers of metrics need of the hot store, and of a format of segments."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from ..rows import WindowRows
from ..series import Matcher, SeriesKey

__all__ = ["Fetch", "HotStretch", "HotWindows", "WindowFormat"]

Fetch = Callable[[], bytes]
"""Reads a segment, and compares its digest."""


class HotStretch(Protocol):
    """A whole stretch of time of one shard and width, whose windows lie in the hot store."""

    @property
    def shard(self) -> int:
        """The shard."""

    @property
    def from_ns(self) -> int:
        """The stretch has the windows that begin from here on."""

    @property
    def to_ns(self) -> int:
        """The stretch has the windows that begin before here."""


class HotWindows(Protocol):
    """The hot store of windows as a source of moves. Every method blocks.

    It has closed windows only. A correction may still change one.
    """

    def open(self) -> None:
        """See `EventStore.open`."""

    def close(self) -> None:
        """See `EventStore.close`."""

    def closed_before(self, width_ns: int, before_ns: int) -> Sequence[HotStretch]:
        """The stretches of each shard that ended by `before_ns`, the oldest first."""

    def read_range(
        self, shard: int, width_ns: int, from_ns: int, to_ns: int, *, bare: bool = False
    ) -> WindowRows:
        """All windows of a shard that begin in `[from_ns, to_ns)`; `bare` without sketches."""

    def read_parts(
        self, shard: int, width_ns: int, from_ns: int, to_ns: int
    ) -> Iterator[WindowRows]:
        """The same in parts, of which each has all windows of some series; none is empty.

        They take turns in memory. The stamp of a move says whether they belong together.
        """


class WindowFormat(Protocol):
    """Reads and writes segments of windows. Every method blocks.

    It may keep segments that it has read, and asks for their content only when it needs it. Raises
    `StoreDamaged` for what is no segment, and `StoreUnavailable` after its deadline.
    """

    def write(self, rows: WindowRows, level: int) -> bytes:
        """A segment of these rows, sorted by series and start. Equal rows give equal bytes.

        `level` is the level of its compression, as zstd's.
        """

    def write_parts(self, parts: Iterable[WindowRows], level: int) -> bytes:
        """The same of parts that share no series, one after the other: one is in memory."""

    def count(self, data: bytes) -> int:
        """The number of rows, read from the file itself."""

    def series(
        self, name: str, fetch: Fetch, matchers: Sequence[Matcher], from_ns: int, to_ns: int
    ) -> set[SeriesKey]:
        """The series that fulfil all matchers and have windows that begin in `[from_ns, to_ns)`."""

    def read(
        self,
        name: str,
        fetch: Fetch,
        width_ns: int,
        matchers: Sequence[Matcher],
        from_ns: int,
        to_ns: int,
        limit: int,
        *,
        bare: bool = False,
    ) -> WindowRows:
        """The windows that begin in `[from_ns, to_ns)`, sorted by series and start.

        At most `limit + 1` of them: one more says that there are too many. `bare` ones have no
        sketches.
        """

    def close(self) -> None:
        """Release what it holds."""
