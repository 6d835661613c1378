"""The effects of the scheduler's core: a closed vocabulary of instructions to its shell.

Handle them with `match` and `assert_never`. They are named tuples, not dataclasses: a
plan of 100,000 sub-tasks makes 200,000 of them, and a named tuple costs half as much.

The shell owes the core these answers:

- for every `Dispatch` exactly one report: done, failed, or the loss of its executor;
- for every `CancelAttempt` the answer of the attempt (usually `Cancelled`). Until then the
  attempt keeps its slot, for at most the core's `cancel_grace_s`.
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
    """Stop this attempt: its result has no use any more."""

    task_id: str
    attempt: int
    executor: str


class TaskDone(NamedTuple):
    """The sub-task is done; `result` is the reported handle."""

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
    """An attempt of a non-idempotent sub-task may have run; `decide` settles it."""

    task_id: str
    attempt: int
    error: CallboardError


class TasksSkipped(NamedTuple):
    """These can never run: `because` ended without a result, and they need it."""

    task_ids: tuple[str, ...]
    because: str


class TasksCancelled(NamedTuple):
    """These were cancelled together."""

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
"""The effects of `take_effects`; `Dispatch` comes from `dispatch` only."""

DoneReport = tuple[str, int, Any]
"""A sub-task's id, the number of the attempt, and the handle of its result."""
