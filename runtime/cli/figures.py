"""Figures and texts, as the commands show them."""

import os
import re
from typing import Final

import click
from rich.console import Console

from callboard.messages.core.names import shell_command

__all__ = [
    "FILE_WIDTH",
    "age",
    "counted",
    "echo",
    "hint",
    "paper",
    "printable",
    "rate",
    "short",
    "size",
]

FILE_WIDTH: Final = 240
"""Columns of a file, wide enough for tables and the lines of a traceback."""
MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
KIB: Final = 1024.0
SHORT: Final = 12
HEX: Final = frozenset("0123456789abcdef-")
ONE_LINE: Final = str.maketrans("\t\n", "··")
FOREIGN: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def counted(count: int, one: str, many: str = "") -> str:
    """A count and its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def age(seconds: float) -> str:
    """A duration: below a minute in the best unit, above it in the two largest units."""
    if seconds < MINUTE_S:
        return _below_a_minute(max(0.0, seconds))
    whole = int(seconds)
    if whole < HOUR_S:
        return f"{whole // 60} min {whole % 60} s"
    if whole < DAY_S:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def _below_a_minute(seconds: float) -> str:
    if seconds < 0.000_999_5:
        return f"{seconds * 1e6:.0f} µs" if seconds else "0 s"
    if seconds < 0.999_5:
        thousands = seconds * 1e3
        return f"{thousands:.1f} ms" if thousands < 9.95 else f"{thousands:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{int(seconds)} s"


def short(execution_id: str) -> str:
    """The shown part of an id, on one line. The commands accept it in place of the whole id."""
    return printable(execution_id[:SHORT].translate(ONE_LINE))


def hint(name: str, execution_id: str, *arguments: str) -> str:
    """A command on an execution, to paste into a shell. Only a generated id is shortened."""
    is_generated = set(execution_id) <= HEX
    return shell_command(
        f"callboard {name}", execution_id[:SHORT] if is_generated else execution_id, *arguments
    )


def echo(text: str, *, err: bool = False) -> None:
    """Print a text in which ids and messages may come from outside."""
    click.echo(printable(text), err=err)


def rate(per_second: float | None) -> str:
    """A rate; a dash before the second snapshot."""
    if per_second is None:
        return "–"
    if per_second >= 100.0:
        return f"{per_second:,.0f}"
    return f"{per_second:.1f}" if per_second else "0"


def size(size_bytes: float | None) -> str:
    """A number of bytes in the best unit."""
    if size_bytes is None:
        return "–"
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < KIB:
            return f"{size_bytes:,.0f} {unit}" if unit == "B" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= KIB
    return f"{size_bytes:,.1f} GiB"


def printable(text: str) -> str:
    """A foreign text without what moves a terminal's cursor, changes its colours or its direction.

    Line breaks and tabs stay. What has no encoding goes as well.
    """
    return FOREIGN.sub("·", text)


def paper() -> Console:
    """A console on standard output. A pipe or file is cut to 80 columns only if COLUMNS says so."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    return console
