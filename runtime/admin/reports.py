"""What the admin API says about one execution, from its history; pure."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from callboard.actors.executions.history.changes import doubts, standing_of
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.messages.core.names import shell_command

from .analysis import Analysis
from .paging import page_of
from .views import (
    DoubtRow,
    ExecutionView,
    FailureRow,
    Key,
    MomentRow,
    QuerySubTasks,
    SubTaskRow,
    SubTasksPage,
)

__all__ = ["Live", "sub_tasks_of", "view_of"]

FAILURES_MAX: Final = 50
DOUBTS_MAX: Final = 50
KINDS_MAX: Final = 50
NEEDS_MAX: Final = 10
ROWS_MAX: Final = 200
"""The newest owners, phases and transitions that a view lists."""
TEXT_MAX: Final = 500


class Live(NamedTuple):
    """An execution that this process runs, at this moment."""

    problem: str = ""
    """The known obstacle to its progress."""
    running: int = 0
    ready: int = 0
    backing_off: int = 0


def view_of(history: ExecutionHistory, live: Live | None) -> ExecutionView:
    """The header of an execution; `live` is None when no process runs it."""
    waiting = doubts(history, is_gone=live is None)
    failures = sorted(_failures(history), key=lambda failure: failure.at, reverse=True)
    steps = history.steps[-ROWS_MAX:]
    fork = history.fork
    return ExecutionView(
        id=history.id,
        job=history.job,
        status="interrupted" if live is None and not history.is_over else str(history.status),
        version=history.version,
        event=history.last_id.hex(),
        waits_for=_obstacle(history, live, len(waiting)),
        is_over=history.is_over,
        submitted_at=history.submitted.at,
        updated_at=history.at,
        ended_at=history.steps[-1].at if history.is_over else None,
        fork_of="" if fork is None else str(fork.of_id),
        fork_from="" if fork is None else str(fork.step),
        owners=tuple(MomentRow(name=name, at=at) for name, at in history.owners[-ROWS_MAX:]),
        phases=tuple(MomentRow(name=name, at=at) for name, at in history.phases[-ROWS_MAX:]),
        transitions=tuple(
            {
                "from": str(step.from_status),
                "to": str(step.to),
                "at": step.at,
                "trigger": step.trigger,
                "by": _by(step.metadata),
            }
            for step in steps
        ),
        counts=_counts(history),
        sub_tasks=len(history.ids),
        attempts=len(history.ended),
        retries=sum(1 for ended in history.ended if ended[5]),
        failures=tuple(failures[:FAILURES_MAX]),
        failures_left_off=max(0, len(failures) - FAILURES_MAX),
        in_doubt=tuple(
            DoubtRow(
                step=doubt.step,
                attempt=doubt.attempt,
                code=doubt.code,
                message=doubt.message[:TEXT_MAX],
            )
            for doubt in waiting[:DOUBTS_MAX]
        ),
        in_doubt_left_off=max(0, len(waiting) - DOUBTS_MAX),
        kinds=dict(
            Counter(
                name for added in history.added for name in added.event.contract_names()
            ).most_common(KINDS_MAX)
        ),
    )


def _counts(history: ExecutionHistory) -> dict[str, int]:
    counts = Counter(map(str, history.statuses))
    doubtful = len(history.doubtful)
    return dict(counts) | ({"in_doubt": doubtful} if doubtful else {})


def _by(metadata: dict[str, object]) -> str:
    """Who has asked for a transition; empty where nobody has."""
    error = metadata.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    return str(details.get("by", "")) if isinstance(details, dict) else ""


def _obstacle(history: ExecutionHistory, live: Live | None, in_doubt: int) -> str:
    """Why the execution does not go on; empty when it does, or is over."""
    if history.is_over:
        return ""
    if in_doubt:
        command = shell_command("callboard approve", history.id)
        return f"{in_doubt:,} steps may have run, and wait for a decision: {command} STEP."
    if live is None:
        command = shell_command("callboard resume", history.id)
        return f"no process runs it: {command} continues it."
    if live.problem:
        return live.problem
    if live.running or not history.has_plan:
        return ""
    if live.ready:
        return f"{live.ready:,} sub-tasks could run, and wait for a free agent."
    if live.backing_off:
        return f"{live.backing_off:,} sub-tasks wait before their next attempt."
    return ""


def _failures(history: ExecutionHistory) -> Iterator[FailureRow]:
    ids, last = history.ids, {}
    for place, ended in enumerate(history.ended):
        if ended[5]:
            last[ended[0]] = place
    for place, (task, attempt, _, began_at, took_s, code, message) in enumerate(history.ended):
        if code and task < len(ids):
            yield FailureRow(
                at=began_at + took_s,
                code=code,
                message=message[:TEXT_MAX],
                sub_task=ids[task],
                attempt=attempt,
                is_final=task in history.errors and last[task] == place,
            )
    for task, error in history.errors.items():
        if task not in last:
            yield FailureRow(
                at=0.0,
                code=str(error.get("code", "")),
                message=str(error.get("message", ""))[:TEXT_MAX],
                sub_task=ids[task],
                is_final=True,
            )
    for step in history.steps:
        cause = step.metadata.get("error")
        if isinstance(cause, dict):
            yield FailureRow(
                at=step.at,
                code=str(cause.get("code", "")),
                message=str(cause.get("message", ""))[:TEXT_MAX],
                is_final=True,
            )


# --- sub-tasks ----------------------------------------------------------------------------------


def sub_tasks_of(
    history: ExecutionHistory, times: Analysis, request: QuerySubTasks
) -> SubTasksPage:
    """A page of the sub-tasks; O(sub-tasks)."""
    table = _Table(history, times)
    numbers = [number for number in range(len(history.ids)) if table.passes(number, request)]
    # Ids of equal keys are sorted as texts: with leading zeros they are in their own order.
    found, following = page_of(
        numbers,
        lambda number: (table.key(number, request.sort), f"{number:09}"),
        after=request.after,
        limit=request.limit,
        is_ascending=request.is_ascending,
    )
    return SubTasksPage(
        items=tuple(map(table.row, found)),
        next=following,
        total=len(numbers),
        version=history.version,
    )


class _Table:
    """The sub-tasks of one history as rows."""

    def __init__(self, history: ExecutionHistory, times: Analysis) -> None:
        self._history = history
        self._times = times
        self._failed = {one.number for one in times.attempts if one.code} | history.errors.keys()
        self._critical = frozenset(times.critical)

    def passes(self, number: int, request: QuerySubTasks) -> bool:
        """Whether the filter lets a sub-task through."""
        return (
            (not request.failed_only or number in self._failed)
            and (not request.status or standing_of(self._history, number) in request.status)
            and (not request.kind or self._times.kinds[number] == request.kind)
            and (not request.id or request.id in self._history.ids[number])
        )

    def key(self, number: int, sort: str) -> Key:
        """What a sub-task is sorted by."""
        match sort:
            case "id":
                return self._history.ids[number]
            case "status":
                return standing_of(self._history, number)
            case "queue":
                return self._queue_s(number)
            case "run":
                return self._run_s(number)
            case "attempts":
                return float(len(self._times.by_task.get(number, ())))
            case "ended":
                return self._times.ended_at[number]
            case _:
                return float(number)

    def _queue_s(self, number: int) -> float:
        places, attempts = self._times.by_task.get(number, ()), self._times.attempts
        return sum(attempts[place].began_at - attempts[place].ready_at for place in places)

    def _run_s(self, number: int) -> float:
        places, attempts = self._times.by_task.get(number, ()), self._times.attempts
        return sum(attempts[place].ended_at - attempts[place].began_at for place in places)

    def row(self, number: int) -> SubTaskRow:
        """One sub-task."""
        history, times = self._history, self._times
        attempts = [times.attempts[place] for place in times.by_task.get(number, ())]
        last = attempts[-1] if attempts else None
        failed = next((one for one in reversed(attempts) if one.code), None)
        error = history.errors.get(number, {})
        needs, parent = times.needs[number], times.parents[number]
        is_ready = all(times.ended_at[need] for need in needs)
        return SubTaskRow(
            number=number,
            id=history.ids[number],
            kind=times.kinds[number],
            status=standing_of(history, number),
            attempts=len(attempts),
            needs=tuple(history.ids[need] for need in needs[:NEEDS_MAX]),
            needs_left_off=max(0, len(needs) - NEEDS_MAX),
            parent="" if parent is None else history.ids[parent],
            ready_at=times.ready_at(number) if is_ready else None,
            began_at=None if last is None else last.began_at,
            ended_at=None if last is None else last.ended_at,
            queue_s=self._queue_s(number),
            run_s=self._run_s(number),
            executor="" if last is None else last.executor,
            error=str(error.get("message") or ("" if failed is None else failed.message))[
                :TEXT_MAX
            ],
            error_code=str(error.get("code") or ("" if failed is None else failed.code)),
            is_critical=number in self._critical,
        )
