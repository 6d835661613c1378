"""`callboard prometheus targets`: where the systems of this machine show their metrics."""

import json
import pathlib

import click

from callboard.messages.core.errors import UsageError

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
        try:
            replace_file(pathlib.Path(path), text.encode(), mode=0o644)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error}.", advice="Name a file in a folder of yours."
            ) from error
    click.get_current_context().exit(ExitCode.OK if found else ExitCode.FAILED)
