"""`callboard prometheus`: what Prometheus and Grafana need to show the systems of this machine."""

import json
import pathlib

import click

from callboard.messages.core.errors import UsageError

from ..telemetry.dashboards import dashboard as dashboard_text
from ..telemetry.dashboards import scrape_configuration
from ..telemetry.exposition.place import known_targets, replace_file
from ..transport.private_folder import private_folder
from .figures import echo
from .outcome import ExitCode

__all__ = ["config", "dashboard", "targets"]


def config() -> None:
    """Print the scrape jobs."""
    click.echo(scrape_configuration(private_folder()), nl=False)


def dashboard() -> None:
    """Print the dashboard."""
    click.echo(dashboard_text(), nl=False)


def targets(*, path: str | None) -> None:
    """Perform the command; `commands/` declares it."""
    found = known_targets()
    text = json.dumps(found, indent=2) + "\n"
    if path is None:
        echo(text.rstrip("\n"))
    else:
        try:
            replace_file(pathlib.Path(path), text.encode(), mode=0o644)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error}.", advice="Name a file in a folder of yours."
            ) from error
    click.get_current_context().exit(ExitCode.OK if found else ExitCode.FAILED)
