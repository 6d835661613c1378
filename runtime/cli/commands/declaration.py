"""The declaration of a command: click's part, apart from the body that performs it.

The body is a function of the same name, in a module that is imported when the command runs.
"""

import importlib
from collections.abc import Callable
from typing import Any

import click

__all__ = ["command"]


def command(module: str = "") -> Callable[[Callable[[], None]], click.Command]:
    """Declare a command: its parameters are those of the decorators below, its help the docstring.

    The body is in `module` of the command line, by default the one of the command's name.
    """

    def declare(stub: Callable[[], None]) -> click.Command:
        name = stub.__name__

        def perform(**options: Any) -> None:
            body = importlib.import_module(f"callboard.runtime.cli.{module or name}")
            getattr(body, name)(**options)

        declared = click.command()(stub)
        declared.callback = perform
        return declared

    return declare
