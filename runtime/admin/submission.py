"""Submissions through the admin API: requests and replies.

Requests and results travel as JSON, so a client needs none of the classes. The system builds the
request by the contract that the job was offered with.
"""

from typing import Any, Final

from pydantic import Field, FiniteFloat

from callboard.messages.core.contract import Contract, Request

__all__ = [
    "WAIT_S_MAX",
    "AwaitResult",
    "JobRow",
    "JobsListed",
    "ListJobs",
    "ResultAnswered",
    "SubmitExecution",
    "Submitted",
]

WAIT_S_MAX: Final = 15.0
"""The longest wait for a result in one request; a client asks again."""


class Submitted(Contract, name="callboard.admin.submitted"):
    """The execution runs, or has run before."""

    execution_id: str
    is_new: bool
    """Whether this submission began it."""


class SubmitExecution(Request[Submitted], name="callboard.admin.submit"):
    """Submit a request of a job that the system offers; the same id and request run once."""

    job: str = Field(min_length=1, max_length=200)
    """The name of the job."""
    fields: dict[str, Any] = Field(default_factory=dict)
    """The fields of its request."""
    attributes: dict[str, Any] = Field(default_factory=dict)
    """See `System.submit`."""
    execution_id: str = Field(default="", max_length=200)
    """The caller's id of the execution; empty for a new one."""
    by: str = ""
    """Who submits; the service sets it."""
    traceparent: str = Field(default="", max_length=55)
    """The span of the client that the execution belongs to, if any."""

    @property
    def driver(self) -> dict[str, str]:
        """What the journal has about who submits."""
        trace = {"traceparent": self.traceparent} if self.traceparent else {}
        return {"submitted_by": self.by, **trace}


class ResultAnswered(Contract, name="callboard.admin.result"):
    """The result of an execution, or its state so far."""

    is_over: bool
    status: str
    result: Any = None
    """The result as JSON has it."""
    error: dict[str, Any] | None = None
    """Why there is none, as `CallboardError.to_data` gives it."""


class AwaitResult(Request[ResultAnswered], name="callboard.admin.await_result"):
    """Wait for the end of an execution, for a bounded time."""

    execution_id: str = Field(min_length=1, max_length=200)
    wait_s: FiniteFloat = Field(default=0.0, ge=0.0, le=WAIT_S_MAX)


class JobRow(Contract, name="callboard.admin.job"):
    """A job that may be submitted."""

    name: str
    contract: str
    """The contract of its requests."""
    fields: dict[str, Any] = Field(default_factory=dict)
    """Their JSON schema."""


class JobsListed(Contract, name="callboard.admin.jobs"):
    """The jobs that the system offers, by name."""

    items: tuple[JobRow, ...] = ()


class ListJobs(Request[JobsListed], name="callboard.admin.list_jobs"):
    """Ask for the jobs that may be submitted."""
