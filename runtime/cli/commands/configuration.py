"""The commands about configuration: `config validate`, `show`, `diff`, `key`, `sign`, `verify`."""

from pathlib import Path
from typing import Any, Final

import click

from ..options import json_option

__all__ = ["config"]

POLICY: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def config() -> None:
    """Check, show, compare and sign packages of configuration."""


def source_options(command: Any) -> Any:
    """Give a command the options that say how a source is read."""
    command = click.option(
        "--revision", default="", metavar="REVISION", help="Read PATH as a Git repository at this."
    )(command)
    command = click.option(
        "--profile",
        type=click.Choice(["product", "portable"]),
        default="product",
        show_default=True,
        help="Hold skills against the product, or against the open standard.",
    )(command)
    command = click.option("--policy", type=POLICY, help="Use the severities and policies in it.")(
        command
    )
    return click.option(
        "--scan",
        type=click.Choice(["own", "betterleaks", "none"]),
        default="own",
        show_default=True,
        help="The scanner for secrets.",
    )(command)


@click.command()
@click.argument("path", metavar="PATH")
@click.option("--strict", is_flag=True, help="Refuse the package when one part is rejected.")
@click.option("--facts", is_flag=True, help="List facts as well.")
@click.option("--before", metavar="PATH", help="Compare with this source: what would break?")
@source_options
@json_option
def validate(**options: Any) -> None:
    """Check all files in PATH, a folder or the address of a Git repository.

    \b
    Every finding is shown with its file and line. Nothing in the files is run.
    Exit codes: 0 no error; 1 parts are rejected, or all of it is refused; 2 PATH cannot be read.
    """  # noqa: D301 - \b stops click from wrapping the paragraph
    from ..configuration import validate as perform

    perform(**options)


@click.command()
@click.argument("path", metavar="PATH")
@source_options
@json_option
def show(**options: Any) -> None:
    """Show the components in PATH that are accepted, with the digest that names the package."""
    from ..configuration import show as perform

    perform(**options)


@click.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@source_options
@json_option
def diff(**options: Any) -> None:
    """Show which components NEW adds, changes and removes.

    Exits with 1 when there is a difference.
    """
    from ..configuration import diff as perform

    perform(**options)


FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", metavar="FILE", type=FILE)
def key(**options: Any) -> None:
    """Make a key: FILE is private, and FILE.pub is for those who verify."""
    from ..configuration import key as perform

    perform(**options)


@click.command()
@click.argument("path", metavar="PATH")
@click.option("--key", type=FILE, required=True, help="The private key.")
@click.option("--counter", type=click.IntRange(0), required=True, help="Higher than ever before.")
@click.option("--envelope", type=FILE, required=True, help="The file of signatures: one is added.")
@source_options
def sign(**options: Any) -> None:
    """Sign the package in PATH."""
    from ..configuration import sign as perform

    perform(**options)


@click.command()
@click.argument("path", metavar="PATH")
@click.option("--key", "keys", type=FILE, multiple=True, required=True, help="A public key.")
@click.option("--threshold", type=click.IntRange(1), default=1, show_default=True)
@click.option("--least-counter", type=click.IntRange(0), default=0, show_default=True)
@click.option("--envelope", type=FILE, required=True, help="The file of signatures.")
@source_options
@json_option
def verify(**options: Any) -> None:
    """Check that as many keys as the threshold says have signed the package in PATH.

    Exits with 2 when they have not.
    """
    from ..configuration import verify as perform

    perform(**options)


for declared in (validate, show, diff, key, sign, verify):
    config.add_command(declared)
