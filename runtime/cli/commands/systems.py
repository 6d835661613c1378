"""The commands for whole systems: `tree`, `top`, `why`, `logs`, `doctor`, `ui`, `up`, `down`."""

from typing import Any, Final

import click

from ..options import Seconds, cluster_options, json_option, server_options, timeout_option

__all__ = ["LEVELS", "SORTS", "doctor", "down", "logs", "top", "tree", "ui", "up", "why"]

ACTORS_DEFAULT: Final = 20
ACTORS_MAX: Final = 10_000
BUSIEST_DEFAULT: Final = 15
BUSIEST_MAX: Final = 1_000
LINES_DEFAULT: Final = 100
LINES_MAX: Final = 2_000
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
"""The levels of log lines, as `messages.control.logs` has them."""
SORTS: Final = (
    "messages", "mailbox", "restarts", "lag", "cpu", "memory", "frames", "bytes", "asks", "name",
)  # fmt: skip
"""The names of the columns that `top` sorts by."""


@click.command()
@json_option
@click.option("--watch", is_flag=True, help="Update the tree each second, until Ctrl-C.")
@click.option(
    "--actors",
    "actors_max",
    type=click.IntRange(0, ACTORS_MAX),
    default=ACTORS_DEFAULT,
    show_default=True,
    help="How many actors of each host to show; actors that failed come first.",
)
@cluster_options
def tree(**options: Any) -> None:
    """Show your running systems: hosts, actors, states, restarts, mailboxes, last failures.

    Exits with 1 when there is none, or none that answers.
    """
    from ..tree import tree as perform

    perform(**options)


@click.command()
@json_option
@click.option("--once", is_flag=True, help="Show one second, and end.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default="messages",
    show_default=True,
    help="The column to sort by.",
)
@click.option(
    "--actors",
    "busiest_max",
    type=click.IntRange(1, BUSIEST_MAX),
    default=BUSIEST_DEFAULT,
    show_default=True,
    help="How many actors of each host to show.",
)
@cluster_options
def top(**options: Any) -> None:
    """Show the busiest hosts, links and actors: rates, mailboxes, restarts, lag, processor.

    Without --once it runs until Ctrl-C. Exits with 1 when there is no system, or none that answers.
    """
    from ..top import top as perform

    perform(**options)


@click.command()
@click.argument("where", required=False, default="")
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="debug",
    show_default=True,
    help="The least level to show.",
)
@click.option(
    "-n",
    "--lines",
    "lines_max",
    type=click.IntRange(1, LINES_MAX),
    default=LINES_DEFAULT,
    show_default=True,
    help="How many of the newest lines to show first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each line as a line of JSON.")
@cluster_options
def logs(**options: Any) -> None:
    """Print the log lines of your running systems, those of dead hosts included.

    WHERE is a path as `callboard tree` shows it (host-1, host-1/reviews, /reviews on any host), or
    the beginning of an execution's id. Without it, all lines. Exits with 1 when there is no system,
    or none that answers. What user code prints is in Ray's own logs.
    """
    from ..log_lines import logs as perform

    perform(**options)


@click.command()
@click.argument("path")
@json_option
@click.option("--system", metavar="NAME", help="Search only the system of this name.")
@click.option("--traceback/--no-traceback", "traces", default=True, help="Show the tracebacks.")
@cluster_options
def why(**options: Any) -> None:
    """Show the failures of an actor or a host, and what its supervisor did.

    PATH is as `callboard tree` shows it (host-1/reviews/store), without the host
    (/reviews/store), a registered name, or a host (host-1). Ended actors stay known for a while.
    Exits with 1 when no system answers, with 2 when PATH is unknown or may mean several.
    """
    from ..why import why as perform

    perform(**options)


@click.command()
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Also check the cluster at this address, and look there for dead systems.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(**options: Any) -> None:
    """Check this machine: Python, Ray, token, ports, disk, memory, stray processes.

    Starts nothing and changes nothing. Exits with 1 when a check fails, otherwise with 0.
    """
    from ..doctor import doctor as perform

    perform(**options)


@click.command()
@click.argument("name", required=False)
@click.option(
    "--address", metavar="HOST:PORT", help="The cluster that it runs on (default: this machine)."
)
@server_options
@json_option
def ui(**options: Any) -> None:
    """Print a link to the page of the running system NAME; without NAME, of the only one.

    The link has a code that counts once, for a minute. A system without a page starts one. Exits
    with 1 when no such system runs.
    """
    from ..ui import ui as perform

    perform(**options)


@click.command()
@click.argument("name", default="callboard")
@click.option("--hosts", type=click.IntRange(1), help="Hosts (default: one for each processor).")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    help="The port of the page (0: a free one).",
)
@click.option(
    "--ship",
    "modules",
    metavar="PATH",
    multiple=True,
    help="A package or .py file that all hosts get; may be repeated.",
)
@click.option(
    "--pipelines",
    metavar="URL",
    multiple=True,
    help="The store of pipelines that the page and the API show; may be repeated.",
)
@click.option("--journal", metavar="PLACE", help="The journal of executions, or off.")
@click.option(
    "--timeout", "timeout_s", type=Seconds(), default=120.0, show_default=True, metavar="S",
    help="How long it may take to start.",
)  # fmt: skip
@json_option
def up(**options: Any) -> None:
    """Start a whole system on this machine: Ray, hosts, journal, metrics, alerts, and the page.

    It listens on this machine only, and stays until `callboard down`. Drivers join it by
    callboard.attach(NAME). When it runs already, the command says so and prints a link to its
    page. Exits with 1 when it does not come up.
    """
    from ..up import up as perform

    perform(**options)


@click.command()
@click.argument("name", required=False)
@click.option(
    "--address",
    metavar="HOST:PORT",
    envvar="CALLBOARD_ADDRESS",
    help="The cluster that it runs on (default: the cluster of this machine).",
)
@timeout_option("How long its actors may take to stop before they are killed.")
@json_option
def down(**options: Any) -> None:
    """Stop the system NAME; without NAME, list the running systems.

    NAME is a system that `callboard up` has started here, or a detached system of a cluster.
    The actors stop in order, newest first, and then all processes. Attached drivers get a notice.
    Systems with a dead root are listed too, and NAME removes what such a system left. Exits with 1
    when there is no such system.
    """
    from ..down import down as perform

    perform(**options)
