"""Options that several commands share."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

__all__ = [
    "SERVER",
    "HostCount",
    "Seconds",
    "cluster_options",
    "journal_option",
    "json_option",
    "server_options",
    "take_over_option",
    "timeout_option",
]

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
TIMEOUT_DEFAULT_S: Final = 10.0

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

SERVER: Final = "callboard.server"
"""The key of the server's URL and the token's file, in the context of a command."""


def server_options(command: CommandT) -> CommandT:
    """Give a command `--url` and `--token-file`: it then asks a web server of Callboard.

    They reach no command as arguments: `sources.py`, where commands find systems, takes them.
    """

    def keep(context: click.Context, option: click.Parameter, value: Any) -> None:
        context.meta.setdefault(SERVER, {})[option.name] = value

    url = click.option(
        "--url",
        "server_url",
        metavar="URL",
        envvar="CALLBOARD_URL",
        expose_value=False,
        callback=keep,
        help="Ask the system behind this web server, from any machine (also: CALLBOARD_URL).",
    )
    token = click.option(
        "--token-file",
        "token_file",
        metavar="FILE",
        type=click.Path(dir_okay=False, exists=True),
        expose_value=False,
        callback=keep,
        help="The file with the token for --url (default: the token in CALLBOARD_TOKEN).",
    )
    return url(token(command))


def journal_option(command: CommandT) -> CommandT:
    """Give a command `--journal`, and the options of a server."""
    journal = click.option(
        "--journal",
        "url",
        metavar="URL",
        help="Use only this journal: a file, or postgresql://... (default: all of this user).",
    )
    return journal(server_options(command))


take_over_option = click.option(
    "--take-over", is_flag=True, help="Write even if nothing shows whether its system still runs."
)


class Seconds(click.ParamType[float]):
    """A timeout in seconds, over 0."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The timeout as a number."""
        from callboard.messages.core.errors import UsageError
        from callboard.messages.core.timeouts import checked_timeout

        try:
            return checked_timeout(float(value), "the timeout")
        except (ValueError, UsageError):
            self.fail(f"{value!r} is no number of seconds over 0.", param, ctx)


class HostCount(click.ParamType[str]):
    """A number of hosts from 1, or `auto`."""

    name = "hosts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The number, or `auto`, as the environment has it."""
        text = str(value)
        return text if text == "auto" else str(click.IntRange(min=1).convert(value, param, ctx))


def timeout_option(what: str) -> Callable[[CommandT], CommandT]:
    """`--timeout S`, with this help text."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=Seconds(),
        default=TIMEOUT_DEFAULT_S,
        show_default=True,
        metavar="S",
        help=what,
    )


def cluster_options(command: CommandT) -> CommandT:
    """Give a command `--address` and `--name`, the fields of its `Place`, and those of a server."""
    address = click.option(
        "--address",
        metavar="HOST:PORT",
        help="Query the detached systems of this cluster ('auto': this machine's cluster).",
    )
    name = click.option(
        "--name",
        metavar="NAME",
        help="Query only this detached system; without --address, on this machine's cluster.",
    )
    return address(name(server_options(command)))
