"""The route of one source: through the stages, and split by shard, into what is to be sent."""

import hashlib
from typing import Any, Final

import numpy as np

from ..points import SourceKind
from ..series import SeriesKey
from .columns import PointColumns
from .core import Outgoing, ShardPoints
from .meter import OVERFLOW_NAME, OVERFLOW_TAG, OVERFLOWS_MAX
from .options import RecordingOptions
from .stages import Stages

__all__ = ["Route", "shard_of"]


def shard_of(key: SeriesKey, shards: int) -> int:
    """The shard of a series: the same in every process and release."""
    text = "\0".join((key.name, *(part for tag in key.tags for part in tag)))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards


FORGET_MIN: Final = 1_000
"""A route with fewer series forgets none."""


class Route:
    """One source on its way: its stages, and its points for each shard."""

    def __init__(
        self, kind: SourceKind, name: str, instance: str, options: RecordingOptions
    ) -> None:
        self.stages: Final = Stages(options, instance)
        self.outgoing: Final = Outgoing(kind, name, options)
        self._shards: Final = options.shards
        self._span: Final = options.limits.idle_flushes_max
        self._series_max: Final = options.limits.series_max + OVERFLOWS_MAX
        self._places: Final[dict[SeriesKey, tuple[int, int]]] = {}
        """Shard and number of each series."""
        self._overflows: Final[dict[SeriesKey, tuple[int, int]]] = {}
        self._used: Final[set[SeriesKey]] = set()
        """The series with points in this span of flushes."""
        self._flushes = 0

    def give(self, columns: PointColumns, now_ns: int) -> None:
        """Take points through the stages to their shards."""
        columns = self.stages.run(columns, now_ns)
        if not columns.points:
            return
        self._used.update(columns.series)
        places = np.array([self._place(key) for key in columns.series], np.int32)
        shards, numbers = places[:, 0], places[:, 1]
        if (shards == shards[0]).all():
            self.outgoing.give(int(shards[0]), _of_shard(columns, numbers))
            return
        owners = shards.astype(np.int16)[columns.index]
        order = np.argsort(owners, kind="stable")
        bounds = np.searchsorted(owners[order], np.arange(self._shards + 1))
        for shard in range(self._shards):
            chosen = order[bounds[shard] : bounds[shard + 1]]
            if len(chosen):
                part = columns.take(chosen)
                self.outgoing.give(shard, _of_shard(part, numbers))

    def end_flush(self) -> None:
        """Call it at each flush: now and then it forgets the series, if most are not used.

        Their dictionaries begin again, once nothing is on its way.
        """
        self._flushes += 1
        if self._flushes < self._span or self.outgoing.kept:
            return
        if len(self._places) >= max(FORGET_MIN, 2 * len(self._used)):
            self.outgoing.renew()
            self._places.clear()
            self._overflows.clear()
        self._flushes = 0
        self._used.clear()

    def _place(self, key: SeriesKey) -> tuple[int, int]:
        """The shard of a series, and its number there; those of its overflow series if need be."""
        found = self._places.get(key)
        if found is not None:
            return found
        if len(self._places) >= self._series_max:
            name = key.name if len(self._overflows) < OVERFLOWS_MAX else OVERFLOW_NAME
            key = SeriesKey(key.kind, name, ((OVERFLOW_TAG, "true"),))
            found = self._overflows.get(key)
            if found is None:
                found = self._overflows[key] = self._made(key)
            return found
        found = self._places[key] = self._made(key)
        return found

    def _made(self, key: SeriesKey) -> tuple[int, int]:
        shard = shard_of(key, self._shards)
        return shard, self.outgoing.number_of(shard, key)


def _of_shard(columns: PointColumns, numbers: "np.ndarray[Any, np.dtype[np.int32]]") -> ShardPoints:
    return ShardPoints(numbers[columns.index], columns.times_ns, columns.values)
