"""The commands that run something: `run`, `sim`."""

from typing import Any, Final

import click

from ..options import HostCount, Seconds

__all__ = ["ENGINES", "run", "sim"]

ENGINES: Final = ("ray", "inline")


@click.command()
@click.argument("target")
@click.argument("arguments", metavar="[-- ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--engine", type=click.Choice(ENGINES), help="Ray, or all in this process.")
@click.option(
    "--hosts",
    type=HostCount(),
    metavar="N",
    help="Hosts, or `auto` for as many as the cluster has processors at the time "
    "(default: one per processor at the start).",
)
@click.option("--address", metavar="HOST:PORT", help="A running cluster (default: start Ray here).")
@click.option("--name", help="The system's name in `callboard tree` and the dashboard.")
@click.option("--journal", metavar="PLACE", help="The journal of executions, or off.")
@click.option(
    "--ui",
    is_flag=True,
    flag_value="yes",
    default=None,
    help="Serve the live page while it runs, and print a link to it.",
)
@click.option(
    "--ship",
    "modules",
    metavar="PATH",
    multiple=True,
    help="A package or .py file that all hosts get; may be repeated.",
)
@click.option(
    "--request", "fields", metavar="JSON", help="The fields of the request; - reads stdin."
)
@click.option(
    "--contract", metavar="NAME", help="The request's name, if the actor answers several."
)
@click.option(
    "--pool",
    "pools",
    metavar="CLASS[=SIZE]",
    multiple=True,
    help="Also start a pool of agents for the actor; may be repeated.",
)
@click.option("--timeout", "timeout_s", type=Seconds(), metavar="S")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON line, last.")
@click.option("--verbose", is_flag=True, help="Show tracebacks.")
def run(**options: Any) -> None:
    """Run TARGET: a driver script, or a part of a module.

    \b
      callboard run driver.py --address 192.0.2.10:6379 -- --its-own option
      callboard run jobs:main
      callboard run jobs:Reviewer --request '{"path": "a.py"}'

    A script runs as with `python driver.py`. An `async def` function gets the running system. An
    actor class is started and gets the request, and the command prints the reply. ARGS become the
    target's sys.argv.

    --engine, --hosts, --address, --name, --journal, --ui and --ship apply where the code sets
    nothing. The variables CALLBOARD_ENGINE, CALLBOARD_HOSTS, CALLBOARD_ADDRESS, CALLBOARD_NAME,
    CALLBOARD_JOURNAL, CALLBOARD_UI and CALLBOARD_MODULES do the same.

    \b
    Exit codes: 0 done, 1 the work failed, 2 wrong usage, 3 the cluster does not answer,
    4 timeout, 130 Ctrl-C. A script's own exit code is kept.
    """  # noqa: D301 - \b stops click from wrapping the paragraph
    from ..run import run as perform

    perform(**options)


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--scenario", "name", default="mixed", show_default=True, help="The scenario to simulate."
)
@click.option(
    "--defect",
    metavar="NAME",
    help="Break the kernel on purpose, to check that the invariants find it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line at the end.")
def sim(**options: Any) -> None:
    """Run whole systems on a virtual clock, with faults drawn from seeds.

    Hosts crash, hang and slow down. Links lose, double, reorder and cut frames. Invariants are
    checked after every step. The same seed gives the same run on every machine.

    The scenarios come with a clone of the repository. Simulate your own actors with
    callboard.testing.

    \b
    Exit codes: 0 all invariants held, 1 a seed broke one, 2 wrong usage or no clone.
    """  # noqa: D301 - \b stops click from wrapping the paragraph
    from ..sim import sim as perform

    perform(**options)
