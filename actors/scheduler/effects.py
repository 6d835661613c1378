"""What the scheduler's core asks of its shell: a closed vocabulary of effects.

Handle them with `match` and `assert_never`. They are named tuples, not dataclasses: a
plan of 100,000 sub-tasks makes 200,000 of them, and a named tuple costs half as much.

What the shell owes in return:

- every `Dispatch` is answered by exactly one report: done, failed, or the loss of its executor;
- a `CancelAttempt` is passed on, and the attempt still answers (usually with `Cancelled`);
  until then its slot stays taken, at most for the core's `cancel_grace_s`.
"""

from typing import Any, NamedTuple

from callboard.messages.core.errors import CallboardError
from callboard.messages.jobs.execution import ExecutionStatus

__all__ = [
    "CancelAttempt",
    "Dispatch",
    "DoneReport",
    "Effect",
    "ExecutionDone",
    "TaskDone",
    "TaskDoubtful",
    "TaskFailed",
    "TaskRetried",
    "TasksCancelled",
    "TasksSkipped",
]


class Dispatch(NamedTuple):
    """Run this attempt (numbered from 1) of the sub-task on the executor."""

    task_id: str
    attempt: int
    executor: str


class CancelAttempt(NamedTuple):
    """Stop this attempt: nobody waits for its result any more."""

    task_id: str
    attempt: int
    executor: str


class TaskDone(NamedTuple):
    """The result of the sub-task; `result` is the handle that was reported."""

    task_id: str
    attempt: int
    result: Any  # opaque to the core


class TaskFailed(NamedTuple):
    """The sub-task failed for good."""

    task_id: str
    error: CallboardError
    optional: bool


class TaskRetried(NamedTuple):
    """An attempt failed and the sub-task runs again, not before `at`."""

    task_id: str
    attempt: int
    error: CallboardError
    at: float


class TaskDoubtful(NamedTuple):
    """An attempt of a non-idempotent sub-task may have run: `decide` says what becomes of it."""

    task_id: str
    attempt: int
    error: CallboardError


class TasksSkipped(NamedTuple):
    """These can never run: `because` ended without a result, and they need it."""

    task_ids: tuple[str, ...]
    because: str


class TasksCancelled(NamedTuple):
    """These were cancelled, in one step."""

    task_ids: tuple[str, ...]


class ExecutionDone(NamedTuple):
    """Every sub-task has ended; nothing but late reports follows.

    `failed_task` and `error` are those of the first required sub-task that failed.
    """

    status: ExecutionStatus
    failed_task: str | None
    error: CallboardError | None


Effect = (
    CancelAttempt
    | TaskDone
    | TaskFailed
    | TaskRetried
    | TaskDoubtful
    | TasksSkipped
    | TasksCancelled
    | ExecutionDone
)
"""Everything `take_effects` can hold; `Dispatch` comes from `dispatch` alone."""

DoneReport = tuple[str, int, Any]
"""A sub-task's id, the number of the attempt, and the handle of its result."""
