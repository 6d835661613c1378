"""The command `approvals`; `approve`, which decides them, is among those about executions."""

from typing import Any

import click

from ..options import cluster_options, json_option

__all__ = ["approvals", "store_option"]

store_option = click.option(
    "--store",
    metavar="URL",
    help="Use this store of approvals: a file, or postgresql://... (default: running systems).",
)


@click.command()
@click.option("--all", "shows_all", is_flag=True, help="Also list those that have their answer.")
@store_option
@json_option
@cluster_options
def approvals(**options: Any) -> None:
    """List what persons are asked for: questions of handlers, and steps that may have run."""
    from ..approvals import approvals as perform

    perform(**options)
