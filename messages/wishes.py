"""What a command wishes of the driver that runs an execution, and what it answers.

A wish that reaches a driver which does not have the execution is answered with `is_known`
false; it has changed nothing then.
"""

from .contract import Contract, Request

__all__ = [
    "CancelExecution",
    "DecideStep",
    "EventsWritten",
    "ExecutionCancelled",
    "ExecutionResumed",
    "ResumeExecution",
    "StepDecided",
    "WriteEvents",
]


class ExecutionCancelled(Contract, name="callboard.execution_cancelled"):
    """What became of a wish to cancel."""

    is_known: bool
    """Whether the driver that was asked runs this execution; it is being cancelled then."""


class CancelExecution(Request[ExecutionCancelled], name="callboard.cancel_execution"):
    """Asks a driver to cancel an execution; answered at once, it ends soon after."""

    execution_id: str


class StepDecided(Contract, name="callboard.step_decided"):
    """What became of a decision."""

    is_known: bool
    """Whether the driver that was asked runs this execution."""
    is_settled: bool = False
    """Whether the step was in doubt, and is not any more."""


class DecideStep(Request[StepDecided], name="callboard.decide_step"):
    """Asks a driver to settle an unsafe step of which an attempt may have run."""

    execution_id: str
    step: str
    runs_again: bool
    """Otherwise the step fails."""
    by: str
    """Who says so, for the journal."""


class EventsWritten(Contract, name="callboard.events_written"):
    """What became of events."""

    is_known: bool
    """Whether the driver that was asked writes this journal; they are durable in it then."""


class WriteEvents(Request[EventsWritten], name="callboard.write_events"):
    """Asks the driver that writes a journal to append events of an execution that nobody runs.

    A command has made them, as it would itself append them to a journal that nobody writes.
    """

    execution_id: str
    """One that the journal has: its fork, if not itself, is appended to."""
    version: int
    event: str
    """The id of its event of that version, in hex: no other journal has it."""
    append_to: str
    """The execution that is appended to."""
    expected: int
    events: tuple[tuple[str, str, str], ...]
    """Of each the id in hex, the kind, and the data in hex."""


class ExecutionResumed(Contract, name="callboard.execution_resumed"):
    """What became of a wish to go on."""

    is_known: bool
    """Whether the driver that was asked writes the journal of the execution; it goes on then."""


class ResumeExecution(Request[ExecutionResumed], name="callboard.resume_execution"):
    """Asks the driver that writes a journal to go on with an execution that nobody runs.

    It can when it has submitted a request of the same job before.
    """

    execution_id: str
    version: int
    event: str
    """As in `WriteEvents`."""
