"""Commands on executions, and their replies.

A command goes to the process that runs the execution, or else to the process that writes its
journal. A process that does neither replies with `is_known` false, and changes nothing.
"""

from typing import Final

from pydantic import Field, FiniteFloat

from ..core.contract import Contract, Request
from .updates import SubTaskPartial

__all__ = [
    "CancelExecution",
    "DecideStep",
    "ExecutionCancelled",
    "ExecutionCommand",
    "ExecutionForked",
    "ExecutionResumed",
    "ForkExecution",
    "PartialsView",
    "QueryPartials",
    "ResumeExecution",
    "StepDecided",
]


VERSION_MAX: Final = 2**63 - 1
"""The largest version that a store can count."""


class ExecutionCommand(Contract, name="callboard.execution_command"):
    """The fields of every command on an execution.

    With a token, a command also changes the journal of an execution that no process runs. Each
    repetition writes the same events, so a lost reply does no harm.
    """

    execution_id: str
    token: str = ""
    """A text that no other command ever has. Empty: the command is for a running execution."""
    at: FiniteFloat = Field(default=0.0, ge=0.0)
    """The time of the command, in seconds since 1970; token and time give the events their ids."""
    version: int = Field(default=0, ge=0, le=VERSION_MAX)
    event: str = ""
    """A version of the execution in its journal, and the id of that event in hex: they identify
    the journal. Empty: any journal of the process that takes the command."""
    by: str = ""
    """The person or the program that acts, for the journal. The admin API sets it to the caller's
    principal."""


class ExecutionCancelled(Contract, name="callboard.execution_cancelled"):
    """The reply to `CancelExecution`."""

    is_known: bool
    is_running: bool = False
    """Whether it runs, and ends soon; otherwise its journal already has the cancellation."""


class CancelExecution(
    ExecutionCommand, Request[ExecutionCancelled], name="callboard.cancel_execution"
):
    """Cancel an execution; the reply comes at once."""


class StepDecided(Contract, name="callboard.step_decided"):
    """The reply to `DecideStep`."""

    is_known: bool
    is_running: bool = False
    """Whether the execution goes on; otherwise its journal has the decision."""
    is_settled: bool = False
    """Whether the step was in doubt until now."""


class DecideStep(ExecutionCommand, Request[StepDecided], name="callboard.decide_step"):
    """Settle a non-idempotent step that is in doubt: an attempt of it may have run."""

    step: str
    runs_again: bool
    """Whether the step runs again; otherwise it fails."""
    reason: str = Field(default="", max_length=1_000)
    """Why, for the journal."""


class ExecutionForked(Contract, name="callboard.execution_forked"):
    """The reply to `ForkExecution`."""

    is_known: bool
    sub_tasks: int = 0
    shared: int = 0
    """Sub-tasks of the fork that keep the results of the origin."""


class ForkExecution(ExecutionCommand, Request[ExecutionForked], name="callboard.fork_execution"):
    """Make a new execution that begins with the results of this one, up to a step."""

    fork_id: str = Field(min_length=1)
    """The id of the new execution."""
    step: str


class ExecutionResumed(Contract, name="callboard.execution_resumed"):
    """The reply to `ResumeExecution`: whether the execution goes on."""

    is_known: bool


class ResumeExecution(
    ExecutionCommand, Request[ExecutionResumed], name="callboard.resume_execution"
):
    """Resume an execution that no process runs.

    A process can do this when it has submitted a request of the same job before.
    """


class PartialsView(Contract, name="callboard.partials_view"):
    """The reply to `QueryPartials`."""

    is_known: bool
    """Whether this process runs the execution, or has run it until a moment ago."""
    partials: tuple[SubTaskPartial, ...] = ()
    """The newest ones, as JSON; a value without such a form is shown as text."""
    seen: int = 0
    """The number of partial results so far, for the next query."""


class QueryPartials(Request[PartialsView], name="callboard.query_partials"):
    """Asks for the partial results that the sub-tasks of a running execution have yielded."""

    execution_id: str
    after: int = Field(default=0, ge=0)
    """Those after the first so many."""
