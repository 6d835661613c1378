"""`callboard store check URL` and `callboard store migrate URL`: for who looks after a store."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from callboard.messages.errors import UsageError
from callboard.messages.events import EventStore
from callboard.messages.storage_errors import StoreDamaged

from .options import json_option

__all__ = ["store"]

PAGE: Final = 4_096


@click.group()
def store() -> None:
    """Look after a store: a file, sqlite:///path, or postgresql://..."""


@store.command()
@click.argument("url", metavar="URL")
@json_option
def check(*, url: str, as_json: bool) -> None:
    """Read all of the store at URL, and tell what is wrong with it.

    Exits with 1 when it is damaged. A writer may be at work; of a file, nothing is changed.
    """
    from ..stores.sqlite import SqliteEventStore  # No other command loads a database for it.

    with _found(url, reads_only=True) as kept:
        kept.open()
        if isinstance(kept, SqliteEventStore):
            kept.check()
        events, streams = _read_all(kept)
    data = {"url": url, "events": events, "streams": streams}
    _print(data, f"{kept.name} is well: {events:,} events in {streams:,} streams.", as_json=as_json)


@store.command()
@click.argument("url", metavar="URL")
@json_option
def migrate(*, url: str, as_json: bool) -> None:
    """Bring the tables of the store at URL to this release's version. Make a copy before."""
    with _found(url) as kept:
        kept.open()
        head = kept.head()
    data = {"url": url, "events": head}
    _print(data, f"{kept.name} has this release's tables: {head:,} events.", as_json=as_json)


@contextmanager
def _found(url: str, *, reads_only: bool = False) -> Iterator[EventStore]:
    from ..stores.choose import event_store, path_of

    path = path_of(url)
    if path is not None and not path.is_file():
        raise UsageError(f"there is no file {path}.", advice="Name an existing store.")
    kept = event_store(url, reads_only=reads_only)
    try:
        yield kept
    finally:
        kept.close()


def _read_all(kept: EventStore) -> tuple[int, int]:
    """How many events and streams; raises `StoreDamaged` for a gap."""
    position = 0
    versions: dict[str, int] = {}
    while page := kept.read(position, PAGE):
        for event in page:
            version = versions.get(event.stream, 0) + 1
            if event.position != position + 1 or event.version != version:
                raise StoreDamaged(
                    f"{kept.name}: behind position {position} stands event {event.position}, "
                    f"version {event.version} of stream {event.stream!r} instead of {version}.",
                    advice="Keep a copy, and restore a backup.",
                )
            position, versions[event.stream] = event.position, version
    return position, len(versions)


def _print(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(data) if as_json else text)
