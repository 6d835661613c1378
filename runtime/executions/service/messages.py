"""The messages between a driver and the execution service of a detached system.

A job is code, so it travels like actor classes: pickled, and loaded by the host of the execution
service only. Results and partial results are values of the job's own types; see
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
    "JobOffered",
    "OfferJob",
    "TakeExecution",
    "TaskCancelled",
]


class ExecutionTaken(Contract, name="callboard.execution_taken"):
    """The ledger has the execution: it continues whatever process ends."""


class TakeExecution(Request[ExecutionTaken], name="callboard.take_execution"):
    """Run an execution, or continue it; does nothing for an execution that runs already.

    A repeated request has the same token. Fails with `ExecutionIdTaken` when another request was
    submitted under the id, with `UsageError` for an execution to continue that the journal does
    not have, and with the errors of the journal's store.
    """

    execution_id: str
    job: str
    code: bytes
    """The pickled job, request and attributes; the last two are None to continue."""
    token: str
    is_new: bool
    driver: dict[str, Any] = Field(default_factory=dict)
    """The command line of the driver, for the journal."""


class ExecutionFollowed(Contract, name="callboard.execution_followed"):
    """The news of an execution."""

    is_known: bool = True
    """Whether the execution service has it; it keeps ended executions for a short time only."""
    incarnation: str = ""
    """Changes with each start of the execution; a mark belongs to one incarnation."""
    mark: tuple[int, int, int, int] = (0, 0, 0, 0)
    updates: tuple[bytes, ...] = ()
    snapshot: bytes = b""
    """Its state and statistics."""
    partial_cost_s: float = 0.0
    """The time to pack a partial result among the updates."""
    error: dict[str, Any] | None = None
    """Why the execution service has given it up, although it has not ended."""
    problem: str = ""
    """What prevents its progress now."""


class FollowExecution(Request[ExecutionFollowed], name="callboard.follow_execution"):
    """Reply with the news of an execution, at the latest after `wait_s` seconds."""

    execution_id: str
    incarnation: str = ""
    mark: tuple[int, int, int, int] = (0, 0, 0, 0)
    problem: str = ""
    """The problem of the last reply."""
    wants_partials: bool = False
    wants_streamed: bool = False
    """Whether somebody reads the partial results of sub-tasks."""
    wait_s: float = 10.0


class ExecutionDescribed(Contract, name="callboard.execution_described"):
    """The job and the request of an execution."""

    job: str = ""
    """The name of its job; empty when the journal does not have it."""
    request: str = ""
    """The name of its request's contract, which a driver needs to resume it."""


class DescribeExecution(Request[ExecutionDescribed], name="callboard.describe_execution"):
    """Ask for the job of an execution. Fails with the errors of the journal's store."""

    execution_id: str


class TaskCancelled(Contract, name="callboard.task_cancelled"):
    """The outcome of `CancelTask`."""

    was_open: bool


class CancelTask(Request[TaskCancelled], name="callboard.cancel_task"):
    """Cancel one sub-task of an execution; fails with `UsageError` when it does not run."""

    execution_id: str
    task_id: str


class JobOffered(Contract, name="callboard.job_offered"):
    """The ledger has the job."""


class OfferJob(Request[JobOffered], name="callboard.offer_job"):
    """Let clients of the admin API submit requests of a job, in place of an earlier one."""

    job: str
    code: bytes
    """The pickled job, and the class of its requests."""
    contract: str
    """The name of the contract of its requests."""
