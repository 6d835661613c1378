"""`callboard cancel ID`: ends an execution, whether its system runs or not."""

import json
import time

import click

from callboard.actors.execution.history.events import Stepped
from callboard.actors.execution.history.fold import ExecutionHistory
from callboard.messages.errors import Cancelled, UsageError
from callboard.messages.execution import ExecutionStatus, StateTransitionTrigger
from callboard.messages.wishes import CancelExecution

from .logs import catch_up, find, history_of, open_logs
from .options import journal_option, json_option, take_over_option, timeout_option
from .owners import ask_owner, wait_until
from .writing import write

__all__ = ["cancel"]


@click.command()
@click.argument("execution_id", metavar="ID")
@timeout_option("How long its system may take.")
@json_option
@take_over_option
@journal_option
def cancel(
    *, execution_id: str, timeout_s: float, as_json: bool, take_over: bool, url: str | None
) -> None:
    """Cancel the execution ID. A running system is asked; otherwise the journal says it.

    Exits with 4 when a running system has not ended it in time.
    """
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        history = history_of(found)
        if history.is_over:
            raise UsageError(f"execution {found.id} is over: {history.status}.")
        if ask_owner(found, CancelExecution(execution_id=found.id)) is not None:
            wait_until(found, history, lambda now: now.is_over, "end", timeout_s)
            how = "its system has cancelled it"
        else:
            write(found, history, [_end_of(history)], take_over=take_over)
            how = "nobody ran it: its journal says that it is cancelled"
            catch_up(found, history)
    if as_json:
        click.echo(json.dumps({"id": found.id, "status": str(history.status)}))
    else:
        click.echo(f"execution {found.id}: {history.status}; {how}.")


def _end_of(history: ExecutionHistory) -> Stepped:
    error = Cancelled(f"execution {history.id} of job {history.job!r} was cancelled.")
    phase = history.phases[-1].name if history.phases else "validating"
    return Stepped(
        from_status=str(history.status),
        to=str(ExecutionStatus.CANCELLED),
        at=time.time(),
        trigger=str(StateTransitionTrigger.CANCEL_REQUESTED),
        metadata={"code": error.code, "phase": phase, "error": error.to_data()},
    )
