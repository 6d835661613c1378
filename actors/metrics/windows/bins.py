"""The sketches of open windows: sorted bins, and a buffer of points that are not sorted yet.

A point costs one code in the buffer. When the buffer is full, or somebody reads, its codes are
sorted once, and equal ones are counted: a run of bins for each window. Runs of a window are merged
when they have as many bins as the largest one, so that each bin is merged a few times only.

A bin is one number: series (19 bits), key (18 bits), count (26 bits). So sorting bins sorts them by
series and key. A bin with a larger count takes several numbers.

A sketch keeps the 4,096 highest bins: what is lower counts in the lowest bin that is kept. They
span 35 decimal orders of magnitude on one side of 0; beyond that the lowest quantiles lose their
bound, in each order of arrival alike.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..sketch import SketchColumns

__all__ = ["KEY_BITS", "BinStore", "merge_bins", "sketches_of"]

Ints = npt.NDArray[np.int64]

KEY_BITS: Final = 18
KEY_SHIFT: Final = 1 << (KEY_BITS - 1)
"""Added to a key, so that none is negative."""
COUNT_BITS: Final = 26
COUNT_MAX: Final = (1 << COUNT_BITS) - 1
SERIES_SHIFT: Final = KEY_BITS + COUNT_BITS
BUFFER_CODES: Final = 1 << 19
RUN_BINS_MIN: Final = 1 << 14
"""Runs that are shorter together are not merged yet."""
SKETCH_BINS_MAX: Final = 4_096
NO_BINS: Final[Ints] = np.zeros(0, np.int64)


class BinStore:
    """The bins of all windows, each in a slot."""

    def __init__(self) -> None:
        self._buffer: Ints = np.empty(0, np.int64)
        self._filled = 0
        self._runs: dict[int, list[Ints]] = {}
        """The bins of each slot that are committed."""
        self._fresh: dict[int, list[Ints]] = {}
        """The bins of each slot since the last commit."""

    def add(self, cells: Ints, keys: npt.NDArray[np.int32], capacity: int) -> None:
        """Count a value in the bin of its key, for each cell: slot times `capacity` plus series."""
        done = 0
        if not len(self._buffer):
            self._buffer = np.empty(BUFFER_CODES, np.int64)
        while done < len(cells):
            if self._filled == BUFFER_CODES:
                self.sort(capacity)
            some = min(len(cells) - done, BUFFER_CODES - self._filled)
            room = self._buffer[self._filled : self._filled + some]
            np.left_shift(cells[done : done + some], KEY_BITS, out=room)
            room += keys[done : done + some]
            room += KEY_SHIFT
            self._filled += some
            done += some

    def sort(self, capacity: int) -> None:
        """Turn what is in the buffer into bins; before `capacity` changes, too."""
        if not self._filled:
            return
        codes = self._buffer[: self._filled]
        self._filled = 0
        codes.sort()
        starts = np.flatnonzero(codes[1:] != codes[:-1])
        starts += 1
        starts = np.concatenate(([0], starts))
        found = codes[starts]
        counts = np.diff(starts, append=len(codes))
        slots_bits = capacity << KEY_BITS
        first, last = int(found[0]) // slots_bits, int(found[-1]) // slots_bits
        edges = np.searchsorted(found, np.arange(first, last + 2) * slots_bits)
        for slot in range(first, last + 1):
            begin, end = int(edges[slot - first]), int(edges[slot - first + 1])
            if end > begin:
                bins = found[begin:end] - slot * slots_bits
                bins <<= COUNT_BITS
                bins += counts[begin:end]
                _push(self._fresh.setdefault(slot, []), bins)

    def take_fresh(self) -> dict[int, Ints]:
        """The bins of each slot since the last commit, which count as committed from now on."""
        found = {slot: _merged(runs) for slot, runs in self._fresh.items()}
        self._fresh.clear()
        for slot, bins in found.items():
            self.append(slot, bins)
        return found

    def append(self, slot: int, bins: Ints) -> None:
        """Add committed bins to a slot."""
        if len(bins):
            _push(self._runs.setdefault(slot, []), bins)

    def of(self, slot: int) -> list[Ints]:
        """Runs with all bins of a slot, once the buffer is sorted."""
        return [*self._runs.get(slot, ()), *self._fresh.get(slot, ())]

    def settled(self, slot: int) -> Ints:
        """The committed bins of a slot, as one run."""
        runs = self._runs.get(slot)
        return NO_BINS if runs is None else _merged(runs)

    def free(self, slot: int) -> None:
        """Forget a slot."""
        self._runs.pop(slot, None)
        self._fresh.pop(slot, None)

    def reset(self) -> None:
        """Let the buffer go while nothing is in it: an idle shard keeps none."""
        if not self._filled:
            self._buffer = np.empty(0, np.int64)

    def bin_count(self) -> int:
        """All bins; those of several runs once for each run."""
        every = [*self._runs.values(), *self._fresh.values()]
        return sum(len(run) for runs in every for run in runs)


def _push(runs: list[Ints], bins: Ints) -> None:
    runs.append(bins)
    rest = sum(map(len, runs)) - len(runs[0])
    if len(runs) > 1 and rest > max(len(runs[0]), RUN_BINS_MIN):
        _merged(runs)


def _merged(runs: list[Ints]) -> Ints:
    if len(runs) > 1:
        runs[:] = [merge_bins(runs)]
    return runs[0] if runs else NO_BINS


def merge_bins(runs: list[Ints]) -> Ints:
    """The bins of all runs, each once, sorted."""
    if len(runs) == 1:
        return runs[0]
    if not runs:
        return NO_BINS
    bins = np.concatenate(runs)
    bins.sort()
    places = bins >> COUNT_BITS
    starts = np.flatnonzero(places[1:] != places[:-1])
    starts += 1
    starts = np.concatenate(([0], starts))
    bins &= COUNT_MAX
    return _collapsed(_packed(places[starts], np.add.reduceat(bins, starts)))


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
    if len(bins) <= SKETCH_BINS_MAX:
        return bins
    series = bins >> SERIES_SHIFT
    starts = np.concatenate(([0], np.flatnonzero(series[1:] != series[:-1]) + 1))
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
        starts = np.concatenate(([0], np.flatnonzero(places[1:] != places[:-1]) + 1))
        if len(starts) < len(bins):
            places, owners = places[starts], owners[starts]
            counts = np.add.reduceat(counts, starts)
    keys = (places & ((1 << KEY_BITS) - 1)) - KEY_SHIFT
    offsets = np.append(np.searchsorted(owners, series), len(owners))
    return SketchColumns(offsets.astype(np.int64), keys.astype(np.int32), counts)
