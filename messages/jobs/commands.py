"""Commands on executions, and their replies.

A command goes to the process that runs the execution, or else to the process that writes its
journal. A process that does neither answers with `is_known` false, and changes nothing.
"""

from typing import Final

from pydantic import Field, FiniteFloat

from ..core.contract import Contract, Request

__all__ = [
    "CancelExecution",
    "DecideStep",
    "ExecutionCancelled",
    "ExecutionCommand",
    "ExecutionForked",
    "ExecutionResumed",
    "ForkExecution",
    "ResumeExecution",
    "StepDecided",
]


VERSION_MAX: Final = 2**63 - 1
"""More than any store can count."""


class ExecutionCommand(Contract, name="callboard.execution_command"):
    """The fields of every command on an execution.

    With a token, a command also changes the journal of an execution that nobody runs. It writes
    the same events however often it comes, so a lost reply does no harm.
    """

    execution_id: str
    token: str = ""
    """A text that no other command ever has; empty: only a running execution is meant."""
    at: FiniteFloat = Field(default=0.0, ge=0.0)
    """The time of the command, in seconds since 1970; with the token it names the events."""
    version: int = Field(default=0, ge=0, le=VERSION_MAX)
    event: str = ""
    """A version of the execution that its journal has, and the id of that event in hex. They tell
    the journal from all others; empty: the journal of whichever process takes the command."""


class ExecutionCancelled(Contract, name="callboard.execution_cancelled"):
    """The reply to `CancelExecution`."""

    is_known: bool
    is_running: bool = False
    """Whether it ends soon; otherwise its journal says already that it is cancelled."""


class CancelExecution(
    ExecutionCommand, Request[ExecutionCancelled], name="callboard.cancel_execution"
):
    """Cancel an execution; answered at once."""


class StepDecided(Contract, name="callboard.step_decided"):
    """The reply to `DecideStep`."""

    is_known: bool
    is_running: bool = False
    """Whether the execution goes on; otherwise its journal has the decision."""
    is_settled: bool = False
    """Whether the step was in doubt until now."""


class DecideStep(ExecutionCommand, Request[StepDecided], name="callboard.decide_step"):
    """Settle a non-idempotent step of which an attempt may have run."""

    step: str
    runs_again: bool
    """Otherwise the step fails."""
    by: str
    """The person or the program that decides, for the journal."""


class ExecutionForked(Contract, name="callboard.execution_forked"):
    """The reply to `ForkExecution`."""

    is_known: bool
    sub_tasks: int = 0
    shared: int = 0
    """Sub-tasks of the fork whose results are those of the origin."""


class ForkExecution(ExecutionCommand, Request[ExecutionForked], name="callboard.fork_execution"):
    """Make a new execution that begins with the results of this one, up to a step."""

    fork_id: str = Field(min_length=1)
    """The id of the new execution."""
    step: str
    by: str


class ExecutionResumed(Contract, name="callboard.execution_resumed"):
    """The reply to `ResumeExecution`: whether the execution goes on."""

    is_known: bool


class ResumeExecution(
    ExecutionCommand, Request[ExecutionResumed], name="callboard.resume_execution"
):
    """Go on with an execution that nobody runs.

    A process can when it has submitted a request of the same job before.
    """
