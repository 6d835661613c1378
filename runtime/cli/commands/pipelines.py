"""The commands about pipelines and their dead letters: `pipelines`, `letters`."""

from typing import Any, Final

import click

from ..options import Seconds, json_option

__all__ = ["letters", "pipelines"]

LIMIT_DEFAULT: Final = 20

url_argument = click.argument("url", metavar="URL")
pipeline_argument = click.argument("name", metavar="PIPELINE")


@click.group()
def pipelines() -> None:
    """Show, resume, check and run pipelines. URL is their store: a file, or postgresql://..."""


@click.command()
@url_argument
@click.argument("name", metavar="[PIPELINE]", required=False)
@click.option(
    "--rate",
    "rate_s",
    type=Seconds(),
    metavar="S",
    help="Measure rates over S seconds.",
)
@json_option
def show(**options: Any) -> None:
    """Show the pipelines in the store at URL: state, lag, and the account of each stage.

    The pipelines may run or not. Exits with 1 if one of them has stopped.
    """
    from ..pipelines import show as perform

    raise SystemExit(perform(**options))


@click.command()
@url_argument
@pipeline_argument
def resume(**options: Any) -> None:
    """Let a pipeline go on that has stopped itself, now or when it runs next."""
    from ..pipelines import resume as perform

    perform(**options)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path())
@json_option
def check(**options: Any) -> None:
    """Check the pipeline in FILE, and print every problem with its line."""
    from ..pipelines import check as perform

    perform(**options)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("--store", "url", metavar="URL", required=True, help="Where it keeps its position.")
@click.option("--batch-rows", type=click.IntRange(1, 1_000_000), default=1_000, show_default=True)
@json_option
def run(**options: Any) -> None:
    """Run the pipeline in FILE in this process until its source ends, or Ctrl-C.

    The file names source and sink under `configuration`. Letters that wait for their replay are
    replayed. Exits with 1 if the pipeline stops.
    """
    from ..pipelines import run as perform

    raise SystemExit(perform(**options))


@click.group()
def letters() -> None:
    """List, show, replay and discard dead letters. URL is the store of their pipeline."""


@click.command(name="list")
@url_argument
@click.argument("name", metavar="[PIPELINE]", required=False)
@click.option("--stage", help="Only letters of this stage.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Begin after this number.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT_DEFAULT, show_default=True)
@json_option
def list_letters(**options: Any) -> None:
    """List dead letters, the oldest first."""
    from ..letters import list_letters as perform

    perform(**options)


@click.command(name="show")
@url_argument
@pipeline_argument
@click.argument("number", type=click.IntRange(min=1))
@json_option
def show_letter(**options: Any) -> None:
    """Show one dead letter whole: the original, its place, and every reason."""
    from ..letters import show_letter as perform

    perform(**options)


numbers_argument = click.argument("numbers", nargs=-1, type=click.IntRange(min=1))
all_option = click.option("--all", "every", is_flag=True, help="All letters of the pipeline.")
stage_option = click.option("--stage", help="All letters of this stage.")


@click.command()
@url_argument
@pipeline_argument
@numbers_argument
@all_option
@stage_option
@json_option
def replay(**options: Any) -> None:
    """Replay dead letters: the pipeline takes them again, now or when it runs next.

    A letter that fails again comes back with a new number and a higher attempt.
    """
    from ..letters import replay as perform

    perform(**options)


@click.command()
@url_argument
@pipeline_argument
@numbers_argument
@all_option
@stage_option
@json_option
def discard(**options: Any) -> None:
    """Delete dead letters for good. The accounts count them as discarded."""
    from ..letters import discard as perform

    perform(**options)


for declared in (show, resume, check, run):
    pipelines.add_command(declared)
for declared in (list_letters, show_letter, replay, discard):
    letters.add_command(declared)
