"""The commands about tokens: `token create`, `list`, `revoke`, `rotate`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ..options import json_option

__all__ = ["token"]

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
SCOPES: Final = ("read", "submit", "steer", "approve", "publish", "alerts", "admin")
SYSTEM_DEFAULT: Final = "callboard"


system_option = click.option(
    "--system",
    default=SYSTEM_DEFAULT,
    show_default=True,
    metavar="NAME",
    help="The system whose web server takes the tokens.",
)
keys_option = click.option(
    "--keys",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file of the keys that sign them (default: a file of this user).",
)


def _place(command: CommandT) -> CommandT:
    """The options that say whose tokens are meant."""
    store_option = click.option(
        "--store",
        default="",
        metavar="URL",
        help="Their registry: a file, or postgresql://... (default: a file of this user).",
    )
    return system_option(store_option(keys_option(command)))


@click.group()
def token() -> None:
    """Create, list and revoke tokens for a system's web server, and rotate the keys that sign."""


@click.command()
@click.argument("subject")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What the token allows; may be repeated (default: read, and nothing with a rule).",
)
@click.option(
    "--channel",
    "channels",
    multiple=True,
    metavar="PATTERN",
    help="Channels that it may subscribe to, such as 'execution:*' (default: all).",
)
@click.option(
    "--publish",
    "publishes",
    multiple=True,
    metavar="PATTERN",
    help="Channels that it may publish to, with the scope publish.",
)
@click.option(
    "--subscribe",
    "subscribes",
    multiple=True,
    metavar="CHANNEL",
    help="A channel to which the hub subscribes each client that connects; may be repeated.",
)
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="PATTERN=FILTER",
    help="What it sees of the channels of a pattern; the filter is JSON. May be repeated.",
)
@click.option("--for", "duration", default="24h", show_default=True, metavar="DURATION")
@_place
@json_option
def create(**options: Any) -> None:
    """Create a token for SUBJECT, a person or a program, and print it once.

    Nothing keeps the token itself. Put it into a file that only its user can read.
    """
    from ..tokens import create as perform

    perform(**options)


@click.command(name="list")
@_place
@json_option
def list_tokens(**options: Any) -> None:
    """List tokens, the newest first, without their texts."""
    from ..tokens import list_tokens as perform

    perform(**options)


@click.command()
@click.argument("token_id", metavar="ID")
@_place
@json_option
def revoke(**options: Any) -> None:
    """Revoke the token ID for good; its connections end within a second."""
    from ..tokens import revoke as perform

    perform(**options)


@click.command()
@click.option(
    "--remove-old",
    "removes_old",
    is_flag=True,
    help="Make no key: remove all but the newest. The tokens that they signed end.",
)
@system_option
@keys_option
@json_option
def rotate(**options: Any) -> None:
    """Make a new key, which signs all tokens from now on.

    Tokens of the old keys still count, and open pages stay alive, until --remove-old. Running
    servers take the new key within a second.
    """
    from ..tokens import rotate as perform

    perform(**options)


for declared in (create, list_tokens, revoke, rotate):
    token.add_command(declared)
