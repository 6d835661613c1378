"""The limits, the states and the figures of a running pipeline."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...kernel.inspection.metric_sources import Name, Reading
from ..accounts import PipelineAccount

__all__ = ["PipelineLimits", "PipelineStatistics", "RunState", "reading_of"]


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """The limits of a running pipeline; times in seconds."""

    batch_rows: int = 1_000
    """The most rows in a batch."""
    credit_batches: int = 8
    """Batches on their way: to a pool, or to a sink outside. With more, no row is read."""
    idle_s: float = 0.5
    """How long it waits for rows before it checks for commands of a person."""
    deliver_timeout_s: float = 60.0
    """A delivery that takes longer counts as failed, and is repeated."""
    pool_timeout_s: float = 60.0
    """The same for a stage on a pool."""


@enum.unique
class RunState(enum.Enum):
    """What a pipeline does now."""

    STARTING = "starting"
    RUNNING = "running"
    IDLE = "idle"
    """It has taken every row that the source has."""
    RETRYING = "retrying"
    """A stage failed, and is tried again after a wait."""
    WAITING_FOR_STORE = "waiting for the store"
    WAITING_FOR_SINK = "waiting for the sink"
    """The sink has taken no credit back: no row is read."""
    STOPPED = "stopped"
    """It stopped itself, and waits for someone to resume it."""
    ENDED = "ended"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class PipelineStatistics:
    """The figures of a pipeline; the account is that of its last commit."""

    name: str
    """The name of the pipeline."""
    state: RunState
    """What it does now."""
    reason: str
    """Why it has stopped; empty otherwise."""
    position: Any
    """The stored position of the source."""
    batches: int
    """Batches that were ever stored."""
    behind: int | None
    """Rows that the source still has; None if it does not know."""
    lag_s: float
    """For how long the oldest row that was read, and is not stored, has been waiting."""
    in_flight: int
    """Batches on their way."""
    retries: int
    """Batches that ran again."""
    hung: int
    """Stages that missed their deadline."""
    overtaken: int
    """Commits that were repeated after a person's decision."""
    store_failures: int
    """Failures of the store or the source that were waited out."""
    deliver_failures: int
    """Deliveries that the sink did not take."""
    account: Mapping[str, Any]
    """The account, as `PipelineAccount.to_data` gives it."""


def reading_of(
    now: PipelineStatistics, account: PipelineAccount, before: PipelineAccount
) -> Reading:
    """The figures as metrics: counts since `before`, which an earlier incarnation has counted."""
    name = now.name
    counts: dict[Name, float] = {
        Name("callboard_pipeline_read", name): account.read - before.read,
        Name("callboard_pipeline_replayed", name): account.replayed - before.replayed,
        Name("callboard_pipeline_delivered", name): account.delivered - before.delivered,
        Name("callboard_pipeline_retries", name): now.retries,
        Name("callboard_pipeline_hung", name): now.hung,
        Name("callboard_pipeline_store_failures", name): now.store_failures,
        Name("callboard_pipeline_deliver_failures", name): now.deliver_failures,
    }
    gauges = {
        Name("callboard_pipeline_letters_pending", name): float(account.letters_pending),
        Name("callboard_pipeline_outgoing", name): float(account.outgoing),
        Name("callboard_pipeline_lag_seconds", name): now.lag_s,
        Name("callboard_pipeline_stopped", name): float(
            now.state in (RunState.STOPPED, RunState.FAILED)
        ),
    }
    if now.behind is not None:
        gauges[Name("callboard_pipeline_lag_rows", name)] = float(now.behind)
    for stage, sums in account.stages.items():
        label = f"{name}/{stage}"
        old = before.stages.get(stage)
        for what in ("rows_in", "rows_out", "letters", "failures"):
            counts[Name(f"callboard_pipeline_stage_{what}", label)] = getattr(sums, what) - (
                0 if old is None else getattr(old, what)
            )
        counts[Name("callboard_pipeline_stage_dropped", label)] = sum(sums.dropped.values()) - (
            0 if old is None else sum(old.dropped.values())
        )
        counts[Name("callboard_pipeline_stage_seconds", label)] = (
            sums.nanoseconds - (0 if old is None else old.nanoseconds)
        ) / 1e9
        gauges[Name("callboard_pipeline_stage_buffered", label)] = float(sums.buffered)
    return Reading(counts, gauges)
