"""`callboard metrics query` and `watch`: from the running system, or from a store of windows."""

import asyncio
import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from callboard.actors.metrics.query.question import (
    ListMetrics,
    QueryMetrics,
    answer_question,
    list_metrics,
)
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import CallboardError, ClusterError, UsageError

from ..api.metrics import open_windows
from ..executions.journals import home
from ..stores.choose import path_of
from . import metric_drawing as drawing
from .figures import echo, paper, printable
from .metric_request import Asked, asked_for
from .outcome import ExitCode
from .sources import local_systems, query_all, server

__all__ = ["query", "watch"]

ReplyT = TypeVar("ReplyT")
NOTHING: Final = "no values."


def query(*, url: str | None, form: str, as_json: bool, **options: Any) -> None:
    """Perform the command; `commands/` declares it."""
    asked = asked_for(**options)
    context = click.get_current_context()
    if asked.names_none:
        context.exit(_list(asked, url, prints_json=as_json))
    answer = asyncio.run(_ask(asked.at(time.time_ns()), url))
    if as_json:
        echo(drawing.as_json(answer))
    elif form == "csv":
        echo(drawing.as_csv(answer))
    elif not answer.series:
        echo(NOTHING, err=True)
    else:
        paper().print(drawing.table(answer) if form == "table" else drawing.lines(answer))
    if answer.open_until_ns and not as_json:
        echo(drawing.open_note(answer), err=True)
    _warn(answer.missing)
    context.exit(ExitCode.OK if answer.series else ExitCode.FAILED)


def _list(asked: Asked, url: str | None, *, prints_json: bool) -> ExitCode:
    found = asyncio.run(_ask(asked.listing(time.time_ns()), url))
    if prints_json:
        echo(drawing.listing_as_json(found))
    elif found.metrics:
        paper().print(drawing.listing(found))
    else:
        echo("no metrics.", err=True)
    _warn(found.missing)
    return ExitCode.OK if found.metrics else ExitCode.FAILED


def _warn(missing: Sequence[str]) -> None:
    if missing:
        echo(drawing.incomplete(missing), err=True)


def watch(
    *, url: str | None, every_s: float, once: bool, height: int, charts_max: int, **options: Any
) -> None:
    """Perform the command; `commands/` declares it."""
    asked = asked_for(**{**options, "begin": options["begin"] or "1h", "end": None})
    if asked.names_none:
        raise UsageError("no metric is named.", advice="Give an expression, or --name.")
    if once:
        console = paper()
        answer = asyncio.run(_ask(asked.at(time.time_ns()), url))
        console.print(drawing.charts(answer, console.width, height, charts_max))
        return
    with contextlib.suppress(KeyboardInterrupt):  # The normal way to leave.
        asyncio.run(_watch(asked, url, every_s, height, charts_max))


async def _watch(
    asked: Asked, url: str | None, every_s: float, height: int, charts_max: int
) -> None:
    with Live(console=paper(), auto_refresh=False, screen=True) as live:
        while True:
            drawn = await _screen(asked, url, live.console.width, height, charts_max)
            live.update(drawn, refresh=True)
            await asyncio.sleep(every_s)


async def _screen(
    asked: Asked, url: str | None, width: int, height: int, charts_max: int
) -> RenderableType:
    try:
        answer = await _ask(asked.at(time.time_ns()), url)
    except UsageError:
        raise  # It will not be another one in five seconds.
    except CallboardError as error:
        return Text(f"no answer: {printable(str(error))}", style="yellow")
    return drawing.charts(answer, width, height, charts_max)


# --- who answers --------------------------------------------------------------------------------


async def _ask(request: Request[ReplyT], url: str | None) -> ReplyT:
    """Ask the running system that keeps metrics; without one, the store that was written last."""
    if url is not None:
        stored: ReplyT = await _ask_store(request, url)
        return stored
    snapshots = await query_all(local_systems(), request)
    found = [snapshot for snapshot in snapshots if snapshot.view is not None]
    if len(found) > 1:
        raise UsageError(
            f"several systems keep metrics: {', '.join(each.source for each in found)}.",
            advice="Name the store of one: --store URL.",
        )
    if found:
        assert found[0].view is not None
        return found[0].view
    if snapshots and server() is not None:
        raise ClusterError(f"{snapshots[0].source} {snapshots[0].problem}")
    newest: ReplyT = await _ask_store(request, _newest_store())
    return newest


async def _ask_store(request: Request[Any], url: str) -> Any:
    path = path_of(url)
    if path is not None and not path.is_file():
        raise UsageError(f"the file {path} does not exist.", advice="Name an existing store.")
    async with open_windows(url) as reader:
        if isinstance(request, ListMetrics):
            return await list_metrics(reader, request)
        assert isinstance(request, QueryMetrics)
        return await answer_question(reader, request)


def _newest_store() -> str:
    """The store that was written last, of those next to the journals of the default setting."""
    folder = home(os.environ) / "journals"
    found = sorted(folder.glob("*.db.metrics"), key=lambda path: (_changed_at(path), path.name))
    if not found:
        raise UsageError(
            f"no system that runs keeps metrics, and no store of metrics is in {folder}.",
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
