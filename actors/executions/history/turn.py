"""The results and effects of one turn of a run, for its recorder."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from callboard.messages.core.errors import CallboardError
from callboard.messages.jobs.retry import Retryability, retryability_of

from ...scheduler.effects import (
    DoneReport,
    Effect,
    TaskDoubtful,
    TaskFailed,
    TaskRetried,
    TasksCancelled,
    TasksSkipped,
)

if TYPE_CHECKING:
    from .recorder import Recorder

__all__ = ["keep_results", "record_effect"]

Refused = tuple[str, int, CallboardError]
"""A sub-task's id, the number of the attempt, and why its result cannot be journalled."""


def keep_results(
    recorder: "Recorder", reports: Sequence[DoneReport], again: Callable[[DoneReport], None]
) -> tuple[list[DoneReport], list[Refused]]:
    """Give the results to the recorder: gives those that it keeps, and those that it cannot keep.

    A result that must be stored first is in neither list: `again` is called after that.
    """
    kept: list[DoneReport] = []
    refused: list[Refused] = []
    for report in reports:
        outcome = recorder.result(report, again)
        if outcome is True:
            kept.append(report)
        elif isinstance(outcome, CallboardError):
            refused.append((report[0], report[1], outcome))
    return kept, refused


def record_effect(
    recorder: "Recorder", effect: Effect, numbers: Mapping[str, int], now: float
) -> None:
    """Record an effect of the scheduler; effects that follow from others are not recorded."""
    match effect:
        case TaskFailed(task_id, error, _):
            recorder.failed(numbers[task_id], task_id, error, now)
        case TaskRetried(task_id, attempt, error, _):
            loss = retryability_of(error) is Retryability.HOST_LOSS
            recorder.troubled(numbers[task_id], task_id, attempt, error, now, loss=loss)
        case TaskDoubtful(task_id, attempt, error):
            recorder.doubtful(numbers[task_id], task_id, attempt, error, now)
        case TasksSkipped(task_ids, _):
            recorder.skipped([numbers[task_id] for task_id in task_ids])
        case TasksCancelled(task_ids):
            recorder.cancelled([numbers[task_id] for task_id in task_ids])
        case _:
            pass
