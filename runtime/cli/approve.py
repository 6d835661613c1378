"""`callboard approve ID STEP`: settles an unsafe step of which an attempt may have run."""

import json
import os
import pwd
import time
from difflib import get_close_matches

import click

from callboard.actors.execution.history.events import Decided, Event, MovedWriter
from callboard.actors.execution.history.fold import ExecutionHistory
from callboard.actors.execution.history.replay import lost_attempt
from callboard.messages.errors import UsageError
from callboard.messages.job import Decision
from callboard.messages.wishes import DecideStep

from .figures import short
from .logs import Found, find, history_of, open_logs
from .options import journal_option, json_option, take_over_option, timeout_option
from .owners import ask_owner, wait_until
from .story import doubts, standing_of
from .writing import write

__all__ = ["approve"]


@click.command()
@click.argument("execution_id", metavar="ID")
@click.argument("step")
@click.option("--fail", "fails", is_flag=True, help="It counts as failed: it is not run again.")
@timeout_option("How long its system may take.")
@json_option
@take_over_option
@journal_option
def approve(
    *,
    execution_id: str,
    step: str,
    fails: bool,
    timeout_s: float,
    as_json: bool,
    take_over: bool,
    url: str | None,
) -> None:
    """Let STEP of the execution ID run again, or fail, when an attempt of it may have run.

    Look outside first whether the step has had its effect. A running system is told at once;
    otherwise the journal is, and `callboard resume` goes on from there. Exits with 4 when a
    running system has not taken it in time.
    """
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        history = history_of(found)
        index = _checked(history, step, is_gone=_is_gone(found, history))
        request = DecideStep(execution_id=found.id, step=step, runs_again=not fails, by=_user())
        reply = ask_owner(found, request)
        if reply is None:
            changes = _changes(history, index, request)
            write(found, history, changes, take_over=take_over)
            how = f"nobody runs it: callboard resume {short(found.id)}"
        elif reply.is_settled:
            wait_until(
                found, history, lambda now: index not in now.doubtful, "settle it", timeout_s
            )
            how = "its system goes on"
        else:
            raise UsageError(f"step {step!r} of execution {found.id} is not in doubt any more.")
    decision = Decision.FAIL if fails else Decision.RUN_AGAIN
    if as_json:
        click.echo(json.dumps({"id": found.id, "step": step, "decision": str(decision)}))
    else:
        becomes = "fails" if fails else "runs again"
        click.echo(f"step {step!r} of execution {found.id} {becomes}; {how}.")


def _is_gone(found: Found, history: ExecutionHistory) -> bool:
    """Whether nobody runs it, as far as one can tell: then what had begun is in doubt too."""
    return not (history.owners and found.log.lives(history.owners[-1].name))


def _checked(history: ExecutionHistory, step: str, *, is_gone: bool) -> int:
    """The number of a step that is in doubt. Raises `UsageError` for all others."""
    if history.is_over:
        raise UsageError(f"execution {history.id} is over: {history.status}.")
    waiting = doubts(history, is_gone=is_gone)
    for doubt in waiting:
        if doubt.step == step:
            return doubt.number
    names = [doubt.step for doubt in waiting[:10]]
    advice = f"In doubt are: {', '.join(names)}." if names else "Nothing of it is in doubt."
    if step in history.ids:
        what = standing_of(history, history.ids.index(step))
        raise UsageError(
            f"step {step!r} of execution {history.id} is {what}, not in doubt.", advice=advice
        )
    near = get_close_matches(step, history.ids[:10_000])
    raise UsageError(
        f"execution {history.id} has no sub-task {step!r}.",
        advice=f"Did you mean {' or '.join(near)}?" if near else advice,
    )


def _user() -> str:
    try:
        return f"user {pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # Containers have users without a name.
        return f"user {os.getuid()}"


def _changes(history: ExecutionHistory, index: int, request: DecideStep) -> list[Event]:
    now = time.time()
    changes: list[Event] = []
    if index not in history.doubtful:
        # What its next owner would have said first: the attempt that had begun is in doubt.
        error, moved = lost_attempt(history, index), MovedWriter()
        moved.doubtful(index, history.began[index], error.code, error.message, None)
        changes.append(moved.event(now))
    decision = Decision.RUN_AGAIN if request.runs_again else Decision.FAIL
    return [*changes, Decided(index, str(decision), request.by, now)]
