"""`callboard metrics query` and `watch`: what was recorded, from the store of the windows."""

import asyncio
import contextlib
import csv
import io
import json
import math
import os
import time
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from callboard.actors.metrics.ports import WindowReader
from callboard.messages.core.errors import CallboardError, UsageError

from ..api.metrics import open_windows
from ..executions.journals import home
from ..stores.choose import path_of
from .charts import chart, clock, number, sparkline
from .figures import counted, echo, paper, printable
from .metric_request import Answer, Asked, Row, asked_for
from .outcome import ExitCode

__all__ = ["drawn", "query", "watch"]

SERIES_LISTED_MAX: Final = 100_000
SPARKLINE_MAX: Final = 40
NOTHING: Final = "no values."


def query(*, url: str | None, form: str, as_json: bool, **options: Any) -> None:
    """Perform the command; `commands/` declares it."""
    asked = asked_for(**options)
    if asked.lists_metrics:
        found = asyncio.run(_listed(asked, url))
        _print_list(found, as_json=as_json)
        click.get_current_context().exit(ExitCode.OK if found else ExitCode.FAILED)
    answer = asyncio.run(_answered(asked, url))
    if as_json:
        echo(json.dumps(answer.to_data(), allow_nan=False))
    elif form == "csv":
        echo(_as_csv(answer).rstrip("\n"))
    elif not answer.rows:
        echo(NOTHING, err=True)
    else:
        paper().print(_table(answer) if form == "table" else _lines(answer))
    click.get_current_context().exit(ExitCode.OK if answer.rows else ExitCode.FAILED)


def watch(
    *, url: str | None, every_s: float, once: bool, lines: int, charts_max: int, **options: Any
) -> None:
    """Perform the command; `commands/` declares it."""
    asked = asked_for(**{**options, "begin": options["begin"] or "1h", "end": None})
    if asked.lists_metrics:
        raise UsageError("no metric is named.", advice="Give an expression, or --name.")
    try:
        asyncio.run(_watch(asked, url, every_s, lines, charts_max, once=once))
    except KeyboardInterrupt:
        if once:
            raise  # Otherwise it is the normal way to leave.


async def _watch(
    asked: Asked, url: str | None, every_s: float, lines: int, charts_max: int, *, once: bool
) -> None:
    async with _reader(url) as reader:
        if once:
            answer = await asked.answer(reader, time.time_ns())
            console = paper()
            console.print(drawn(answer, console.width, lines, charts_max))
            return
        with Live(console=paper(), auto_refresh=False, screen=True) as live:
            while True:
                live.update(
                    await _screen(asked, reader, live.console.width, lines, charts_max),
                    refresh=True,
                )
                await asyncio.sleep(every_s)


async def _screen(
    asked: Asked, reader: WindowReader, width: int, lines: int, charts_max: int
) -> RenderableType:
    try:
        answer = await asked.answer(reader, time.time_ns())
    except UsageError:
        raise
    except CallboardError as error:
        return Text(f"the store does not answer: {printable(str(error))}", style="yellow")
    return drawn(answer, width, lines, charts_max)


# --- the store --------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _reader(url: str | None) -> AsyncIterator[WindowReader]:
    """The windows of a store. Raises `UsageError` when there is no such store."""
    place = _newest_store() if url is None else url
    path = path_of(place)
    if path is not None and not path.is_file():
        raise UsageError(f"the file {path} does not exist.", advice="Name an existing store.")
    async with open_windows(place) as reader:
        yield reader


def _newest_store() -> str:
    """The store that was written last, of those next to the journals of the default setting."""
    folder = home(os.environ) / "journals"
    found = sorted(folder.glob("*.db.metrics"), key=lambda path: (_changed_at(path), path.name))
    if not found:
        raise UsageError(
            f"no store of metrics is in {folder}.",
            advice='Name one: --store URL. A system has one if it was started with metrics="auto".',
        )
    return str(found[-1])


def _changed_at(path: Path) -> float:
    """When a store was last written, which is first seen in the log next to it."""
    times = [0.0]
    for each in (path, path.with_name(path.name + "-wal")):
        with contextlib.suppress(OSError):
            times.append(each.stat().st_mtime)
    return max(times)


async def _answered(asked: Asked, url: str | None) -> Answer:
    async with _reader(url) as reader:
        return await asked.answer(reader, time.time_ns())


async def _listed(asked: Asked, url: str | None) -> list[tuple[str, str, int]]:
    """The metrics with their kinds and numbers of series."""
    begin, end = asked.times(time.time_ns()) if asked.is_range else (0, 2**62)
    counts: dict[tuple[str, str], int] = {}
    async with _reader(url) as reader:
        for key in await reader.series((), begin, end, SERIES_LISTED_MAX):
            place = (key.name, key.kind.name.lower())
            counts[place] = counts.get(place, 0) + 1
    return sorted((name, kind, count) for (name, kind), count in counts.items())


# --- drawing ------------------------------------------------------------------------------------


def _columns(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, name in enumerate(names):
        table.add_column(name, justify="left" if place == 0 else "right", no_wrap=True)
    return table


def _print_list(found: Sequence[tuple[str, str, int]], *, as_json: bool) -> None:
    if as_json:
        rows = [dict(zip(("name", "kind", "series"), row, strict=True)) for row in found]
        echo(json.dumps({"metrics": rows}))
        return
    if not found:
        echo("no metrics.", err=True)
        return
    table = _columns("metric", "kind", "series")
    for name, kind, count in found:
        table.add_row(Text(printable(name), style="bold"), kind, f"{count:,}")
    paper().print(table)


def _known(row: Row) -> list[float]:
    return [value for value in row.values if not math.isnan(value)]


def _lines(answer: Answer) -> RenderableType:
    """One line for each series."""
    if answer.is_instant:
        table = _columns("series", "value")
        for row in answer.rows:
            table.add_row(Text(printable(row.label), style="bold"), number(row.values[0]))
        return table
    table = _columns("series", "last", "min", "max")
    table.add_column("", no_wrap=True)
    for row in answer.rows:
        known = _known(row) or [math.nan]
        table.add_row(
            Text(printable(row.label), style="bold"),
            *map(number, (known[-1], min(known), max(known))),
            sparkline(row.values, SPARKLINE_MAX),
        )
    return Group(table, Text(_span(answer), style="dim"))


def _span(answer: Answer) -> str:
    """The time of an answer, and its steps."""
    widths = answer.widths_ns or [b - a for a, b in pairwise(answer.times_ns)]
    if not widths:
        return NOTHING
    steps = " and ".join(f"{width / 60e9:g} min" for width in sorted(set(widths)))
    begin = clock(answer.times_ns[0], widths[0])
    end = clock(answer.times_ns[-1], widths[-1])
    return f"{begin} to {end}, {counted(len(answer.times_ns), 'value')} of {steps}"


def _table(answer: Answer) -> RenderableType:
    """All values, series by series."""
    parts: list[RenderableType] = []
    for row in answer.rows:
        table = _columns("time", "value")
        for place, value in enumerate(row.values):
            if not math.isnan(value):
                width = answer.widths_ns[place] if answer.widths_ns else 0
                table.add_row(clock(answer.times_ns[place], width), number(value))
        parts += [Text(printable(row.label), style="bold"), table]
    return Group(*parts)


def _as_csv(answer: Answer) -> str:
    """A line for each value: time, metric, tags, value."""
    tags = sorted({tag for row in answer.rows for tag, _ in row.tags})
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["time_s", "metric", *tags, "value"])
    for row in answer.rows:
        own = dict(row.tags)
        for time_ns, value in zip(answer.times_ns, row.values, strict=True):
            if not math.isnan(value):
                fields = [own.get(tag, "") for tag in tags]
                lines.writerow([f"{time_ns / 1e9:.15g}", row.name, *fields, repr(value)])
    return text.getvalue()


def drawn(answer: Answer, width: int, lines: int, charts_max: int) -> RenderableType:
    """A chart of each series, with its newest, least and greatest value."""
    if not answer.rows:
        return Text(NOTHING)
    parts: list[RenderableType] = []
    for row in answer.rows[:charts_max]:
        known = _known(row) or [math.nan]
        title = Text(printable(row.label), style="bold")
        last, low, high = map(number, (known[-1], min(known), max(known)))
        title.append(f"  {last}", style="bold green")
        title.append(f"  {low} to {high}", style="dim")
        parts.append(title)
        parts += [Text(line, no_wrap=True) for line in chart(row.values, width, lines)]
    hidden = len(answer.rows) - charts_max
    if hidden > 0:
        parts.append(Text(f"… and {hidden:,} more series (--charts)", style="dim"))
    return Group(*parts, Text(_span(answer), style="dim"))
