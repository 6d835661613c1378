"""What a driver and the execution service of a detached system tell each other of executions.

A job is code, so it travels as actor classes do: pickled, and read by the execution service's host
alone. Results and partial results are values of the job's own types; see
`runtime/executions/values.py`.
"""

from typing import Any

from pydantic import Field

from callboard.messages.core.contract import Contract, Request

__all__ = [
    "CancelTask",
    "DescribeExecution",
    "ExecutionDescribed",
    "ExecutionFollowed",
    "ExecutionTaken",
    "FollowExecution",
    "TakeExecution",
    "TaskCancelled",
]


class ExecutionTaken(Contract, name="callboard.execution_taken"):
    """The system has it: whatever ends now, it goes on."""


class TakeExecution(Request[ExecutionTaken], name="callboard.take_execution"):
    """Run an execution, or go on with it; one that runs already is left alone.

    Asked again with the same token, it is the same wish. Fails with `UsageError` for an id that
    the journal has already, or, when it is to go on, does not have; and with what the journal's
    store raises.
    """

    execution_id: str
    job: str
    code: bytes
    """The pickled job, request and attributes; the last two None when it is to go on."""
    token: str
    is_new: bool
    driver: dict[str, Any] = Field(default_factory=dict)
    """How the driver was started, for the journal."""


class ExecutionFollowed(Contract, name="callboard.execution_followed"):
    """What is new of an execution."""

    is_known: bool = True
    """Whether the execution service has it: it keeps what has ended for a short time only."""
    incarnation: str = ""
    """Changes when the execution is begun again, and with it what the marks mean."""
    mark: tuple[int, int, int] = (0, 0, 0)
    updates: tuple[bytes, ...] = ()
    snapshot: bytes = b""
    """Its state and statistics."""
    partial_cost_s: float = 0.0
    """What a partial result among the updates took to make."""
    error: dict[str, Any] | None = None
    """Why the execution service has given it up, though it has not ended."""
    problem: str = ""
    """What keeps it from going on, now."""


class FollowExecution(Request[ExecutionFollowed], name="callboard.follow_execution"):
    """Tell what is new of an execution, as soon as something is, at the latest after `wait_s`."""

    execution_id: str
    incarnation: str = ""
    mark: tuple[int, int, int] = (0, 0, 0)
    problem: str = ""
    """What was told last of what keeps it from going on."""
    wants_partials: bool = False
    wait_s: float = 10.0


class ExecutionDescribed(Contract, name="callboard.execution_described"):
    """What the journal says of an execution."""

    job: str = ""
    """Its job's name; empty when the journal does not have it."""
    request: str = ""
    """The name of its request's contract: whoever goes on with it brings that along."""


class DescribeExecution(Request[ExecutionDescribed], name="callboard.describe_execution"):
    """What an execution is of. Fails with what the journal's store raises."""

    execution_id: str


class TaskCancelled(Contract, name="callboard.task_cancelled"):
    """What became of a wish to cancel a sub-task."""

    was_open: bool


class CancelTask(Request[TaskCancelled], name="callboard.cancel_task"):
    """Cancel one sub-task of an execution that runs; fails with `UsageError`."""

    execution_id: str
    task_id: str
