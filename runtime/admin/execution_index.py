"""The list of the executions of one journal, kept up to date by its events; pure."""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from callboard.actors.executions.history.events import PREFIX
from callboard.actors.executions.history.rows import ExecutionSummary, summarise
from callboard.messages.storage.events import RecordedEvent

from .paging import page_of
from .views import ExecutionRow, ExecutionsPage, Key, QueryExecutions

__all__ = ["ExecutionIndex"]

ROWS_MAX: Final = 200_000
"""The most executions that are kept: some 100 MB. Beyond that the oldest ended ones go."""
INTERRUPTED: Final = "interrupted"


class ExecutionIndex:
    """The executions of a log, by their ids. `rows_max` bounds the ended ones that are kept."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._rows: dict[str, ExecutionSummary] = {}
        self.left_off = 0
        """Ended executions that had no room."""

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, events: Iterable[RecordedEvent]) -> None:
        """Add the next events of the log, of the kinds `ROW_KINDS`."""
        for event in events:
            execution_id = event.stream.removeprefix(PREFIX)
            row = self._rows.get(execution_id)
            if row is None:
                row = self._rows[execution_id] = ExecutionSummary(execution_id)
            summarise(event, row, self._rows)
        excess = len(self._rows) - self._rows_max
        if excess > 0:
            ended = (row.id for row in self._rows.values() if row.is_over)
            for execution_id, _ in zip(list(ended), range(excess), strict=False):
                del self._rows[execution_id]
                self.left_off += 1

    def with_steps(self, limit: int) -> list[str]:
        """The newest executions that have not ended and have begun a non-idempotent step."""
        rows = (row for row in self._rows.values() if row.has_non_idempotent and not row.is_over)
        found = heapq.nlargest(limit, rows, key=lambda row: (row.submitted_at, row.id))
        return [row.id for row in found]

    def page(self, request: QueryExecutions, running: Mapping[str, int]) -> ExecutionsPage:
        """The page that is asked for.

        `running` has the executions that a process runs, and how many of their sub-tasks are done.
        """

        def status(row: ExecutionSummary) -> str:
            return str(row.status) if row.is_over or row.id in running else INTERRUPTED

        def passes(row: ExecutionSummary) -> bool:
            return (
                (not request.status or status(row) in request.status)
                and (not request.job or row.job == request.job)
                and row.id.startswith(request.id)
                and request.submitted_from <= row.submitted_at < request.submitted_to
            )

        rows: Sequence[ExecutionSummary] = list(self._rows.values())
        found, following = page_of(
            filter(passes, rows),
            lambda row: (_key(row, status(row), request.sort), row.id),
            after=request.after,
            limit=request.limit,
            is_ascending=request.is_ascending,
        )
        return ExecutionsPage(
            items=tuple(_item(row, status(row), running.get(row.id)) for row in found),
            next=following,
            counts=dict(Counter(map(status, rows))),
            left_off=self.left_off,
        )


def _key(row: ExecutionSummary, status: str, sort: str) -> Key:
    match sort:
        case "ended":
            return row.ended_at or 0.0
        case "duration":
            return 0.0 if row.ended_at is None else row.ended_at - row.submitted_at
        case "job":
            return row.job
        case "status":
            return status
        case _:
            return row.submitted_at


def _item(row: ExecutionSummary, status: str, done: int | None) -> ExecutionRow:
    return ExecutionRow(
        id=row.id,
        job=row.job,
        status=status,
        submitted_at=row.submitted_at,
        ended_at=row.ended_at,
        owner=row.owner,
        sub_tasks=row.sub_tasks,
        done=done,
        fork_of=row.fork_of,
        problem=row.problem,
    )
