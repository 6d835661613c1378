"""`callboard fork ID --from STEP`: a new execution that begins with what another has done."""

import json
import time
from difflib import get_close_matches
from uuid import uuid4

import click

from callboard.actors.execution.history.events import Kind
from callboard.actors.execution.history.fork import forked
from callboard.messages.errors import UsageError
from callboard.messages.events import NO_STREAM

from .logs import find, history_of, journal_option, open_logs
from .resume import check_free
from .writing import writer_of

__all__ = ["fork"]


@click.command()
@click.argument("execution_id", metavar="ID")
@click.option("--from", "step", required=True, metavar="STEP", help="The sub-task to begin from.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option(
    "--take-over", is_flag=True, help="Even where nobody can tell whether its system runs."
)
@journal_option
def fork(*, execution_id: str, step: str, as_json: bool, take_over: bool, url: str | None) -> None:
    """Make a new execution out of ID: STEP, what needs it and what grew out of it run again.

    What else was done is shared, not copied. `callboard resume` runs the fork. The system that
    writes the journal must have ended.
    """
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        check_free(found, take_over=take_over)
        with writer_of(found) as writer:
            origin = history_of(found)
            if origin.has_plan and step not in origin.ids:
                near = get_close_matches(step, origin.ids[:10_000])
                raise UsageError(
                    f"execution {found.id} has no sub-task {step!r}.",
                    advice=f"Did you mean {' or '.join(near)}?" if near else "See `show --all`.",
                )
            fields = {
                "of": found.id,
                "version": origin.version,
                "from": step,
                "at": time.time(),
                "by": writer.name,
            }
            new_id = uuid4().hex
            made = forked(origin, new_id, fields)
            writer.append(new_id, [(Kind.FORKED, fields)], NO_STREAM)
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
        click.echo(
            f"{new_id}: {len(made.results):,} of {len(made.ids):,} sub-tasks are shared. "
            f"Run it: callboard resume {new_id[:12]}"
        )
