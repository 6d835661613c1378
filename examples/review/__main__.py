"""The command line: `python -m examples.review [PATH] --out DIR`.

Exit codes: 0 done, 1 failed, 2 wrong use or bad input, 3 no cluster, 130 interrupted.
The result goes to standard output, progress and errors to standard error.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console

from callboard.errors import (
    CallboardError,
    ClusterError,
    OutputError,
    RequestRejected,
    SpecError,
    UsageError,
)

from .report import Report, prepare_output, print_summary, summary_line, write_reports
from .report.output import REPORT_NAMES
from .tree import SourceTree, scan_tree, standard_library

if TYPE_CHECKING:
    from callboard import SettingsOptions

    from .measured import Measured

__all__ = ["main"]

NAME: Final = "review"
"""The name of the system, and so of its journal, which `callboard ls` lists."""
PACKAGE: Final = str(Path(__file__).parents[1])
"""The package of this example, which the nodes of a cluster get from the driver."""
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CLUSTER: Final = 3
EXIT_INTERRUPTED: Final = 130


class Stopwatch:
    """The timings of one review, each under its name."""

    def __init__(self) -> None:
        self._started_s = self._lap_s = time.monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Record the time since the last lap as `name`."""
        now = time.monotonic()
        self._laps[name], self._lap_s = now - self._lap_s, now

    def read(self) -> Mapping[str, float]:
        """All laps, and the total so far."""
        return {**self._laps, "total_s": time.monotonic() - self._started_s}


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out", default="out", type=click.Path(path_type=Path), help="The folder for the reports."
)
@click.option("--hosts", type=click.IntRange(min=1), help="Agent hosts; default: one for each CPU.")
@click.option("--engine", type=click.Choice(["ray", "inline"]), help="Default: ray.")
@click.option("--address", metavar="HOST:PORT", help="A running Ray cluster; default: a local one.")
@click.option("--sequential", is_flag=True, help="Use a plain loop without Callboard.")
@click.option("--json", "as_json", is_flag=True, help="Print only one line of JSON.")
def review(
    path: Path | None,
    out: Path,
    hosts: int | None,
    engine: str | None,
    address: str | None,
    *,
    sequential: bool,
    as_json: bool,
) -> None:
    """Review the source tree at PATH (default: Python's own library) with many agents."""
    if sequential and (hosts or engine or address):
        raise UsageError(
            "--sequential uses no hosts, no engine and no cluster.",
            advice="Leave out --hosts, --engine and --address.",
        )
    stopwatch = Stopwatch()
    # Errors in the input are reported before anything starts.
    tree = scan_tree(path or standard_library())
    folder = prepare_output(out)
    stopwatch.lap("scan_s")
    measured: Measured | None = None
    if sequential:
        report = _review_in_a_loop(tree, folder, stopwatch, silent=as_json)
    else:
        options: SettingsOptions = {
            "name": NAME,
            "engine": engine or "ray",
            "hosts": hosts,
            "address": address,
            "metrics": "auto",
            "alerts": True,
            "modules": [PACKAGE] if address or os.environ.get("CALLBOARD_ADDRESS") else None,
        }
        report, measured = _review_with_agents(tree, folder, stopwatch, options, silent=as_json)
    timings = stopwatch.read()
    if as_json:
        click.echo(summary_line(report, timings))
    else:
        written = [folder / name for name in REPORT_NAMES]
        print_summary(Console(), report, timings=timings, written=written)
        if measured is not None:
            measured.print_to(Console())


def _review_in_a_loop(
    tree: SourceTree, folder: Path, stopwatch: Stopwatch, *, silent: bool
) -> Report:
    from .sequential import review_sequential

    def show(done: int, total: int) -> None:
        if not silent and (done == total or done % (total // 10 or 1) == 0):
            click.echo(f"{done} of {total} batches", err=True)

    report = review_sequential(tree.root, show)
    stopwatch.lap("review_s")
    write_reports(report, folder, stopwatch.read(), root=tree.root)
    return report


def _review_with_agents(
    tree: SourceTree,
    folder: Path,
    stopwatch: Stopwatch,
    options: "SettingsOptions",
    *,
    silent: bool,
) -> "tuple[Report, Measured]":
    # Imported here, because `--help` and `--sequential` need neither Ray nor the runtime.
    from callboard import System, run

    from .measured import measured_in
    from .orchestrator import review_tree
    from .progress import choose_view

    view = choose_view(Console(stderr=True), silent=silent)

    async def whole(system: System) -> "tuple[Report, Measured]":
        stopwatch.lap("start_s")
        report = await review_tree(system, tree, folder, stopwatch.read, view)
        return report, await measured_in(system)

    with view:
        view.say("starting" if options["engine"] == "inline" else "starting Ray")
        try:
            return run(whole, **options)
        finally:
            stopwatch.lap("review_s")


def _exit_code(error: CallboardError) -> int:
    match error:
        case ClusterError():
            return EXIT_CLUSTER
        case UsageError() | SpecError() | RequestRejected() | OutputError():
            return EXIT_USAGE
        case _:
            return EXIT_FAILED


def main() -> int:
    """Run the command line, and return the exit code."""
    try:
        review.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: everything was stopped.", err=True)
        return EXIT_INTERRUPTED
    except CallboardError as error:
        click.echo(f"error: {error.message}", err=True)
        if error.advice:
            click.echo(f"  {error.advice}", err=True)
        return _exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
