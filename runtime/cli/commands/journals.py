"""The commands about journals and stores: `events`, `store`."""

from typing import Any, Final

import click

from ..options import journal_option, json_option

__all__ = ["events", "store"]

LIMIT_DEFAULT: Final = 100


@click.command()
@click.argument("stream", required=False)
@click.option(
    "--all",
    "all_streams",
    is_flag=True,
    help="Events of all streams, in the order of their commit.",
)
@click.option("--after", type=click.IntRange(min=0), default=0, help="Begin after this event.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT_DEFAULT, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@journal_option
def events(**options: Any) -> None:
    """Print the events of STREAM, or of an execution by its id, oldest first.

    --after takes a version of the stream; with --all, a position in the log.
    """
    from ..events import events as perform

    perform(**options)


@click.group()
def store() -> None:
    """Maintain a store: a file, sqlite:///path, or postgresql://..."""


@click.command()
@click.argument("url", metavar="URL")
@json_option
def check(**options: Any) -> None:
    """Read the whole store at URL, and report any damage.

    Exits with 1 when it is damaged. A writer may be at work. A file stays unchanged.
    """
    from ..store import check as perform

    perform(**options)


@click.command()
@click.argument("url", metavar="URL")
@json_option
def migrate(**options: Any) -> None:
    """Migrate the tables of the store at URL to this release. Make a copy first."""
    from ..store import migrate as perform

    perform(**options)


@click.command()
@click.argument("url", metavar="URL")
@click.option("--blobs", "place", default="auto", help="The folder, if it is not next to the file.")
@click.option("--drop", is_flag=True, help="Delete the blobs that no event refers to.")
@click.option(
    "--older-than",
    "hours",
    default=24.0,
    show_default=True,
    type=click.FloatRange(min=0.0),
    help="Spare blobs younger than these hours: an event may be about to refer to them.",
)
@json_option
def blobs(**options: Any) -> None:
    """List the large results stored with the journal at URL, and those that nothing needs.

    An execution in the journal needs its results, even after its end. A writer may be at work.
    """
    from ..store import blobs as perform

    perform(**options)


for declared in (check, migrate, blobs):
    store.add_command(declared)
