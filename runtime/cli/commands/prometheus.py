"""The commands for Prometheus and Grafana: `prometheus config`, `dashboard`, `targets`."""

from typing import Any

import click

__all__ = ["prometheus"]


@click.group()
def prometheus() -> None:
    """Print what Prometheus and Grafana need to show your systems."""


@click.command()
def config() -> None:
    """Print scrape jobs for the endpoints of nodes and of Ray, to copy into prometheus.yml."""
    from ..prometheus import config as perform

    perform()


@click.command()
def dashboard() -> None:
    """Print the Grafana dashboard, to import or to provision it."""
    from ..prometheus import dashboard as perform

    perform()


@click.command()
@click.option(
    "--write",
    "path",
    metavar="PATH",
    type=click.Path(dir_okay=False),
    help="Replace this file, for a Prometheus that cannot read your folder.",
)
def targets(**options: Any) -> None:
    """Print where your systems on this machine show their metrics, as file_sd_configs reads it.

    Exits with 1 when there is none.
    """
    from ..prometheus import targets as perform

    perform(**options)


for declared in (config, dashboard, targets):
    prometheus.add_command(declared)
