"""The stages between a host's points and its aggregators: validate, filter, transform, enrich.

A stage is a function from columns to columns. What a stage drops has a reason; `Stages` keeps the
accounts: `in = out + dropped{reason}` for each stage, after every batch.

Decisions about a series are made once, and remembered for as many series as a host may have.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from callboard.messages.core.errors import UsageError

from ..series import MetricKind, SeriesKey, series_key
from .columns import PointColumns
from .options import RecordingOptions

__all__ = ["Stage", "StageAccount", "Stages", "stages_of"]

PAST_NS: Final = 946_684_800 * 1_000_000_000
"""The year 2000: an earlier time was not given in nanoseconds, or is none."""
FUTURE_NS: Final = 3_600 * 1_000_000_000
"""A time so far ahead of the clock is none."""
REMEMBERED_MAX: Final = 50_000

Dropped: TypeAlias = Counter[str]
StageFunction: TypeAlias = Callable[[PointColumns, int, Dropped], PointColumns]
"""From columns and the present time to columns; the points that it drops go into the counter."""


class Stage(NamedTuple):
    """One stage."""

    name: str
    function: StageFunction


class StageAccount:
    """What a stage has done so far."""

    __slots__ = ("batches", "dropped", "points_in", "points_out", "time_ns")

    def __init__(self) -> None:
        self.batches = 0
        self.points_in = 0
        self.points_out = 0
        self.dropped: Dropped = Counter()
        self.time_ns = 0


class Stages:
    """Runs the stages one after the other. A stage that raises drops its batch, with a reason."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages: Final = tuple(stages)
        self.accounts: Final = {stage.name: StageAccount() for stage in stages}

    def run(self, columns: PointColumns, now_ns: int) -> PointColumns:
        """The columns after all stages."""
        for stage in self._stages:
            if not columns.points:
                break
            columns = self._run(stage, columns, now_ns)
        return columns

    def _run(self, stage: Stage, columns: PointColumns, now_ns: int) -> PointColumns:
        account = self.accounts[stage.name]
        begun_ns = time.perf_counter_ns()
        before, after, dropped = columns.points, columns, Counter[str]()
        try:
            after = stage.function(columns, now_ns, dropped)
            is_balanced = after.points + dropped.total() == before
        except Exception:  # noqa: BLE001 - a stage may be a user's
            is_balanced = False
        if not is_balanced:
            dropped = Counter({"stage_failed": before})
            after = columns.where(np.zeros(before, np.bool_))
        account.batches += 1
        account.points_in += before
        account.points_out += after.points
        account.dropped.update(dropped)
        account.time_ns += time.perf_counter_ns() - begun_ns
        return after


def stages_of(options: RecordingOptions, instance: str) -> tuple[Stage, ...]:
    """The stages of one host."""
    own = {
        "service": options.service,
        "instance": instance,
        "environment": options.environment,
        "region": options.region,
    }
    return (
        Stage("validate", _validate),
        Stage("filter", _Filter(options)),
        Stage("transform", _Transform(options)),
        Stage("enrich", _Enrich({tag: value for tag, value in own.items() if value})),
    )


def _validate(columns: PointColumns, now_ns: int, dropped: Dropped) -> PointColumns:
    """Drop values that are no numbers, counters that sink, and times that cannot be."""
    values, times_ns = columns.values, columns.times_ns
    is_good = np.isfinite(values)
    _count_bad(is_good, "not_finite", dropped)
    kinds = np.array([key.kind for key in columns.series], np.int8)
    if (kinds == MetricKind.COUNTER).any():
        is_rising = (values >= 0.0) | (kinds[columns.index] != MetricKind.COUNTER)
        _count_bad(is_rising | ~is_good, "negative", dropped)
        is_good &= is_rising
    is_time = (times_ns >= PAST_NS) & (times_ns <= now_ns + FUTURE_NS)
    _count_bad(is_time | ~is_good, "time", dropped)
    return columns.where(is_good & is_time)


def _count_bad(
    is_good: "np.ndarray[tuple[int], np.dtype[np.bool_]]", reason: str, dropped: Dropped
) -> None:
    bad = len(is_good) - int(np.count_nonzero(is_good))
    if bad:
        dropped[reason] += bad


class _Remembered:
    """Decisions about series."""

    def __init__(self) -> None:
        self._known: dict[SeriesKey, SeriesKey | None] = {}

    def _decide(self, key: SeriesKey) -> SeriesKey | None:
        raise NotImplementedError

    def _decided(self, series: Sequence[SeriesKey]) -> list[SeriesKey | None]:
        known = self._known
        found = []
        for key in series:
            try:
                found.append(known[key])
            except KeyError:
                if len(known) >= REMEMBERED_MAX:
                    known.clear()
                decision = known[key] = self._decide(key)
                found.append(decision)
        return found


class _Filter(_Remembered):
    """Drop the series that the options name."""

    def __init__(self, options: RecordingOptions) -> None:
        super().__init__()
        self._drop: Final = options.drop

    def __call__(self, columns: PointColumns, now_ns: int, dropped: Dropped) -> PointColumns:
        if not self._drop:
            return columns
        is_kept = np.array([key is not None for key in self._decided(columns.series)])
        chosen = is_kept[columns.index]
        _count_bad(chosen, "filtered", dropped)
        return columns.where(chosen)

    def _decide(self, key: SeriesKey) -> SeriesKey | None:
        is_dropped = any(all(each.accepts(key) for each in matchers) for matchers in self._drop)
        return None if is_dropped else key


class _Transform:
    """Rename metrics, and scale their values."""

    def __init__(self, options: RecordingOptions) -> None:
        self._renames: Final = options.renames
        self._scales: Final = options.scales

    def __call__(self, columns: PointColumns, now_ns: int, dropped: Dropped) -> PointColumns:
        if self._scales:
            factors = np.array([self._scales.get(key.name, 1.0) for key in columns.series])
            columns = columns._replace(values=columns.values * factors[columns.index])
        if self._renames:
            renames = self._renames
            columns = columns._replace(
                series=[
                    key._replace(name=renames[key.name]) if key.name in renames else key
                    for key in columns.series
                ]
            )
        return columns


class _Enrich(_Remembered):
    """Add the tags of the host to series that do not have them."""

    def __init__(self, tags: dict[str, str]) -> None:
        super().__init__()
        self._tags: Final = tags

    def __call__(self, columns: PointColumns, now_ns: int, dropped: Dropped) -> PointColumns:
        decided = self._decided(columns.series)
        kept = [key for key in decided if key is not None]
        if len(kept) == len(decided):
            return columns._replace(series=kept)
        chosen = np.array([key is not None for key in decided])[columns.index]
        _count_bad(chosen, "tags", dropped)
        series = [
            columns.series[place] if key is None else key for place, key in enumerate(decided)
        ]
        return columns._replace(series=series).where(chosen)

    def _decide(self, key: SeriesKey) -> SeriesKey | None:
        try:
            return series_key(key.kind, key.name, {**self._tags, **dict(key.tags)})
        except UsageError:
            return None  # It has too many tags now.
