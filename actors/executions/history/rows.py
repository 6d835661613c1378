"""The executions of a log, one row each, from the few events that decide their status."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from callboard.messages.jobs.execution import EXECUTION_TRANSITIONS, ExecutionStatus
from callboard.messages.storage.errors import StoreDamaged, UnknownEvent
from callboard.messages.storage.events import RecordedEvent

from .events import (
    Began,
    Event,
    Forked,
    Kind,
    Planned,
    Resumed,
    Stepped,
    Submitted,
    read,
)

__all__ = ["ROW_KINDS", "ExecutionSummary", "summarise"]

ROW_KINDS: Final = tuple(
    str(kind)
    for kind in (
        Kind.SUBMITTED, Kind.FORKED, Kind.PLANNED, Kind.BEGAN, Kind.STEPPED, Kind.RESUMED,
    )
)  # fmt: skip
"""The kinds of events that `summarise` reads."""


PROBLEM_CHARS_MAX: Final = 300
"""A longer reason of a failure is cut: there may be many rows."""


@dataclass(slots=True)
class ExecutionSummary:
    """One execution. Times are in seconds since 1970."""

    id: str
    job: str = ""
    status: ExecutionStatus = ExecutionStatus.PENDING
    submitted_at: float = 0.0
    ended_at: float | None = None
    owner: str = ""
    sub_tasks: int | None = None
    """The sub-tasks of its plan; None before there is one."""
    fork_of: str = ""
    shared: int = 0
    """Of a fork: the number of sub-tasks whose results it shares with its origin."""
    problem: str = ""
    """Why it has failed, or that its events are damaged."""
    has_non_idempotent: bool = False
    """Whether it has run non-idempotent steps."""

    @property
    def is_over(self) -> bool:
        """Whether the execution has ended."""
        return not EXECUTION_TRANSITIONS[self.status]


def summarise(
    event: RecordedEvent, row: ExecutionSummary, rows: Mapping[str, ExecutionSummary]
) -> None:
    """Bring a row up to date by an event of its execution; `rows` has the origins of forks.

    A damaged event becomes the row's problem.
    """
    try:
        _take(row, read(event.kind, event.data), rows)
    except (StoreDamaged, UnknownEvent, KeyError, TypeError, ValueError) as error:
        row.problem = f"event {event.version} ({event.kind}) is damaged: {error!r}"


def _take(row: ExecutionSummary, event: Event, rows: Mapping[str, ExecutionSummary]) -> None:
    match event:
        case Submitted():
            row.job, row.owner = str(event.job), str(event.by)
            row.submitted_at = float(event.at)
        case Forked():
            row.fork_of, row.owner = str(event.of_id), str(event.by)
            row.submitted_at = float(event.at)
            row.status, row.shared = ExecutionStatus.RUNNING, int(event.shared)
            row.sub_tasks = int(event.sub_tasks)
            row.job = rows[row.fork_of].job if row.fork_of in rows else ""
        case Planned():
            row.sub_tasks = int(event.sub_tasks)
        case Resumed():
            row.owner = str(event.by)
        case Began():
            row.has_non_idempotent = True
        case Stepped():
            row.status = ExecutionStatus(event.to)
            row.ended_at = float(event.at) if row.is_over else None
            cause = event.metadata.get("error") if isinstance(event.metadata, Mapping) else None
            if row.is_over and isinstance(cause, Mapping):
                row.problem = str(cause.get("message", ""))[:PROBLEM_CHARS_MAX]
        case _:
            pass  # No event of `ROW_KINDS`.
