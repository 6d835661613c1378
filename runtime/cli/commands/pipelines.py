"""The commands about pipelines and their dead letters: `pipelines`, `letters`."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from ..options import Seconds, json_option, server_options

__all__ = ["letters", "pipelines"]

LIMIT_DEFAULT: Final = 20

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def _words(metavar: str) -> Callable[[CommandT], CommandT]:
    """The words of a command, and the options of a server, with which STORE is left out."""

    def declare(command: CommandT) -> CommandT:
        return click.argument("words", nargs=-1, metavar=metavar)(server_options(command))

    return declare


@click.group()
def pipelines() -> None:
    """Show, resume, check and run pipelines.

    STORE is where a pipeline keeps its position: a file, or postgresql://... Leave it out with
    --url: a web server answers from the stores that it knows.
    """


@click.command()
@_words("[STORE] [PIPELINE]")
@click.option(
    "--rate",
    "rate_s",
    type=Seconds(),
    metavar="S",
    help="Measure rates over S seconds.",
)
@json_option
def show(**options: Any) -> None:
    """Show the pipelines in STORE: state, lag, and the account of each stage.

    The pipelines may run or not. Exits with 1 if one of them has stopped.
    """
    from ..pipelines import show as perform

    raise SystemExit(perform(**options))


@click.command()
@_words("[STORE] PIPELINE")
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
    """List, show, replay and discard dead letters.

    STORE is the store of their pipeline: a file, or postgresql://... Leave it out with --url.
    """


@click.command(name="list")
@_words("[STORE] [PIPELINE]")
@click.option("--stage", help="Only letters of this stage.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Begin after this number.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT_DEFAULT, show_default=True)
@json_option
def list_letters(**options: Any) -> None:
    """List dead letters, the oldest first."""
    from ..letters import list_letters as perform

    perform(**options)


@click.command(name="show")
@_words("[STORE] PIPELINE NUMBER")
@json_option
def show_letter(**options: Any) -> None:
    """Show one dead letter whole: the original, its place, and every reason."""
    from ..letters import show_letter as perform

    perform(**options)


all_option = click.option("--all", "every", is_flag=True, help="All letters of the pipeline.")
stage_option = click.option("--stage", help="All letters of this stage.")


@click.command()
@_words("[STORE] PIPELINE [NUMBER]...")
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
@_words("[STORE] PIPELINE [NUMBER]...")
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
