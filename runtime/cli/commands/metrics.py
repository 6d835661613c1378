"""The commands about metrics: `metrics query`, `metrics watch`."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from ..options import json_option, server_options

__all__ = ["metrics"]

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
LINES_DEFAULT: Final = 6
SERIES_DEFAULT: Final = 8
EVERY_DEFAULT_S: Final = 5.0


def _selection(command: CommandT) -> CommandT:
    """The arguments that say which values are asked for."""
    options = (
        click.argument("expression", required=False),
        click.option("--name", metavar="METRIC", help="This metric, instead of an expression."),
        click.option(
            "--tag",
            "tags",
            multiple=True,
            metavar="TAG=VALUE",
            help="Only series with this tag; also TAG!=VALUE, TAG=~PATTERN, TAG!~PATTERN.",
        ),
        click.option(
            "--function",
            default="auto",
            show_default=True,
            metavar="NAME",
            help="count, sum, rate, avg, min, max, last, or a percentile such as p99.9.",
        ),
        click.option(
            "--by", metavar="TAG,…", help="Put series together by these tags ('': all into one)."
        ),
        click.option("--top", type=click.IntRange(min=1), help="Only the highest so many series."),
        click.option(
            "--from",
            "begin",
            metavar="TIME",
            help="The beginning: 6h (before the end), 2026-01-31T12:00, or seconds since 1970.",
        ),
        click.option("--step", metavar="DURATION", help="One value for each 5m, 1h, 1d, …"),
        click.option(
            "--store",
            "url",
            metavar="URL",
            help="Only this store: a file, or postgresql://...",
        ),
    )
    for option in reversed(options):  # As decorators, they are listed from the last one on.
        command = option(command)
    return server_options(command)


@click.group()
def metrics() -> None:
    """Ask for metrics that were recorded, and watch them."""


@click.command()
@_selection
@click.option("--to", "end", metavar="TIME", help="The end (default: now); 1h: an hour ago.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("chart", "table", "csv")),
    default="chart",
    show_default=True,
    help="A line with a chart for each series, a table of all values, or CSV.",
)
@json_option
def query(**options: Any) -> None:
    """Print values of the PromQL EXPRESSION, or of a metric by --name; with neither, list metrics.

    Your running system answers; without one, the store that was written last. With --from or --step
    it gives the values over that time. Exits with 1 when there are none, with 2 for a wrong one.
    """
    from ..metrics import query as perform

    perform(**options)


@click.command()
@_selection
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.1),
    default=EVERY_DEFAULT_S,
    show_default=True,
    metavar="S",
    help="Ask again after so many seconds.",
)
@click.option("--once", is_flag=True, help="Draw once, and end.")
@click.option(
    "--lines",
    "height",
    type=click.IntRange(1, 40),
    default=LINES_DEFAULT,
    show_default=True,
    help="The height of each chart.",
)
@click.option(
    "--charts",
    "charts_max",
    type=click.IntRange(1, 100),
    default=SERIES_DEFAULT,
    show_default=True,
    help="At most so many charts.",
)
def watch(**options: Any) -> None:
    """Draw charts of the PromQL EXPRESSION, or of a metric by --name, until Ctrl-C.

    They show the last hour, or the time since --from.
    """
    from ..metrics import watch as perform

    perform(**options)


for declared in (query, watch):
    metrics.add_command(declared)
