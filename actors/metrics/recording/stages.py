"""The stages between a host's points and its aggregators: validate, filter, transform, enrich.

They are a pipeline of `actors/pipelines` that runs in the host's own process. Its batches are
`PointColumns`, and it keeps the accounts: `in = passed + dropped{reason}` for each stage. A stage
that raises drops its batch, with a reason, because the next one is not to wait for a person.

Decisions about a series are made once, and remembered for as many series as a host may have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from callboard.messages.core.errors import UsageError

from ...pipelines.accounts import StageAccount
from ...pipelines.batch import DataBatch
from ...pipelines.build import build_pipeline
from ...pipelines.registry import Processor, StageEffects, StageRegistry, StageType
from ...pipelines.spec import DataPipeline, ErrorHandlingStrategy, ErrorPolicy, PipelineStage
from ..series import MetricKind, SeriesKey, series_key
from .columns import NO_POINTS, PointColumns
from .options import RecordingOptions

__all__ = ["Stages"]

PIPELINE: Final = "recording"
PAST_NS: Final = 946_684_800 * 1_000_000_000
"""The year 2000: an earlier time was not given in nanoseconds, or is none."""
FUTURE_NS: Final = 3_600 * 1_000_000_000
"""A time so far ahead of the clock is none."""
REMEMBERED_MAX: Final = 50_000
DROPS: Final = ErrorHandlingStrategy(ErrorPolicy.DROP, reason="refused")

Run = Callable[[PointColumns, StageEffects], PointColumns]


class Stages:
    """The pipeline of one source of a host."""

    def __init__(
        self, options: RecordingOptions, instance: str, more: Mapping[str, Run] | None = None
    ) -> None:
        """`more` are further stages, which come last."""
        self._now_ns = 0
        own = {
            "service": options.service,
            "instance": instance,
            "environment": options.environment,
            "region": options.region,
        }
        runs: dict[str, Run] = {
            "validate": self._validate,
            "filter": _Filter(options),
            "transform": _Transform(options),
            "enrich": _Enrich({tag: value for tag, value in own.items() if value}),
            **(more or {}),
        }
        self._pipeline: Final = build_pipeline(
            DataPipeline(
                PIPELINE,
                tuple(PipelineStage(name, name) for name in runs),
                error_handling=DROPS,
            ),
            StageRegistry(tuple(_type_of(name, run) for name, run in runs.items())),
        )

    @property
    def accounts(self) -> Mapping[str, StageAccount]:
        """What each stage has done so far."""
        return self._pipeline.account.stages

    def run(self, columns: PointColumns, now_ns: int) -> PointColumns:
        """The columns after all stages."""
        self._now_ns = now_ns
        batch = self._pipeline.run_batch(DataBatch(columns, columns.num_rows)).batch
        return NO_POINTS if batch is None else cast("PointColumns", batch.data)

    def _validate(self, columns: PointColumns, effects: StageEffects) -> PointColumns:
        """Drop values that are no numbers, counters that sink, and times that cannot be."""
        values, times_ns = columns.values, columns.times_ns
        is_good = np.isfinite(values)
        _drop(is_good, "not_finite", effects)
        kinds = np.array([key.kind for key in columns.series], np.int8)
        if (kinds == MetricKind.COUNTER).any():
            is_rising = (values >= 0.0) | (kinds[columns.index] != MetricKind.COUNTER)
            _drop(is_rising | ~is_good, "negative", effects)
            is_good &= is_rising
        is_time = (times_ns >= PAST_NS) & (times_ns <= self._now_ns + FUTURE_NS)
        _drop(is_time | ~is_good, "time", effects)
        return columns.where(is_good & is_time)


class _Stage:
    """The processor of one stage: it never raises, so that no batch is tried in parts."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        columns = cast("PointColumns", batch.data)
        try:
            after = self._run(columns, effects)
            left = batch.rows - after.num_rows - sum((effects.dropped or {}).values())
        except Exception:  # noqa: BLE001 - a stage may be a user's
            left = -1
            after = columns
        if left < 0:  # It has raised, or made points that it did not get.
            effects.dropped = None
            effects.drop("stage_failed", batch.rows)
            after = columns.where(np.zeros(batch.rows, np.bool_))
        return DataBatch(after, after.num_rows)


def _type_of(name: str, run: Run) -> StageType:
    def make(*_: object) -> Processor:
        return _Stage(run)

    return StageType(name, make)


def _drop(is_kept: npt.NDArray[np.bool_], reason: str, effects: StageEffects) -> None:
    effects.drop(reason, len(is_kept) - int(np.count_nonzero(is_kept)))


class _Remembered:
    """Decisions about series."""

    def __init__(self, decide: Callable[[SeriesKey], SeriesKey | None]) -> None:
        self._decide = decide
        self._known: dict[SeriesKey, SeriesKey | None] = {}

    def of(self, series: Sequence[SeriesKey]) -> list[SeriesKey | None]:
        """The decision about each series."""
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


class _Filter:
    """Drop the series that the options name."""

    def __init__(self, options: RecordingOptions) -> None:
        self._decided: Final = _Remembered(self._decide)
        self._dropped: Final = options.drop

    def __call__(self, columns: PointColumns, effects: StageEffects) -> PointColumns:
        if not self._dropped:
            return columns
        is_kept = np.array([key is not None for key in self._decided.of(columns.series)])
        chosen = is_kept[columns.index]
        _drop(chosen, "filtered", effects)
        return columns.where(chosen)

    def _decide(self, key: SeriesKey) -> SeriesKey | None:
        is_dropped = any(all(each.accepts(key) for each in matchers) for matchers in self._dropped)
        return None if is_dropped else key


class _Transform:
    """Rename metrics, and scale their values."""

    def __init__(self, options: RecordingOptions) -> None:
        self._renames: Final = options.renames
        self._scales: Final = options.scales

    def __call__(self, columns: PointColumns, effects: StageEffects) -> PointColumns:
        if self._scales:
            factors = np.array([self._scales.get(key.name, 1.0) for key in columns.series])
            columns = replace(columns, values=columns.values * factors[columns.index])
        if self._renames:
            renames = self._renames
            series = [
                key._replace(name=renames[key.name]) if key.name in renames else key
                for key in columns.series
            ]
            columns = replace(columns, series=series)
        return columns


class _Enrich:
    """Add the tags of the host to series that do not have them."""

    def __init__(self, tags: dict[str, str]) -> None:
        self._decided: Final = _Remembered(self._decide)
        self._tags: Final = tags

    def __call__(self, columns: PointColumns, effects: StageEffects) -> PointColumns:
        decided = self._decided.of(columns.series)
        kept = [key for key in decided if key is not None]
        if len(kept) == len(decided):
            return replace(columns, series=kept)
        chosen = np.array([key is not None for key in decided])[columns.index]
        _drop(chosen, "tags", effects)
        series = [columns.series[at] if key is None else key for at, key in enumerate(decided)]
        return replace(columns, series=series).where(chosen)

    def _decide(self, key: SeriesKey) -> SeriesKey | None:
        try:
            return series_key(key.kind, key.name, {**self._tags, **dict(key.tags)})
        except UsageError:
            return None  # It has too many tags now.
