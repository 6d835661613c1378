"""`callboard ls`: the executions of the journals of this user, running or not."""

import json
import time
from collections.abc import Sequence
from typing import Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .execution_report import approval
from .figures import age, echo, hint, printable, short
from .listing import Row, chosen, count_done, find_doubts, rows_of
from .logs import open_logs

__all__ = ["draw", "ls"]

DOUBTS_MAX: Final = 5
"""Steps in doubt that are listed for one execution. `show` lists more."""
STYLES: Final = {"running": "cyan", "completed": "green", "failed": "red", "interrupted": "yellow"}


def ls(*, status: str | None, job: str | None, limit: int, as_json: bool, url: str | None) -> None:
    """Perform the command; `commands/` declares it."""
    with open_logs(url) as logs:
        by_url = {log.url: log for log in logs}
        rows = [row for log in logs for row in rows_of(log)]
        rows.sort(key=lambda row: row.submitted_at, reverse=True)
        shown = list(chosen(rows, status, job, limit))
        for row in shown:
            count_done(by_url[row.journal], row)
            find_doubts(by_url[row.journal], row)
    if as_json:
        left_off = len(list(chosen(rows, status, job, len(rows)))) - len(shown)
        data = {"executions": [row.to_data() for row in shown], "left_off": left_off}
        click.echo(json.dumps(data, indent=2))
    else:
        Console().print(draw(shown, time.time()))
        _advise(shown)


def draw(rows: Sequence[Row], now: float) -> Table:
    """The rows as a table."""
    table = Table(box=None, pad_edge=False)
    for title in ("id", "job", "status", "done", "age", "duration", "owner"):
        table.add_column(title, no_wrap=title == "id")
    for row in rows:
        status = "interrupted" if row.interrupted else str(row.status)
        count = "–" if row.sub_tasks is None else f"{row.sub_tasks:,}"
        if row.done is not None:
            count = f"{row.done:,} of {count}" if row.sub_tasks is not None else "–"
        said = f"{status}\n{len(row.in_doubt):,} in doubt" if row.in_doubt else status
        ended = now if row.ended_at is None else row.ended_at
        table.add_row(
            Text(short(row.id)),
            Text(printable(row.job)),
            Text(said + (f" ({printable(row.problem)})" if row.problem else ""),
                 style=STYLES.get(status, "")),
            Text(count),
            Text(age(now - row.submitted_at)),
            Text("–" if row.interrupted else age(ended - row.submitted_at)),
            Text(printable(row.owner)),
        )  # fmt: skip
    return table


def _advise(rows: Sequence[Row]) -> None:
    if not rows:
        click.echo("no executions.", err=True)
    for row in rows:
        if row.interrupted:
            echo(f"{hint('resume', row.id)}  # continues it", err=True)
        for step in row.in_doubt[:DOUBTS_MAX]:
            echo(f"{approval(row.id, step)}  # the step may have run: decide", err=True)
