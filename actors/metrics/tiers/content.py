"""What moves of windows copy, and whether windows may expire."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from callboard.messages.storage.errors import StoreDamaged

from ...storage.catalogue import Catalogue
from ...storage.content import Encoded
from ...storage.lifecycle import LifecycleRule
from ...storage.moves import Move
from ...storage.objects import ObjectStore
from ...storage.segments import Segment, SegmentState, digest_of
from ..query.columns import combine_rows
from ..rows import WindowFlag, WindowRows
from ..series import SeriesKey
from .ports import Fetch, HotWindows, WindowFormat
from .rules import width_of

__all__ = ["WindowContent", "fetching", "rows_not_held"]

ALL_NS = (-(2**63), 2**63 - 1)


def fetching(store: ObjectStore, segment: Segment) -> Fetch:
    """Reads a segment. Raises `StoreDamaged` when it has another content than was written."""

    def fetch() -> bytes:
        data = store.get(segment.name)
        if digest_of(data) != segment.digest:
            raise StoreDamaged(
                f"{store.name}: the segment {segment.name} has another content than was written.",
                advice="Restore its file from a backup. Nothing removes it until then.",
                may_have_run=False,
            )
        return data

    return fetch


class WindowContent:
    """The `Content` of the datasets of windows."""

    def __init__(
        self,
        hot: HotWindows,
        catalogue: Catalogue,
        stores: Mapping[str, ObjectStore],
        form: WindowFormat,
        rules: Sequence[LifecycleRule],
    ) -> None:
        self._hot = hot
        self._catalogue = catalogue
        self._stores = stores
        self._format = form
        self._rules = {rule.dataset: rule for rule in rules}

    def encode(self, move: Move, sources: Sequence[tuple[Segment, bytes]]) -> Encoded | None:
        """See `Content.encode`."""
        parts = self._parts(move, sources)
        first = next(parts, None)
        if first is None:
            return None
        rule = self._rules.get(move.block.dataset)
        extent = _Extent()
        data = self._format.write_parts(
            map(extent.seen, itertools.chain((first,), parts)),
            3 if rule is None else rule.compression,
        )
        width_ns = width_of(move.block.dataset)
        block = move.block._replace(from_ns=extent.first_ns, to_ns=extent.last_ns + width_ns)
        return Encoded(data, extent.rows, block)

    def _parts(self, move: Move, sources: Sequence[tuple[Segment, bytes]]) -> Iterator[WindowRows]:
        """The rows of a move, some series at a time; a merge is small enough to be one part."""
        block = move.block
        if not move.sources:
            width_ns = width_of(block.dataset)
            yield from self._hot.read_parts(block.part, width_ns, block.from_ns, block.to_ns)
            return
        rows = self._rows(move, sources)
        if len(rows):
            yield rows

    def count(self, dataset: str, data: bytes) -> int:
        """See `Content.count`."""
        return self._format.count(data)

    def refusal(self, move: Move, sources: Sequence[tuple[Segment, bytes]]) -> str:
        """See `Content.refusal`."""
        rule = self._rules.get(move.block.dataset)
        if rule is None or not rule.roll_up:
            return ""
        rows = self._rows(move, sources, bare=True)
        if not len(rows):
            return ""
        missing, example = rows_not_held(rows, self._coarser(rule.roll_up, rows, move.block.part))
        if not missing:
            return ""
        return (
            f"{missing} of {len(rows)} windows are not in the windows of {rule.roll_up} yet, "
            f"such as {example.name} {dict(example.tags)}"
        )

    def _rows(
        self, move: Move, sources: Sequence[tuple[Segment, bytes]], *, bare: bool = False
    ) -> WindowRows:
        width_ns = width_of(move.block.dataset)
        if not move.sources:
            block = move.block
            return self._hot.read_range(block.part, width_ns, block.from_ns, block.to_ns, bare=bare)
        return combine_rows(
            width_ns,
            [
                self._format.read(
                    segment.name, _given(data), width_ns, (), *ALL_NS, segment.rows, bare=bare
                )
                for segment, data in sources
            ],
        )

    def _coarser(self, dataset: str, rows: WindowRows, shard: int) -> WindowRows:
        """The coarser windows of this time: first the hot ones, so that a move hides none."""
        width_ns = width_of(dataset)
        first = int(rows.starts_ns.min()) // width_ns * width_ns
        end = int(rows.starts_ns.max()) + 1
        parts = [self._hot.read_range(shard, width_ns, first, end, bare=True)]
        for segment in self._catalogue.segments(dataset, first, end):
            if segment.block.part == shard and segment.state is SegmentState.LIVE:
                fetch = fetching(self._stores[segment.location], segment)
                parts.append(
                    self._format.read(
                        segment.name, fetch, width_ns, (), first, end, segment.rows, bare=True
                    )
                )
        return combine_rows(width_ns, parts)


class _Extent:
    """What has been written: the rows, and the time from the first to the last one."""

    def __init__(self) -> None:
        self.rows = 0
        self.first_ns, self.last_ns = ALL_NS[::-1]

    def seen(self, rows: WindowRows) -> WindowRows:
        """Note rows that pass."""
        self.rows += len(rows)
        self.first_ns = min(self.first_ns, int(rows.starts_ns.min()))
        self.last_ns = max(self.last_ns, int(rows.starts_ns.max()))
        return rows


def _given(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def rows_not_held(fine: WindowRows, coarse: WindowRows) -> tuple[int, SeriesKey]:
    """How many fine windows are in no coarse one, and a series of them.

    A coarse window holds its fine ones when it is closed, and has at least as many points as they
    have together.
    """
    number_of = {key: number for number, key in enumerate(fine.series)}
    of_coarse = np.array([number_of.get(key, -1) for key in coarse.series], np.int64)
    first = fine.starts_ns.min() // coarse.width_ns
    stride = int(fine.starts_ns.max() // coarse.width_ns - first) + 1
    wanted = fine.series_index * np.int64(stride) + (fine.starts_ns // coarse.width_ns - first)
    groups, inverse = np.unique(wanted, return_inverse=True)
    points = np.zeros(len(groups), np.int64)
    np.add.at(points, inverse, fine.counts)
    have = np.full(len(groups), -1, np.int64)
    if len(coarse):
        offered = coarse.starts_ns // coarse.width_ns - first
        numbers = of_coarse[coarse.series_index]
        usable = (numbers >= 0) & (offered >= 0) & (offered < stride)
        usable &= (coarse.flags & WindowFlag.OPEN) == 0
        keys = numbers[usable] * stride + offered[usable]
        places = np.minimum(np.searchsorted(groups, keys), len(groups) - 1)
        is_wanted = groups[places] == keys
        have[places[is_wanted]] = coarse.counts[usable][is_wanted]
    lacking: npt.NDArray[np.bool_] = (have < points)[inverse]
    if not lacking.any():
        return 0, fine.series[0]
    return int(lacking.sum()), fine.series[fine.series_index[int(np.argmax(lacking))]]
