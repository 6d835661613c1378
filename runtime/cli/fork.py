"""`callboard fork ID --from STEP`: a new execution that shares the finished work of another."""

import json
from uuid import uuid4

import click

from callboard.actors.executions.history.changes import fork as fork_of
from callboard.messages.jobs.commands import ForkExecution

from .figures import echo, hint
from .logs import find, history_of, open_logs
from .steer import change, command_fields

__all__ = ["fork"]


def fork(*, execution_id: str, step: str, as_json: bool, take_over: bool, url: str | None) -> None:
    """Perform the command; `commands/` declares it."""
    new_id = uuid4().hex
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        origin = history_of(found)
        command = ForkExecution(**command_fields(found, origin), fork_id=new_id, step=step)
        made, append = fork_of(origin, command)
        change(found, command, append, take_over=take_over)
    data = {
        "id": new_id,
        "of": found.id,
        "from": step,
        "sub_tasks": len(made.ids),
        "shared": len(made.results),
    }
    if as_json:
        click.echo(json.dumps(data))
    else:
        echo(
            f"{new_id}: {len(made.results):,} of {len(made.ids):,} sub-tasks are shared. "
            f"Run it: {hint('resume', new_id)}"
        )
