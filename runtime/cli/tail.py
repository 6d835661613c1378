"""`callboard tail ID`: follows an execution, an event a line, until it has ended."""

import json
import time
from typing import Final

import click

from callboard.actors.execution.history.events import Kind, stream_of, unpack
from callboard.messages.errors import DeadlineExceeded
from callboard.messages.execution import EXECUTION_TRANSITIONS, ExecutionStatus
from callboard.messages.storage_errors import StoreDamaged

from .events import line_of, to_data
from .logs import find, open_logs
from .options import journal_option

__all__ = ["tail"]

POLL_S: Final = 0.2
EVENTS_AT_ONCE: Final = 256


@click.command()
@click.argument("execution_id", metavar="ID")
@click.option("--for", "for_s", type=click.FloatRange(min=0), metavar="S", help="At most so long.")
@click.option("--json", "as_json", is_flag=True, help="Print each as a line of JSON.")
@journal_option
def tail(*, execution_id: str, for_s: float | None, as_json: bool, url: str | None) -> None:
    """Print what happens in the execution ID until it ends; what has happened comes first.

    The journal is looked at five times a second. Exits with 4 when --for is over before.
    """
    ends_s = None if for_s is None else time.monotonic() + for_s
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        version = 0
        while True:
            new = found.log.store.read_stream(
                stream_of(found.id), after=version, limit=EVENTS_AT_ONCE
            )
            for event in new:
                click.echo(json.dumps(to_data(event)) if as_json else line_of(event))
                version = event.version
                if event.kind == Kind.STEPPED and _is_end(event.data):
                    return
            if new:
                continue
            if ends_s is not None and time.monotonic() >= ends_s:
                raise DeadlineExceeded(f"execution {found.id} has not ended within {for_s:g} s.")
            time.sleep(POLL_S)


def _is_end(data: bytes) -> bool:
    try:
        return not EXECUTION_TRANSITIONS[ExecutionStatus(unpack(Kind.STEPPED, data)["to"])]
    except (StoreDamaged, KeyError, ValueError):
        return False
