"""The events by which a command changes an execution that no process runs.

The process that writes the journal appends them for a command; without such a process, the
command line does. Invariant: from the same history, the same command makes the same events with
the same ids, so a repeated append changes nothing.
"""

import dataclasses
from difflib import get_close_matches
from typing import Final, NamedTuple

from callboard.messages.core.errors import Cancelled, UsageError
from callboard.messages.jobs.commands import (
    CancelExecution,
    DecideStep,
    ExecutionCommand,
    ForkExecution,
)
from callboard.messages.jobs.execution import (
    Decision,
    ExecutionStatus,
    StateTransitionTrigger,
    check_execution_id,
)
from callboard.messages.storage.event_ids import NumberedIds
from callboard.messages.storage.events import NO_STREAM, Append, NewEvent

from ..step_keys import KEY_FORM
from .events import Decided, Event, Forked, MovedWriter, Stepped, stream_of
from .fold import ExecutionHistory
from .fork import forked
from .replay import lost_attempt

__all__ = [
    "Doubt",
    "cancelled",
    "check_in_doubt",
    "decided",
    "doubts",
    "fork",
    "standing_of",
    "was_cancelled",
]

NAMES_MAX: Final = 10
NEAR_AMONG: Final = 10_000


class Doubt(NamedTuple):
    """A non-idempotent step in doubt: an attempt of it may have run, and a person must decide."""

    step: str
    number: int
    """Its place in the plan."""
    attempt: int
    code: str
    message: str


def doubts(history: ExecutionHistory, *, is_gone: bool) -> list[Doubt]:
    """The steps in doubt; with `is_gone`, also those whose attempts a dead system had begun."""
    if history.is_over:
        return []
    ids = history.ids
    found = [Doubt(ids[index], index, *doubt) for index, doubt in history.doubtful.items()]
    if is_gone:
        for index, attempt in history.began.items():
            error = lost_attempt(history, index)
            found.append(Doubt(ids[index], index, attempt, error.code, error.message))
    return found


def standing_of(history: ExecutionHistory, index: int) -> str:
    """The status of a sub-task as one word."""
    return "in_doubt" if index in history.doubtful else str(history.statuses[index])


def check_in_doubt(history: ExecutionHistory, step: str, *, is_gone: bool) -> int:
    """The number of a step that is in doubt. Raises `UsageError` for any other step."""
    check_not_over(history)
    waiting = doubts(history, is_gone=is_gone)
    for doubt in waiting:
        if doubt.step == step:
            return doubt.number
    names = [doubt.step for doubt in waiting[:NAMES_MAX]]
    advice = f"In doubt are: {', '.join(names)}." if names else "None of its steps is in doubt."
    if step in history.ids:
        what = standing_of(history, history.ids.index(step))
        raise UsageError(
            f"step {step!r} of execution {history.id} is {what}, not in doubt.", advice=advice
        )
    near = get_close_matches(step, history.ids[:NEAR_AMONG])
    raise UsageError(
        f"execution {history.id} has no sub-task {step!r}.",
        advice=f"Did you mean {' or '.join(near)}?" if near else advice,
    )


def check_not_over(history: ExecutionHistory) -> None:
    """Raises `UsageError` for an execution that has ended."""
    if history.is_over:
        raise UsageError(f"execution {history.id} has ended: it is {history.status}.")


def was_cancelled(execution_id: str, job: str, by: str = "") -> Cancelled:
    """The error of a cancelled execution; `by` names who has cancelled it, for the journal."""
    text = f"execution {execution_id} of job {job!r} was cancelled"
    return Cancelled(f"{text} by {by}.", by=by) if by else Cancelled(f"{text}.")


# --- commands -----------------------------------------------------------------------------------


def cancelled(history: ExecutionHistory, command: CancelExecution) -> Append:
    """The cancellation of an execution. Raises `UsageError` when it has ended."""
    check_not_over(history)
    error = was_cancelled(history.id, history.job, command.by)
    phase = history.phases[-1].name if history.phases else "validating"
    end = Stepped(
        from_status=str(history.status),
        to=str(ExecutionStatus.CANCELLED),
        at=command.at,
        trigger=str(StateTransitionTrigger.CANCEL_REQUESTED),
        metadata={"code": error.code, "phase": phase, "error": error.to_data()},
    )
    return _append(command, history.id, history.version, end)


def decided(history: ExecutionHistory, command: DecideStep) -> Append:
    """The decision about a step. Raises `UsageError` for a step that is not in doubt."""
    index, now = check_in_doubt(history, command.step, is_gone=True), command.at
    changes: list[Event] = []
    if index not in history.doubtful:
        # First the event that the next owner would write: the begun attempt is in doubt.
        error, moved = lost_attempt(history, index), MovedWriter()
        moved.doubtful(index, history.began[index], error.code, error.message, None)
        changes.append(moved.event(now))
    decision = Decision.RUN_AGAIN if command.runs_again else Decision.FAIL
    changes.append(Decided(index, str(decision), command.by, now, command.reason))
    return _append(command, history.id, history.version, *changes)


def fork(history: ExecutionHistory, command: ForkExecution) -> tuple[ExecutionHistory, Append]:
    """The history of a new fork, and its first event. Raises `UsageError` without such a step."""
    check_execution_id(command.fork_id)
    event = Forked(history.id, history.version, command.step, command.at, command.by, keys=KEY_FORM)
    made = forked(history, command.fork_id, event)
    event = dataclasses.replace(event, sub_tasks=len(made.ids), shared=len(made.results))
    return made, _append(command, command.fork_id, NO_STREAM, event)


def _append(command: ExecutionCommand, execution_id: str, expected: int, *changes: Event) -> Append:
    ids = NumberedIds(command.token, command.at)
    events = tuple(NewEvent(ids.next(), str(event.kind), event.write()) for event in changes)
    return Append(stream_of(execution_id), events, expected)
