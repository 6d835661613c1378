"""`callboard show ID`: one execution, as recorded in its journal."""

import json
from pathlib import Path

import click
from rich.console import Console

from ..admin.reports import Live
from ..stores.private import write_private
from ..web.export import exported_history
from .chart import timeline
from .execution_report import draw, to_data
from .figures import echo
from .logs import find, history_of, open_logs

__all__ = ["show"]


def show(
    *,
    execution_id: str,
    shows_all: bool,
    as_timeline: bool,
    html: Path | None,
    as_json: bool,
    url: str | None,
) -> None:
    """Perform the command; `commands/` declares it."""
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        history = history_of(found)
        is_running = found.log.is_running(history.owners[-1].name) if history.owners else None
    if html is not None:
        live = None if is_running is False else Live()
        write_private(html, exported_history(history, live))
        echo(f"written: {html}", err=True)
    if as_json:
        click.echo(
            json.dumps(to_data(history, is_running=is_running, shows_all=shows_all), indent=2)
        )
    elif as_timeline:
        Console().print(timeline(history, Console().width))
    elif html is None:
        Console().print(draw(history, is_running=is_running, shows_all=shows_all))
