"""The executions of a journal, one row each, read from the few events that decide its status."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

from callboard.actors.executions.history.changes import doubts
from callboard.actors.executions.history.events import (
    PREFIX,
    Grown,
    Kind,
    Moved,
    read,
    stream_of,
)
from callboard.actors.executions.history.rows import ROW_KINDS, ExecutionSummary, summarise
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import StoreDamaged

from .logs import Found, Log, history_of

__all__ = ["Row", "chosen", "count_done", "find_doubts", "rows_of"]

EVENTS_AT_ONCE: Final = 1_000
PROGRESS_EVENTS_MAX: Final = 500
"""Events of one execution that are read to count its finished sub-tasks."""


@dataclass(slots=True)
class Row(ExecutionSummary):
    """One execution of a journal."""

    journal: str = ""
    done: int | None = None
    """The number of finished sub-tasks; None where counting would cost much."""
    interrupted: bool | None = False
    """Whether it has not ended, but its system is gone; None where this is unknown."""
    in_doubt: tuple[str, ...] = ()
    """Steps that wait for a decision."""

    def to_data(self) -> dict[str, Any]:
        """The row for machines."""
        names = (field.name for field in fields(self))
        return {name: getattr(self, name) for name in names} | {"status": str(self.status)}


def rows_of(log: Log) -> list[Row]:
    """All executions of a journal, newest first."""
    rows: dict[str, Row] = {}
    after = 0
    while found := log.store.read(after, EVENTS_AT_ONCE, kinds=ROW_KINDS):
        for event in found:
            execution_id = event.stream.removeprefix(PREFIX)
            row = rows.setdefault(execution_id, Row(execution_id, journal=log.url))
            summarise(event, row, rows)
        after = found[-1].position
    writer = log.writer()
    for row in rows.values():
        if row.is_over:
            row.interrupted = False
        elif writer is None:
            row.interrupted = None
        else:
            row.interrupted = not writer or row.owner.rpartition("/")[2] != writer
    return sorted(rows.values(), key=lambda row: row.submitted_at, reverse=True)


def count_done(log: Log, row: Row) -> None:
    """Count the sub-tasks and the finished ones, if that takes few events."""
    found = log.store.read_stream(stream_of(row.id), limit=PROGRESS_EVENTS_MAX)
    if len(found) == PROGRESS_EVENTS_MAX:
        return
    try:
        counts = [_counts_in(event.kind, event.data) for event in found]
        row.done = row.shared + sum(done for done, _ in counts)
        if row.sub_tasks is not None:
            row.sub_tasks += sum(grown for _, grown in counts)
    except (StoreDamaged, KeyError, TypeError) as error:
        row.problem = f"an event is damaged: {error!r}"


def find_doubts(log: Log, row: Row) -> None:
    """Find the steps that wait for a decision. Reads the execution only if it can have some."""
    if row.is_over or not row.has_non_idempotent:
        return
    try:
        history = history_of(Found(log, row.id))
    except CallboardError as error:
        row.problem = error.message
    else:
        row.in_doubt = tuple(doubt.step for doubt in doubts(history, is_gone=bool(row.interrupted)))


def _counts_in(kind: str, data: bytes) -> tuple[int, int]:
    """How many sub-tasks an event finishes, and how many it adds to the plan."""
    if kind not in (Kind.MOVED, Kind.GROWN):
        return 0, 0
    match read(kind, data):
        case Moved() as moved:
            return moved.done_count, 0
        case Grown() as grown if grown.parent is not None:
            return 0, len(grown)
        case _:
            return 0, 0


def chosen(rows: list[Row], status: str | None, job: str | None, limit: int) -> Iterator[Row]:
    """The rows that a filter lets through."""
    for row in rows:
        if limit <= 0:
            return
        shown = "interrupted" if row.interrupted else str(row.status)
        if (status is None or status in (shown, str(row.status))) and job in (None, row.job):
            limit -= 1
            yield row
