"""`callboard show ID`: one execution as its journal tells it."""

import json
from pathlib import Path

import click
from rich.console import Console

from .chart import timeline
from .execution_report import draw, to_data
from .logs import find, history_of, open_logs
from .options import journal_option, json_option
from .page import page

__all__ = ["show"]


@click.command()
@click.argument("execution_id", metavar="ID")
@click.option("--all", "shows_all", is_flag=True, help="Every sub-task and every attempt.")
@click.option("--timeline", "as_timeline", is_flag=True, help="Executors over time, as bars.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page.")
@json_option
@journal_option
def show(
    *,
    execution_id: str,
    shows_all: bool,
    as_timeline: bool,
    html: Path | None,
    as_json: bool,
    url: str | None,
) -> None:
    """Show the execution ID: its way, its graph, attempts, times and errors.

    Of a large plan the sub-tasks are counted by kind, and the newest attempts are shown.
    """
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        history = history_of(found)
        lives = found.log.lives(history.owners[-1].name) if history.owners else None
    if html is not None:
        html.write_text(page(history, lives=lives), encoding="utf-8")
        click.echo(f"written: {html}", err=True)
    if as_json:
        click.echo(json.dumps(to_data(history, lives=lives, shows_all=shows_all), indent=2))
    elif as_timeline:
        Console().print(timeline(history, Console().width))
    elif html is None:
        Console().print(draw(history, lives=lives, shows_all=shows_all))
