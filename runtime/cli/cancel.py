"""`callboard cancel ID`: cancels an execution, whether its system runs or not."""

import json

import click

from callboard.actors.executions.history.changes import cancelled
from callboard.messages.jobs.commands import CancelExecution

from .figures import echo
from .logs import catch_up, find, history_of, open_logs
from .steer import change, command_fields, wait_until

__all__ = ["cancel"]


def cancel(
    *, execution_id: str, timeout_s: float, as_json: bool, take_over: bool, url: str | None
) -> None:
    """Perform the command; `commands/` declares it."""
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        history = history_of(found)
        command = CancelExecution(**command_fields(found, history))
        reply = change(found, command, cancelled(history, command), take_over=take_over)
        if reply is not None and reply.is_running:
            wait_until(found, history, lambda now: now.is_over, "end", timeout_s)
            how = "its system cancelled it"
        else:
            how = "no system ran it: the journal records that it is cancelled"
            catch_up(found, history)
    if as_json:
        click.echo(json.dumps({"id": found.id, "status": str(history.status)}))
    else:
        echo(f"execution {found.id}: {history.status}; {how}.")
