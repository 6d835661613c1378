"""The sketches of open windows: sorted bins, and a buffer of points that are not sorted yet.

A point is put into a buffer. When it is full, or somebody reads, its points are counted by cell and
key: a run of bins for each window. Runs of a window are merged when they have more bins than the
first one, so that each bin is merged a few times only.

Counting does not sort where the codes are dense: each series gets as many counters as its keys have
span, in the order of the codes, and `bincount` does the rest. Sorting costs ten times as much.

A bin is one number: series (19 bits), key (18 bits), count (26 bits). So sorting bins sorts them by
series and key. A bin with a larger count takes several numbers.

A sketch keeps the 4,096 highest bins: what is lower counts in the lowest bin that is kept. They
span 35 decimal orders of magnitude on one side of 0; beyond that the lowest quantiles lose their
bound, in each order of arrival alike.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ..sketch import SketchColumns
from .compact import (
    COUNT_BITS,
    COUNT_MAX,
    KEY_BITS,
    KEY_MASK,
    SERIES_SHIFT,
    BinColumns,
    bins_of,
    columns_of,
)

__all__ = ["BinStore", "merge_bins", "sketches_of"]

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.int32]
Run = Ints | BinColumns
"""Sorted bins, each once."""

KEY_SHIFT: Final = 1 << (KEY_BITS - 1)
"""Added to a key, so that none is negative."""
BUFFER_MIN: Final = 1 << 20
BUFFER_MAX: Final = 1 << 22
"""Points in the buffer, at 12 bytes each; between these bounds `BUFFER_SERIES` for each series."""
BUFFER_SERIES: Final = 32
RUN_BINS_MIN: Final = 1 << 14
"""Runs that are shorter together are not merged yet."""
MERGE_AT: Final = 2
"""The later runs of a window are merged when they have so many times the bins of the first one."""
SPAN_MAX: Final = 8
"""Counters for each code, up to which counting is faster than sorting."""
ROW_POINTS_MIN: Final = 4
"""Points of each row, from which on it is likely that counting is faster."""
MERGE_SPAN_MAX: Final = 1
"""The same for merging, where sorting makes use of what is sorted already."""
STEP_POINTS: Final = 1 << 15
"""Points of one step through the buffer: they stay in the processor's cache."""
ROWS_FREE: Final = 1 << 12
"""As many rows are always fine."""
SKETCH_BINS_MAX: Final = 4_096
NO_BINS: Final[Ints] = np.zeros(0, np.int64)


class BinStore:
    """The bins of all windows, each in a slot."""

    def __init__(self) -> None:
        self._cells: Ints = np.empty(0, np.int64)
        self._keys: Keys = np.empty(0, np.int32)
        self._filled = 0
        """Points in the buffer: their cells and keys."""
        self._runs: dict[int, list[Run]] = {}
        """The bins of each slot that are committed."""
        self._fresh: dict[int, list[Run]] = {}
        """The bins of each slot since the last commit."""

    def add(self, cells: Ints, keys: Keys, capacity: int) -> None:
        """Count a value in the bin of its key, for each cell: slot times `capacity` plus series."""
        if not len(self._cells):
            size = min(max(BUFFER_SERIES * capacity, BUFFER_MIN), BUFFER_MAX)
            self._cells, self._keys = np.empty(size, np.int64), np.empty(size, np.int32)
        size = len(self._cells)
        done = 0
        while done < len(cells):
            if self._filled == size:
                self.sort(capacity)
            some = min(len(cells) - done, size - self._filled)
            room = slice(self._filled, self._filled + some)
            self._cells[room] = cells[done : done + some]
            self._keys[room] = keys[done : done + some]
            self._filled += some
            done += some

    def sort(self, capacity: int) -> None:
        """Turn what is in the buffer into bins; before `capacity` changes, too."""
        if not self._filled:
            return
        cells, keys = self._cells[: self._filled], self._keys[: self._filled]
        self._filled = 0
        found, counts = count_points(cells, keys)
        slots_bits = capacity << KEY_BITS
        first, last = int(found[0]) // slots_bits, int(found[-1]) // slots_bits
        edges = np.searchsorted(found, np.arange(first, last + 2) * slots_bits)
        for slot in range(first, last + 1):
            begin, end = int(edges[slot - first]), int(edges[slot - first + 1])
            if end > begin:
                bins = found[begin:end] - slot * slots_bits
                bins <<= COUNT_BITS
                bins |= counts[begin:end]
                _push(self._fresh.setdefault(slot, []), bins)

    def take_fresh(self) -> dict[int, Ints]:
        """The bins of each slot since the last commit, which count as committed from now on."""
        found = {slot: _merged(runs) for slot, runs in self._fresh.items()}
        self._fresh.clear()
        for slot, bins in found.items():
            self.append(slot, bins)
        return found

    def append(self, slot: int, bins: Ints, *, is_seldom_read: bool = False) -> None:
        """Add committed bins to a slot. Those that are read seldom are kept in few bytes."""
        if len(bins):
            run = columns_of([bins]).narrowed() if is_seldom_read else bins
            _push(self._runs.setdefault(slot, []), run)

    def of(self, slot: int) -> list[Ints]:
        """Runs with all bins of a slot, once the buffer is sorted."""
        if slot not in self._fresh and slot in self._runs:
            return [self.settled(slot)]
        return [
            *map(_expanded, self._runs.get(slot, ())),
            *map(_expanded, self._fresh.get(slot, ())),
        ]

    def settled(self, slot: int) -> Ints:
        """The committed bins of a slot, as one run."""
        runs = self._runs.get(slot)
        return NO_BINS if runs is None else _merged(runs)

    def free(self, slot: int) -> None:
        """Forget a slot."""
        self._runs.pop(slot, None)
        self._fresh.pop(slot, None)

    def let_go(self) -> None:
        """Let an empty buffer go: a shard without load keeps none."""
        if not self._filled:
            self._cells, self._keys = np.empty(0, np.int64), np.empty(0, np.int32)

    def bin_count(self) -> int:
        """All bins; those of several runs once for each run."""
        return sum(map(len, self._every()))

    @property
    def size_bytes(self) -> int:
        """The memory of all bins, without the buffer."""
        return sum(
            run.size_bytes if isinstance(run, BinColumns) else run.nbytes for run in self._every()
        )

    def _every(self) -> Iterator[Run]:
        for runs in (*self._runs.values(), *self._fresh.values()):
            yield from runs


def _expanded(run: Run) -> Ints:
    return bins_of(run) if isinstance(run, BinColumns) else run


def _push(runs: list[Run], run: Run) -> None:
    runs.append(run)
    rest = sum(map(len, runs)) - len(runs[0])
    if rest > max(MERGE_AT * len(runs[0]), RUN_BINS_MIN):
        _merged(runs)


def _merged(runs: list[Run]) -> Ints:
    """All bins; the runs become one, if they are several."""
    merged = merge_bins([*map(_expanded, runs)])
    if len(runs) > 1:
        is_compact = isinstance(runs[0], BinColumns)
        runs[:] = [columns_of([merged]).narrowed() if is_compact else merged]
    return merged


def count_points(cells: Ints, keys: Keys) -> tuple[Ints, Ints]:
    """For each cell and key that occur a code (cell and key), sorted, and how often they do.

    Changes `cells`.
    """
    parts = 1
    if int(keys.min()) <= 0:
        # Values below 0, of 0 and above 0 are far apart: they have rows of their own.
        parts = 3
        cells *= 3
        cells += keys >= 0
        cells += keys > 0
    first = int(cells.min()) // parts * parts
    cells -= first
    rows = int(cells.max()) + 1
    if rows * ROW_POINTS_MIN <= len(cells) + ROWS_FREE:
        low, high = np.full(rows, KEY_SHIFT, np.int32), np.full(rows, -KEY_SHIFT, np.int32)
        np.minimum.at(low, cells, keys)
        np.maximum.at(high, cells, keys)
        layout = _Layout.of(low.astype(np.int64), high.astype(np.int64))
        if layout.span <= SPAN_MAX * len(cells):
            for done in range(0, len(cells), STEP_POINTS):
                some = slice(done, done + STEP_POINTS)
                places = layout.places.take(cells[some])
                np.add(places, keys[some], out=cells[some])
            counts = np.bincount(cells, minlength=layout.span)
            codes, found = layout.codes(counts, first, parts)
            return codes, counts[found]
    cells += first
    if parts > 1:
        cells //= parts
    return _sorted_points(cells, keys)


def _sorted_points(cells: Ints, keys: Keys) -> tuple[Ints, Ints]:
    """The same for cells with few points each."""
    first, lowest = int(cells.min()), int(keys.min())
    bits = (int(keys.max()) - lowest).bit_length()
    cells -= first
    cells <<= bits
    cells += keys
    cells -= lowest
    # Half as long to sort in 32 bits.
    codes = cells.astype(np.uint32) if int(cells.max()) < 1 << 32 else cells
    codes.sort()
    starts = _starts(codes)
    found = codes[starts].astype(np.int64)
    keys_found = found & ((1 << bits) - 1)
    keys_found += lowest + KEY_SHIFT
    found >>= bits
    found += first
    found <<= KEY_BITS
    found += keys_found
    return found, np.diff(starts, append=len(codes))


def merge_bins(runs: list[Ints]) -> Ints:
    """The bins of all runs, each once, sorted."""
    if len(runs) <= 1:
        return runs[0] if runs else NO_BINS
    total = sum(map(len, runs))
    rows = 1 + 3 * max(int(run[-1]) >> SERIES_SHIFT for run in runs) + 3
    if rows <= SPAN_MAX * total + ROWS_FREE:
        low, high = np.full(rows, KEY_SHIFT), np.full(rows, -KEY_SHIFT)
        taken = [_rows_and_keys(run) for run in runs]
        for row, key in taken:
            starts = _starts(row)
            some = row[starts]
            low[some] = np.minimum(low[some], key[starts])
            high[some] = np.maximum(high[some], key[np.append(starts[1:], len(row)) - 1])
        layout = _Layout.of(low, high)
        if layout.span <= MERGE_SPAN_MAX * total:
            counts = np.zeros(layout.span, np.int64)
            for run, (row, key) in zip(runs, taken, strict=True):
                _add_counts(counts, key + layout.places.take(row), run & COUNT_MAX)
            codes, found = layout.codes(counts, 0, 3)
            return _collapsed(_packed(codes, counts[found]))
    bins = np.concatenate(runs)
    # Runs are sorted already, which this kind of sort makes use of.
    bins.sort(kind="stable")
    codes = bins >> COUNT_BITS
    starts = _starts(codes)
    bins &= COUNT_MAX
    return _collapsed(_packed(codes[starts], np.add.reduceat(bins, starts)))


def _rows_and_keys(run: Ints) -> tuple[Ints, Ints]:
    """Of each bin its key, and its row: three for each series, by the sign of the value."""
    keys = run >> COUNT_BITS
    keys &= KEY_MASK
    keys -= KEY_SHIFT
    rows = run >> SERIES_SHIFT
    rows *= 3
    rows += keys >= 0
    rows += keys > 0
    return rows, keys


def _add_counts(counts: Ints, places: Ints, more: Ints) -> None:
    if int(more.max()) == COUNT_MAX:
        np.add.at(counts, places, more)  # A place may occur more than once.
    else:
        counts[places] += more


def _starts(column: npt.NDArray[np.integer[Any]]) -> Ints:
    """Where a value begins that is not the one before; `column` is not empty."""
    starts = np.flatnonzero(column[1:] != column[:-1])
    starts += 1
    return np.concatenate((np.zeros(1, np.int64), starts))


class _Layout(NamedTuple):
    """Counters for the keys of each row, from its lowest to its highest, row after row."""

    used: Ints
    """The rows that have keys."""
    ends: Ints
    """Where the counters of each used row end."""
    places: Ints
    """Added to a key, gives its counter; for each row."""

    @staticmethod
    def of(low: Ints, high: Ints) -> "_Layout":
        used = np.flatnonzero(high >= low)
        lowest = low[used]
        widths = high[used] - lowest + 1
        ends = np.cumsum(widths)
        places = np.empty(len(low), np.int64)
        places[used] = ends - widths - lowest
        return _Layout(used, ends, places)

    @property
    def span(self) -> int:
        return int(self.ends[-1])

    def codes(self, counts: Ints, first: int, parts: int) -> tuple[Ints, Ints]:
        """The codes of all counters that are not 0, and their places."""
        found = np.flatnonzero(counts > 0)
        sizes = np.diff(np.searchsorted(found, self.ends), prepend=0)
        heads = ((self.used + first) // parts << KEY_BITS) + KEY_SHIFT - self.places[self.used]
        return found + np.repeat(heads, sizes), found


def _packed(places: Ints, counts: Ints) -> Ints:
    """Bins of places (series and key) and counts; a count too large for one is divided."""
    if int(counts.max()) > COUNT_MAX:
        parts = -(-counts // COUNT_MAX)
        places = np.repeat(places, parts)
        ends = np.cumsum(parts) - 1
        divided = np.full(len(places), COUNT_MAX, np.int64)
        divided[ends] = counts - (parts - 1) * COUNT_MAX
        counts = divided
    return (places << COUNT_BITS) | counts


def _collapsed(bins: Ints) -> Ints:
    """Let the lowest bins of each sketch with too many count in the lowest that is kept."""
    # A sketch with too many would have two neighbours of these.
    some = bins[:: SKETCH_BINS_MAX // 2] >> SERIES_SHIFT
    if not (some[1:] == some[:-1]).any():
        return bins
    series = bins >> SERIES_SHIFT
    starts = _starts(series)
    sizes = np.diff(starts, append=len(bins))
    parts: list[Ints] = []
    done = 0
    for place in np.flatnonzero(sizes > SKETCH_BINS_MAX).tolist():
        start = int(starts[place])
        kept = start + int(sizes[place]) - SKETCH_BINS_MAX
        count = int((bins[start : kept + 1] & COUNT_MAX).sum())
        lowest = bins[kept : kept + 1] >> COUNT_BITS
        parts += [bins[done:start], _packed(lowest, np.array([count]))]
        done = kept + 1
    return np.concatenate([*parts, bins[done:]]) if parts else bins


def sketches_of(bins: Ints, series: Ints) -> SketchColumns:
    """The sketches of these series, which are sorted; bins of others are left out."""
    owners = bins >> SERIES_SHIFT
    wanted = np.isin(owners, series, assume_unique=False)
    if not wanted.all():
        bins, owners = bins[wanted], owners[wanted]
    places = bins >> COUNT_BITS
    counts: npt.NDArray[Any] = bins & COUNT_MAX
    if len(bins):
        starts = _starts(places)
        if len(starts) < len(bins):
            places, owners = places[starts], owners[starts]
            counts = np.add.reduceat(counts, starts)
    keys = (places & KEY_MASK) - KEY_SHIFT
    offsets = np.append(np.searchsorted(owners, series), len(owners))
    return SketchColumns(offsets.astype(np.int64), keys.astype(np.int32), counts)
