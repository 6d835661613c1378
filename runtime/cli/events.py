"""`callboard events STREAM`: the events of a journal, as recorded."""

import datetime as dt
import json
from typing import Any, Final

import click

from callboard.actors.executions.history.plain import fields_of
from callboard.messages.core.errors import UsageError
from callboard.messages.storage.events import RecordedEvent

from .figures import echo, printable
from .logs import Log, find, open_logs

__all__ = ["events", "line_of", "to_data"]

TEXT_MAX: Final = 160


def events(
    *,
    stream: str | None,
    all_streams: bool,
    after: int,
    limit: int,
    as_json: bool,
    url: str | None,
) -> None:
    """Perform the command; `commands/` declares it."""
    if (stream is None) != all_streams:
        raise UsageError("name a stream, or use --all.", advice="Give one of the two.")
    with open_logs(url) as logs:
        if stream is None:
            if len(logs) > 1:
                names = ", ".join(log.url for log in logs)
                raise UsageError("there are several journals.", advice=f"Choose one: {names}.")
            found = logs[0].store.read(after, limit) if logs else []
        else:
            log, name = _stream(logs, stream)
            found = log.store.read_stream(name, after=after, limit=limit)
    for event in found:
        echo(json.dumps(to_data(event)) if as_json else line_of(event))
    if len(found) == limit:
        last = found[-1].position if stream is None else found[-1].version
        click.echo(f"there may be more: --after {last}", err=True)


def _stream(logs: list[Log], name: str) -> tuple[Log, str]:
    having = [log for log in logs if log.store.version_of(name)]
    if len(having) > 1:
        names = ", ".join(log.url for log in having)
        raise UsageError(f"several journals have {name!r}.", advice=f"Choose one: {names}.")
    if having:
        return having[0], name
    found = find(logs, name.removeprefix("execution/"))
    return found.log, f"execution/{found.id}"


def to_data(event: RecordedEvent) -> dict[str, Any]:
    """One event for machines."""
    return {
        "position": event.position,
        "stream": event.stream,
        "version": event.version,
        "id": event.id.hex(),
        "kind": event.kind,
        "schema": event.schema,
        "bytes": len(event.data),
        "recorded_at": event.recorded_at,
        "fields": fields_of(event),
    }


def line_of(event: RecordedEvent) -> str:
    """One event for people."""
    fields = fields_of(event)
    said = f"{len(event.data)} bytes" if fields is None else _short(fields)
    at = dt.datetime.fromtimestamp(event.recorded_at, dt.UTC).astimezone()
    kind = event.kind.removeprefix("callboard.execution.")
    where = f"{event.position} {event.stream} {event.version}"
    return printable(f"{at:%H:%M:%S.%f}  {where}  {kind}  {said}")


def _short(fields: dict[str, Any]) -> str:
    parts = (
        f"{name}={len(value)}" if isinstance(value, list) else f"{name}={value}"
        for name, value in fields.items()
        if value not in ([], None, "", {})
    )
    text = " ".join(parts).replace("\n", " ")
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
