"""Windows of several widths that cover a time: each moment of a series once, without a gap.

Coarse windows are merged from finer ones, so that both give the same result where both exist. Three
things differ. Fine windows expire first: older times have coarse ones only. Coarse windows close
last: the newest times have fine ones only. And after a late point the fine window is corrected
first. So a time is read in sections, and where two widths meet, the copy with more points counts,
because a window only gains points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ..ports import Extent, WindowReader
from ..rows import WINDOWS_NS, WindowRows
from ..series import Matcher, SeriesKey
from .columns import join_rows, take_rows
from .readers import too_many_rows

__all__ = ["Section", "Tiles", "join_tiles", "mixed_sections", "read_tiles", "sections"]

UNFINISHED: Final = 2
"""So many of the newest windows of a width may still be open for some series."""


class Section(NamedTuple):
    """A time, and the width of the windows that cover it best."""

    from_ns: int
    to_ns: int
    width_ns: int


@dataclass(frozen=True, slots=True)
class Tiles:
    """Windows that do not overlap, sorted by series and start."""

    rows: WindowRows
    """Of several widths; `width_ns` is the widest."""
    widths_ns: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.widths_ns)

    @property
    def series(self) -> tuple[SeriesKey, ...]:
        """The series that have windows."""
        return self.rows.series

    def chosen(self, is_chosen: npt.NDArray[np.bool_]) -> "Tiles":
        """Some of them."""
        if is_chosen.all():
            return self
        return Tiles(take_rows(self.rows, np.flatnonzero(is_chosen)), self.widths_ns[is_chosen])


def sections(
    extents: Mapping[int, Extent], from_ns: int, to_ns: int, width_ns: int
) -> tuple[Section, ...]:
    """Divide a time: the wanted width where it exists, and coarser ones before, oldest first.

    A section of coarser windows ends at a whole window, so that none counts twice. When coarser
    windows begin with the same window as the finer ones, nothing has expired: the finer ones stay.
    """
    found: list[Section] = []
    end = to_ns
    widths = [width for width in WINDOWS_NS if width >= width_ns]
    for place, width in enumerate(widths):
        begin = from_ns - from_ns % width
        seam = _seam(extents, widths[place:])
        if seam is not None and seam > begin:
            begin = min(seam, end)
        if begin < end:
            found.append(Section(begin, -(-end // width) * width, width))
        end = begin
        if end <= from_ns:
            break
    return tuple(reversed(found))


def _seam(extents: Mapping[int, Extent], widths: Sequence[int]) -> int | None:
    """The time before which the first width has expired, and a coarser one has windows."""
    fine = extents.get(widths[0])
    for width in widths[1:]:
        coarse = extents.get(width)
        if coarse is None:
            continue
        if fine is None:
            # The finer width has nothing: unless the coarser one is closed, all may be to come.
            return coarse.to_ns
        if coarse.from_ns < fine.from_ns - fine.from_ns % width:
            return -(-fine.from_ns // width) * width
    return None


async def read_tiles(
    reader: WindowReader,
    extents: Mapping[int, Extent],
    matchers: Sequence[Matcher],
    section: Section,
    limit: int,
) -> Tiles:
    """Read the windows of a section, and finer ones where its own are not closed yet."""
    from_ns, to_ns, width = section
    rows = await reader.windows(matchers, width, from_ns, to_ns, limit)
    tiles = Tiles(rows, np.full(len(rows), width))
    finer = [each for each in WINDOWS_NS if each < width and each in extents]
    if not finer:
        return tiles
    extent = extents.get(width)
    begin = from_ns if extent is None else max(from_ns, extent.to_ns - UNFINISHED * width)
    if begin >= to_ns:
        return tiles
    rest = Section(begin, to_ns, finer[-1])
    below = await read_tiles(reader, extents, matchers, rest, limit)
    found = _complete(tiles, below)
    if len(found) > limit:
        raise too_many_rows(limit)
    return found


def _complete(coarse: Tiles, fine: Tiles) -> Tiles:
    """Put fine windows where they have more points than the coarse window that holds them."""
    if not len(fine):
        return coarse
    width = coarse.rows.width_ns
    joined = join_rows(width, [coarse.rows, fine.rows])
    is_fine = np.arange(len(joined)) >= len(coarse)
    numbers = joined.starts_ns // width
    numbers -= numbers.min()
    keys = joined.series_index.astype(np.int64) * (int(numbers.max()) + 1) + numbers
    _, block = np.unique(keys, return_inverse=True)
    totals = np.zeros((2, int(block.max()) + 1), np.int64)
    np.add.at(totals, (is_fine.astype(np.int64), block), joined.counts)
    fine_wins = totals[1] > totals[0]
    chosen = np.flatnonzero(fine_wins[block] == is_fine)
    order = np.lexsort((joined.starts_ns[chosen], joined.series_index[chosen]))
    chosen = chosen[order]
    widths = np.concatenate((coarse.widths_ns, fine.widths_ns))[chosen]
    return Tiles(take_rows(joined, chosen), widths)


def mixed_sections(from_ns: int, to_ns: int, width_ns: int) -> tuple[Section, ...]:
    """Divide a time that begins and ends with a window: the widest windows that fit, oldest first.

    So the sum over a day is read from some 100 windows instead of 1,440.
    """
    for width in reversed(WINDOWS_NS):
        begin, end = -(-from_ns // width) * width, to_ns // width * width
        if width >= width_ns and begin < end:
            before = mixed_sections(from_ns, begin, width_ns)
            return (*before, Section(begin, end, width), *mixed_sections(end, to_ns, width_ns))
    return ()


def join_tiles(parts: Sequence[Tiles]) -> Tiles:
    """The tiles of several sections, sorted by series and start."""
    full = [part for part in parts if len(part)]
    if len(full) <= 1:
        return full[0] if full else Tiles(WindowRows.empty(WINDOWS_NS[0]), np.zeros(0, np.int64))
    width = max(part.rows.width_ns for part in full)
    joined = join_rows(width, [part.rows for part in full])
    order = np.lexsort((joined.starts_ns, joined.series_index))
    widths = np.concatenate([part.widths_ns for part in full])[order]
    return Tiles(take_rows(joined, order), widths)
