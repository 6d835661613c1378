"""`callboard prometheus targets`: where the systems of this machine show their metrics."""

import json
import pathlib

import click

from ..telemetry.exposition.place import known_targets, replace_file
from .figures import echo
from .outcome import ExitCode

__all__ = ["targets"]


def targets(*, path: str | None) -> None:
    """Perform the command; `commands/` declares it."""
    found = known_targets()
    text = json.dumps(found, indent=2) + "\n"
    if path is None:
        echo(text.rstrip("\n"))
    else:
        replace_file(pathlib.Path(path), text.encode(), mode=0o644)
    click.get_current_context().exit(ExitCode.OK if found else ExitCode.FAILED)
