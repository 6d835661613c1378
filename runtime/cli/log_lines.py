"""`callboard logs [WHERE]`: the log lines of running systems, and with -f those that come."""

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import Sequence
from typing import Final

import click

from callboard.messages.control.logs import LogRow, LogsPage, QueryLogs

from .figures import echo, printable
from .outcome import ExitCode, print_failure
from .sources import Place, Snapshot, Source, query_all

__all__ = ["logs"]

POLL_S: Final = 0.3
INDENT: Final = "    "
"""Before each further line of a text."""


def logs(
    *,
    where: str,
    follows: bool,
    level: str,
    lines_max: int,
    as_json: bool,
    address: str | None,
    name: str | None,
) -> None:
    """Perform the command; `commands/` declares it."""
    query = QueryLogs(where=where, level=level, limit=lines_max)
    reader = _Reader(query, as_json=as_json)
    with contextlib.suppress(KeyboardInterrupt):  # The normal way to leave.
        asyncio.run(_run(Place(address, name), reader, follows=follows))
    click.get_current_context().exit(ExitCode.OK if reader.was_answered else ExitCode.FAILED)


async def _run(place: Place, reader: "_Reader", *, follows: bool) -> None:
    async with place.sources() as sources:
        await reader.read(sources())
        if not reader.was_answered:
            print_failure(place.nothing_runs, verbose=False)
            return
        if not follows and not reader.printed:
            echo(f"no lines of level {reader.level} or above: --level info shows more.", err=True)
        while follows:
            await asyncio.sleep(POLL_S)
            await reader.read(sources())


class _Reader:
    """Prints the lines of all systems, each one once."""

    def __init__(self, query: QueryLogs, *, as_json: bool) -> None:
        self._query = query
        self._as_json = as_json
        self._cursors: dict[tuple[str, int], int] = {}
        self.was_answered = False
        self.level: Final = query.level
        self.printed = 0
        """Lines so far."""

    async def read(self, sources: Sequence[Source]) -> None:
        """Print the lines since the last call."""
        pages = await asyncio.gather(*(self._page(source) for source in sources))
        found = [(page.source, row) for page in pages if page for row in _rows(page)]
        self.printed += len(found)
        for system, row in sorted(found, key=lambda each: each[1].time):
            if self._as_json:
                echo(json.dumps({"system": system, **row.model_dump()}))
            else:
                echo(_line(row))

    async def _page(self, source: Source) -> Snapshot[LogsPage] | None:
        key = (source.name, source.pid)
        after = self._cursors.get(key, 0)
        query = self._query.model_copy(update={"after": after})
        pages = await query_all([source], query)
        if not pages:
            return None  # It has just ended.
        page = pages[0]
        if page.view is None:
            echo(f"{page.source}: {page.problem}", err=True)
            return None
        self.was_answered = True
        self._cursors[key] = page.view.cursor
        return page


def _rows(page: Snapshot[LogsPage]) -> Sequence[LogRow]:
    return () if page.view is None else page.view.rows


def _line(row: LogRow) -> str:
    at = dt.datetime.fromtimestamp(row.time, dt.UTC).astimezone()
    step = f" [{row.execution[:8]} {row.step}]" if row.execution else ""
    first, *more = row.text.splitlines() or [""]
    head = f"{at:%H:%M:%S}.{at.microsecond // 1000:03} {row.level:8} {row.place}{step} {row.logger}"
    lines = (f"{head}: {first}", *(INDENT + line for line in more))
    return "\n".join(printable(line) for line in lines)
