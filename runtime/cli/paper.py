"""What commands print on: a terminal as wide as it is, or a file, whose lines may be long."""

import os
from typing import Final

from rich.console import Console

__all__ = ["paper"]

FILE_WIDTH: Final = 240
"""Columns of what is no terminal: tables fit, and a traceback's lines stay whole."""


def paper() -> Console:
    """Standard output. A pipe or a file is not cut to 80 columns, unless COLUMNS says so."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    return console
