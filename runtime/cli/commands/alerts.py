"""The commands about alerts: `alerts`, `alerts rules`, `reload`, `silence`, `unsilence`, `test`."""

from pathlib import Path
from typing import Any, Final

import click

from ..options import cluster_options, json_option

__all__ = ["alerts"]

STATES: Final = ("firing", "pending", "resolved")
FILES: Final = click.Path(dir_okay=False, path_type=Path)

store_option = click.option(
    "--store",
    "url",
    metavar="URL",
    help="Use this store: a file, or postgresql://... (default: the running systems, or without "
    "any the newest store of this user).",
)


@click.group(invoke_without_command=True)
@click.option("--state", type=click.Choice(STATES), help="List only alerts in this state.")
@click.option("--all", "shows_all", is_flag=True, help="Also list rules that are well.")
@store_option
@json_option
@cluster_options
@click.pass_context
def alerts(context: click.Context, /, **options: Any) -> None:
    """List alerts, the rules that fail or have no data, and silences.

    \b
    Exit codes: 0 no alert fires, or only muted ones; 1 another one fires; 2 there is no store.
    """  # noqa: D301 - \b stops click from wrapping the paragraph
    if context.invoked_subcommand is None:
        from ..alerts import alerts as perform

        perform(**options)


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=FILES)
@click.option("--default", "shows_default", is_flag=True, help="Print the rules of Callboard.")
@json_option
def rules(**options: Any) -> None:
    """Check files of rules, receivers and routes, and show every problem.

    Rules are in the format of Prometheus' rule files, receivers and routes in that of
    Alertmanager. Exits with 2 when something is wrong.
    """
    from ..alert_files import rules as perform

    perform(**options)


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=FILES)
@json_option
@cluster_options
def reload(**options: Any) -> None:
    """Let a running system use FILE in the place of its rules, receivers and routes.

    Without FILE, the files of its start, or of the last reload, are read again. With a problem in
    one of them everything stays as it is, every problem is shown, and the exit code is 2.
    """
    from ..alert_files import reload as perform

    perform(**options)


@click.command()
@click.argument("matchers", metavar="MATCHER...", nargs=-1, required=True)
@click.option("--for", "duration", default="2h", show_default=True, metavar="DURATION")
@click.option("--comment", default="", help="Why.")
@click.option("--author", default="", help="Who (default: the user of this process).")
@store_option
@json_option
@cluster_options
def silence(**options: Any) -> None:
    """Notify nobody of the alerts that fulfil every MATCHER, such as severity=warning."""
    from ..silences import silence as perform

    perform(**options)


@click.command()
@click.argument("silence_id", metavar="ID")
@store_option
@json_option
@cluster_options
def unsilence(**options: Any) -> None:
    """End the silence ID now."""
    from ..silences import unsilence as perform

    perform(**options)


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, type=FILES, required=True)
@click.option("--receiver", metavar="NAME", help="Only this receiver (default: all of them).")
@json_option
def test(**options: Any) -> None:
    """Send a test notification, which fires, to the receivers in FILE.

    Exits with 1 when one of them does not take it.
    """
    from ..alert_files import test as perform

    perform(**options)


for declared in (rules, reload, silence, unsilence, test):
    alerts.add_command(declared)
