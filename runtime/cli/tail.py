"""`callboard tail ID`: follows an execution, an event a line, until it has ended."""

import datetime as dt
import json
import time
from typing import Final

import click

from callboard.actors.executions.history.events import Kind, Stepped, read, stream_of
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.messages.core.errors import CallboardError, DeadlineExceeded
from callboard.messages.jobs.execution import EXECUTION_TRANSITIONS, ExecutionStatus
from callboard.messages.storage.errors import StoreDamaged
from callboard.messages.storage.events import RecordedEvent

from .event_text import words_of
from .events import line_of, to_data
from .figures import echo
from .logs import Found, find, history_of, open_logs
from .outcome import ExitCode

__all__ = ["tail"]

POLL_S: Final = 0.2
EVENTS_AT_ONCE: Final = 256


def tail(*, execution_id: str, for_s: float | None, as_json: bool, url: str | None) -> None:
    """Perform the command; `commands/` declares it."""
    ends_s = None if for_s is None else time.monotonic() + for_s
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        try:
            _follow(found, ends_s, as_json=as_json)
        except KeyboardInterrupt:  # Only this command ends.
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
        except TimeoutError:
            raise DeadlineExceeded(
                f"execution {found.id} has not ended within {for_s:g} s."
            ) from None


def _follow(found: Found, ends_s: float | None, *, as_json: bool) -> None:
    formatter = _EventFormatter(found)
    version = 0
    while True:
        new = found.log.store.read_stream(stream_of(found.id), after=version, limit=EVENTS_AT_ONCE)
        for event in new:
            echo(json.dumps(to_data(event)) if as_json else formatter.format(event))
            version = event.version
            if event.kind == Kind.STEPPED and _is_end(event.data):
                return
        if new:
            continue
        if ends_s is not None and time.monotonic() >= ends_s:
            raise TimeoutError
        time.sleep(POLL_S)


class _EventFormatter:
    """Formats events in words. After an event that it cannot read, it prints the raw fields."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._history: ExecutionHistory | None = ExecutionHistory(found.id)

    def format(self, event: RecordedEvent) -> str:
        if self._history is not None:
            try:
                return self._words(self._history, event)
            except (CallboardError, KeyError, IndexError, TypeError, ValueError):
                self._history = None
        return line_of(event)

    def _words(self, history: ExecutionHistory, event: RecordedEvent) -> str:
        if event.kind == Kind.FORKED:
            self._history = history = history_of(self._found, up_to=event.version)
        else:
            history.apply(event)
        at = dt.datetime.fromtimestamp(event.recorded_at, dt.UTC).astimezone()
        head = f"{at:%H:%M:%S}.{at.microsecond // 1000:03}  "
        lines = words_of(read(event.kind, event.data), history)
        return "\n".join(head + line for line in lines)


def _is_end(data: bytes) -> bool:
    try:
        event = read(Kind.STEPPED, data)
        return isinstance(event, Stepped) and not EXECUTION_TRANSITIONS[ExecutionStatus(event.to)]
    except (StoreDamaged, KeyError, ValueError):
        return False
