"""`make mutants`: small changes of the code, each of which some test has to find.

Each mutant is one change by one operator of cosmic-ray. The tests of its module that reach its line
run in a copy of the tree until one fails; a mutant that passes them has to break an invariant of
the simulator's seeds. What passes those as well has survived: a test is missing, or the mutant is
equivalent, and `equivalent.toml` says why.

Cosmic-ray gives the operators and the file of a session. Its own runner changes the work tree,
and has one command for all modules. (Mutmut was tried: it finds the mutants of a function by the
path of its file, and those of Callboard are imported through links under another name.)
"""

import signal
import sys
from pathlib import Path
from typing import Final

import click

from .run import Request, cores, run
from .trial import TrialFailed

ROOT: Final = Path(__file__).resolve().parents[2]
SHARE: Final = 0.95
"""Of the mutants that are not equivalent, so many must be found."""


@click.command()
@click.option("--sample", type=click.IntRange(min=1), help="How many; all without a number.")
@click.option("--seed", type=int, default=0, show_default=True, help="What draws the sample.")
@click.option("--workers", type=click.IntRange(min=1), default=cores, help="Trials at a time.")
@click.option("--only", multiple=True, metavar="PATH", help="The beginning of files' names.")
@click.option("--again", is_flag=True, help="Only the survivors of the session before.")
@click.option(
    "--sessions",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "out" / "mutants",
    help="Where results are kept, so that an interrupted run goes on.",
)
def main(
    *,
    sample: int | None,
    seed: int,
    workers: int,
    only: tuple[str, ...],
    again: bool,
    sessions: Path,
) -> None:
    """Change the code in small ways, and see whether the tests notice.

    The exit code is 1 when less than 95 % are found.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    request = Request(ROOT, sessions, seed, sample, workers, only, again)
    try:
        summary = run(request, click.echo)
    except TrialFailed as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n" + summary.report())
    sys.exit(0 if summary.share >= SHARE else 1)


if __name__ == "__main__":
    main()
