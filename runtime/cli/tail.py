"""`callboard tail ID`: follows an execution, an event a line, until it has ended.

The partial results of its sub-tasks come from the journal if it has them, otherwise from the
process that runs the execution, as far as that still keeps them.
"""

import datetime as dt
import json
import time
from typing import Final

import click

from callboard.actors.executions.history.events import Kind, Stepped, read, stream_of
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.messages.core.errors import CallboardError, DeadlineExceeded
from callboard.messages.jobs.commands import QueryPartials
from callboard.messages.jobs.execution import EXECUTION_TRANSITIONS, ExecutionStatus
from callboard.messages.storage.errors import StoreDamaged
from callboard.messages.storage.events import RecordedEvent

from .event_text import words_of
from .events import line_of, to_data
from .figures import counted, echo, printable
from .logs import Found, find, history_of, open_logs
from .outcome import ExitCode
from .steer import ask_owner

__all__ = ["tail"]

POLL_S: Final = 0.2
EVENTS_AT_ONCE: Final = 256
VALUE_CHARS_MAX: Final = 200
"""The length of a partial result as a line for people; --json prints all of it."""


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
    formatter, live = _EventFormatter(found), _LivePartials(found, as_json=as_json)
    version = 0
    while True:
        live.show()
        new = found.log.store.read_stream(stream_of(found.id), after=version, limit=EVENTS_AT_ONCE)
        for event in new:
            is_end = event.kind == Kind.STEPPED and _is_end(event.data)
            if is_end:
                live.show()  # What came since the last look.
            echo(json.dumps(to_data(event)) if as_json else formatter.format(event))
            version = event.version
            if is_end:
                return
        if new:
            continue
        if ends_s is not None and time.monotonic() >= ends_s:
            raise TimeoutError
        time.sleep(POLL_S)


class _LivePartials:
    """The partial results that the journal does not have."""

    def __init__(self, found: Found, *, as_json: bool) -> None:
        self._found = found
        self._as_json = as_json
        self._seen = 0

    def show(self) -> None:
        """Print those since the last call, if a process of this machine runs the execution."""
        if self._found.log.writer() == "":
            return
        view = ask_owner(self._found, QueryPartials(execution_id=self._found.id, after=self._seen))
        if view is None:
            return
        # A process that has taken the execution over counts from 1 again.
        self._seen = view.seen if view.seen >= self._seen else 0
        for partial in view.partials:
            if partial.is_journalled:
                continue  # It comes from there.
            if self._as_json:
                echo(json.dumps({"kind": partial.contract_name, **partial.model_dump()}))
                continue
            if partial.skipped:
                echo(f"{counted(partial.skipped, 'partial result')} missed", err=True)
            shown = json.dumps(partial.value, ensure_ascii=False)[:VALUE_CHARS_MAX]
            place = f"{partial.task_id}, attempt {partial.attempt}"
            echo(printable(f"partial {partial.number} of {place}: {shown}"))


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
