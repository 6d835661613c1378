"""How stores keep windows: in blocks of a few series and a stretch of time.

The series of a shard are numbered in the order of their arrival, and each `BAND` of them lie
together. A block has windows of one band and one width that begin in one stretch of time. Windows
come to the store as they close, a small block at a time. Once a stretch is over its blocks are
packed into one, which is small and quick to read.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from callboard.actors.metrics.aggregation.packed import FAST, SMALL, pack_rows, unpack_rows
from callboard.actors.metrics.query.columns import bare_rows, combine_rows, take_rows
from callboard.actors.metrics.query.readers import too_many_rows, too_many_series
from callboard.actors.metrics.rows import SECOND_NS, WindowRows
from callboard.actors.metrics.series import Matcher, MatcherKind, SeriesKey
from callboard.messages.storage.errors import StoreDamaged, WriterFenced

__all__ = [
    "BAND",
    "Bands",
    "Block",
    "HotRange",
    "SeriesTable",
    "blocks_of",
    "fenced_shard",
    "hot_ranges",
    "packed_block",
    "part_bands",
    "period_ns",
    "read_blocks",
    "read_series",
]

BAND: Final = 8
"""Series of one block. More compress a little better; a query of one series reads them all."""
PART_BANDS: Final = 64
"""Bands that are read at a time when a whole stretch moves: 512 series, some 30 MB."""
MINUTE_NS: Final = 60 * SECOND_NS
HOUR_NS: Final = 60 * MINUTE_NS
PERIODS_NS: Final = {
    MINUTE_NS: HOUR_NS,
    5 * MINUTE_NS: 6 * HOUR_NS,
    HOUR_NS: 48 * HOUR_NS,
    24 * HOUR_NS: 32 * 24 * HOUR_NS,
}
WINDOWS_A_PERIOD: Final = 64
"""The windows of one series in a block, for other widths."""


def period_ns(width_ns: int) -> int:
    """The stretch of time of one block: a multiple of the width."""
    return PERIODS_NS.get(width_ns, WINDOWS_A_PERIOD * width_ns)


class Block(NamedTuple):
    """Windows of one band, one width and one stretch of time."""

    width_ns: int
    period: int
    """The number of the stretch: it begins at `period * period_ns(width_ns)`."""
    shard: int
    band: int
    first_ns: int
    """The first start of a window."""
    until_ns: int
    """The end of the last window."""
    members: int
    """A bit for each series of the band that has a window here."""
    data: bytes
    """The rows; `packed.pack_rows` with the place of each series in the band."""

    @property
    def base_ns(self) -> int:
        """The beginning of its stretch."""
        return self.period * period_ns(self.width_ns)


class Bands(NamedTuple):
    """Chosen series by shard and band: for each a row of `BAND` truths."""

    wanted: Mapping[tuple[int, int], npt.NDArray[np.bool_]]

    def mask(self, shard: int, band: int) -> int:
        """The chosen series of a band as bits; see `Block.members`."""
        chosen = self.wanted.get((shard, band))
        if chosen is None:
            return 0
        return sum(1 << place for place in np.flatnonzero(chosen).tolist())


class SeriesTable:
    """The series of all shards and their numbers, as far as this process has read them."""

    def __init__(self) -> None:
        self._keys: Final[dict[int, list[SeriesKey]]] = {}
        self._numbers: Final[dict[int, dict[SeriesKey, int]]] = {}
        self._by_name: Final[dict[str, list[tuple[int, int]]]] = {}

    def size(self, shard: int) -> int:
        """How many series of a shard are known."""
        return len(self._keys.get(shard, ()))

    def add(self, shard: int, keys: Iterable[SeriesKey]) -> None:
        """Add the next series of a shard."""
        known, numbers = self._keys.setdefault(shard, []), self._numbers.setdefault(shard, {})
        for key in keys:
            numbers[key] = len(known)
            self._by_name.setdefault(key.name, []).append((shard, len(known)))
            known.append(key)

    def forget_after(self, shard: int, size: int) -> None:
        """Forget the last series of a shard: they were not committed."""
        known = self._keys.get(shard, [])
        while len(known) > size:
            key = known.pop()
            del self._numbers[shard][key]
            self._by_name[key.name].remove((shard, len(known)))

    def new_among(self, shard: int, keys: Iterable[SeriesKey]) -> list[SeriesKey]:
        """The series that are not known yet, each once."""
        numbers = self._numbers.get(shard, {})
        return list(dict.fromkeys(key for key in keys if key not in numbers))

    def numbers_of(self, shard: int, keys: Sequence[SeriesKey]) -> npt.NDArray[np.int64]:
        """The numbers of known series."""
        numbers = self._numbers.get(shard, {})
        return np.array([numbers[key] for key in keys], np.int64)

    def band(self, shard: int, band: int) -> Sequence[SeriesKey]:
        """The series of a band."""
        return self._keys.get(shard, [])[band * BAND : (band + 1) * BAND]

    def matching(self, matchers: Sequence[Matcher]) -> Bands:
        """The series that fulfil all matchers."""
        found: dict[tuple[int, int], npt.NDArray[np.bool_]] = {}
        for shard, number in self._candidates(matchers):
            key = self._keys[shard][number]
            if all(matcher.accepts(key) for matcher in matchers):
                place = (shard, number // BAND)
                if place not in found:
                    found[place] = np.zeros(BAND, bool)
                found[place][number % BAND] = True
        return Bands(found)

    def _candidates(self, matchers: Sequence[Matcher]) -> Iterator[tuple[int, int]]:
        for tag, kind, value in matchers:
            if tag == "__name__" and kind is MatcherKind.IS:
                yield from self._by_name.get(value, ())
                return
        for places in self._by_name.values():
            yield from places


# --- writing ----------------------------------------------------------------------------------


def blocks_of(shard: int, rows: WindowRows, numbers: npt.NDArray[np.int64]) -> Iterator[Block]:
    """The rows in blocks; `numbers` has the number of each of `rows.series` in the shard."""
    if not len(rows):
        return
    of_row = numbers[rows.series_index]
    bands, periods = of_row // BAND, rows.starts_ns // period_ns(rows.width_ns)
    order = np.lexsort((periods, bands))
    sorted_bands, sorted_periods = bands[order], periods[order]
    changes = (np.diff(sorted_bands) != 0) | (np.diff(sorted_periods) != 0)
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(order)]
    for begin, end in itertools.pairwise(edges):
        taken = order[begin:end]
        band, period = int(sorted_bands[begin]), int(sorted_periods[begin])
        # The series that `take_rows` keeps, in its order.
        places = numbers[np.unique(rows.series_index[taken])] - band * BAND
        yield _block(shard, band, period, take_rows(rows, taken), places)


def _block(
    shard: int,
    band: int,
    period: int,
    rows: WindowRows,
    places: npt.NDArray[np.int64],
    level: int = FAST,
) -> Block:
    width_ns = rows.width_ns
    return Block(
        width_ns,
        period,
        shard,
        band,
        int(rows.starts_ns.min()),
        int(rows.starts_ns.max()) + width_ns,
        sum(1 << place for place in places.tolist()),
        pack_rows(rows, places, period * period_ns(width_ns), level),
    )


def packed_block(blocks: Sequence[Block]) -> Block:
    """One block in place of all those of one band and stretch, which are in the order of storing.

    The newest copy of each window stays.
    """
    first = blocks[0]
    # Any names will do, as long as they are in the order of their places.
    names = tuple(SeriesKey(0, f"{place:02}") for place in range(BAND))  # type: ignore[arg-type]
    rows = combine_rows(first.width_ns, [_rows_of(block, names) for block in blocks[::-1]])
    places = np.array([int(key.name) for key in rows.series], np.int64)
    return _block(first.shard, first.band, first.period, rows, places, SMALL)


# --- reading ----------------------------------------------------------------------------------


def _rows_of(block: Block, series: Sequence[SeriesKey]) -> WindowRows:
    rows = unpack_rows(block.data, block.width_ns, block.base_ns, series)
    index = rows.series_index
    if index.min(initial=0) < 0 or index.max(initial=-1) >= len(series):
        raise StoreDamaged(
            f"a block of windows of shard {block.shard} names a series that the store does not "
            "have.",
            advice="Keep a copy of the store, and restore a backup.",
            may_have_run=False,
        )
    return rows


def read_blocks(
    table: SeriesTable,
    blocks: Iterable[Block],
    bands: Bands | None,
    width_ns: int,
    from_ns: int,
    to_ns: int,
    limit: int,
    *,
    bare: bool = False,
) -> WindowRows:
    """The chosen windows of the blocks that begin in `[from_ns, to_ns)`; `bare` without sketches.

    `blocks` are in the order in which they were stored; with None as `bands`, all series are
    chosen. Raises `UsageError` for more than `limit` rows.
    """
    parts: list[WindowRows] = []
    count = 0
    for block in blocks:
        rows = _rows_of(block, table.band(block.shard, block.band))
        rows = bare_rows(rows) if bare else rows
        chosen = _chosen(rows, bands, block, from_ns, to_ns)
        if not len(chosen):
            continue
        parts.append(take_rows(rows, chosen))
        count += len(chosen)
        if count > limit:  # Some may be older copies of others.
            parts = [combine_rows(width_ns, parts[::-1])]
            count = len(parts[0])
            if count > limit:
                raise too_many_rows(limit)
    return combine_rows(width_ns, parts[::-1])


def _chosen(
    rows: WindowRows, bands: Bands | None, block: Block, from_ns: int, to_ns: int
) -> npt.NDArray[Any]:
    fits = (rows.starts_ns >= from_ns) & (rows.starts_ns < to_ns)
    if bands is not None:
        fits &= bands.wanted[block.shard, block.band][rows.series_index]
    return np.flatnonzero(fits)


def read_series(
    table: SeriesTable,
    blocks: Iterable[tuple[Block, bool]],
    bands: Bands,
    from_ns: int,
    to_ns: int,
    limit: int,
) -> tuple[SeriesKey, ...]:
    """The chosen series that have a window in this time.

    The truth after a block says whether all of it lies in the time, so that its members say
    enough; `data` of the others is read. Raises `UsageError` for more than `limit`.
    """
    found: set[SeriesKey] = set()
    for block, is_inside in blocks:
        wanted = bands.wanted[block.shard, block.band]
        series = table.band(block.shard, block.band)
        if is_inside:
            places = [place for place in range(len(series)) if block.members >> place & 1]
        else:
            rows = _rows_of(block, series)
            overlaps = (rows.starts_ns > from_ns - block.width_ns) & (rows.starts_ns < to_ns)
            places = np.unique(rows.series_index[overlaps]).tolist()
        found.update(series[place] for place in places if wanted[place])
        if len(found) > limit:
            raise too_many_series(limit)
    return tuple(sorted(found))


# --- what may move to another tier -----------------------------------------------------------


def part_bands(table: SeriesTable, shard: int) -> Iterator[Bands]:
    """All series of a shard in parts, each of which has at most some 30,000 rows of a stretch."""
    count = -(-table.size(shard) // BAND)
    for first in range(0, count, PART_BANDS):
        bands = range(first, min(first + PART_BANDS, count))
        yield Bands({(shard, band): np.ones(BAND, bool) for band in bands})


class HotRange(NamedTuple):
    """A whole stretch of one shard and width, whose windows lie in the hot store."""

    shard: int
    width_ns: int
    from_ns: int
    to_ns: int
    blocks: int


def hot_ranges(width_ns: int, rows: Iterable[tuple[int, int, int]]) -> list[HotRange]:
    """The stretches of rows with a shard, the number of a stretch, and a count of blocks."""
    length = period_ns(width_ns)
    return [
        HotRange(shard, width_ns, period * length, (period + 1) * length, count)
        for shard, period, count in rows
    ]


def fenced_shard(name: str, shard: int, fence: int, newest: int) -> WriterFenced:
    """The error of an aggregator that has been replaced."""
    return WriterFenced(
        f"{name}: shard {shard} of the metrics belongs to an aggregator with fencing token "
        f"{newest}; this one has {fence}.",
        advice="A newer process has taken the shard over, and this one ends. If none has: the "
        "clock of the machine that started the system is behind that of an earlier one.",
        may_have_run=False,
    )
