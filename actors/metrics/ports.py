"""Ports of metrics: what a query reads, what an alert rule asks, what an aggregator stores."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from .rows import WindowRows
from .series import Matcher, SeriesKey

__all__ = [
    "Evaluator",
    "Extent",
    "HotStorage",
    "MetricsStorage",
    "Sample",
    "ShardState",
    "WindowReader",
]


class Extent(NamedTuple):
    """The time that the windows of one width cover in a store, from the first to the last."""

    from_ns: int
    """The start of the first window."""
    to_ns: int
    """The end of the last window."""


class WindowReader(Protocol):
    """A reader of windows, of the hot store, the archive, the newest ones in memory, or all."""

    async def extents(self) -> Mapping[int, Extent]:
        """The time that each width covers; a width without windows is left out."""

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """The series that fulfil all matchers and have a window in this time, sorted.

        Raises `UsageError` when there are more than `limit`, and the stores' errors.
        """

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """The windows of this width that begin in `[from_ns, to_ns)`, each once, newest revision.

        Sorted by series and start. Raises `UsageError` for more than `limit` rows.
        """


class ShardState(NamedTuple):
    """What a store has of one shard: an aggregator begins with it."""

    state: bytes
    """The open windows and positions, as the aggregator's core has encoded them; may be empty."""
    log: tuple[bytes, ...]
    """What was committed after `state`, oldest first."""


class MetricsStorage(Protocol):
    """The hot store of windows and aggregators. Every method blocks: call it in a thread.

    Every method raises what an `EventStore` raises, and `WriterFenced` where it takes a `fence`
    that is lower than the highest one seen for the shard.
    """

    def open(self) -> None:
        """See `EventStore.open`."""

    def claim(self, shard: int, fence: int) -> ShardState:
        """Claim the shard for this incarnation, and read what an aggregator goes on from."""

    def commit(
        self,
        shard: int,
        fence: int,
        *,
        log: bytes = b"",
        state: bytes | None = None,
        windows: Sequence[WindowRows] = (),
    ) -> None:
        """In one transaction, append to the shard's log; with `state`, replace state and log by it.

        `windows` are closed or corrected windows, which replace those of the same series, width
        and start that have a lower revision.
        """

    def shards(self) -> Sequence[int]:
        """The shards that were ever claimed: there may be more than the system has by now."""

    def extents(self) -> Mapping[int, Extent]:
        """See `WindowReader.extents`."""

    def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `WindowReader.series`."""

    def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `WindowReader.windows`."""

    def close(self) -> None:
        """See `EventStore.close`."""


class HotStorage(MetricsStorage, Protocol):
    """A hot store that keeps itself small."""

    def pack(self, shard: int, before_ns: int, blocks_max: int) -> int:
        """Join blocks of windows that began long enough before `before_ns`; gives how many went.

        It stops after about `blocks_max` blocks. Readers see the same windows as before.
        """


class Sample(NamedTuple):
    """One value of an expression at one moment."""

    tags: tuple[tuple[str, str], ...]
    """Sorted, with `__name__` where the expression keeps the name."""
    value: float
    """It may be NaN or infinite."""


class Evaluator(Protocol):
    """Evaluates expressions of the query language."""

    def check(self, expression: str) -> None:
        """Parse an expression. Raises `QueryRefused` with the place of the first problem."""

    async def instant(self, expression: str, at_ns: int) -> tuple[Sample, ...]:
        """The value of an expression at one moment; a number is one sample without tags.

        Raises `QueryRefused` and the stores' errors.
        """
