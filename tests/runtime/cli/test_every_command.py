"""Every command that reads or steers a running system does so from another machine, too."""

from collections.abc import Iterator
from typing import Final

import click
import pytest

from callboard.runtime.cli.commands.group import group

LOCAL: Final = {
    "alerts rules": "it reads a file of rules",
    "alerts test": "it evaluates a file of rules over points that it makes itself",
    "config diff": "it compares files",
    "config key": "it makes a key that never leaves its machine",
    "config show": "it reads files",
    "config sign": "it signs with a key that never leaves its machine",
    "config validate": "it reads files",
    "config verify": "it reads files and keys",
    "doctor": "it checks this machine",
    "down": "it ends processes of this machine",
    "pipelines check": "it reads a file",
    "pipelines run": "it runs the pipeline in its own process",
    "prometheus config": "it prints what a Prometheus on this machine scrapes",
    "prometheus dashboard": "it prints a file of the release",
    "prometheus targets": "it lists the endpoints of this machine",
    "run": "it starts a driver on this machine",
    "sim": "it simulates in its own process",
    "store blobs": "it looks after the files of a journal, which no system may write meanwhile",
    "store check": "it looks after a store, which no system may write meanwhile",
    "store migrate": "it changes a store, which no system may write meanwhile",
    "token create": "it signs with keys that never leave their machine; HTTP has POST /v1/tokens",
    "token list": "the registry is there without a server; HTTP has GET /v1/tokens",
    "token revoke": "the registry is there without a server; HTTP has DELETE /v1/tokens/ID",
    "token rotate": "it changes keys that never leave their machine",
    "up": "it starts a system on this machine",
}
"""The commands that by their nature have no `--url`, and why."""


def commands(of: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(of, click.Group):
        yield " ".join(path), of
        return
    for name, inner in of.commands.items():
        yield from commands(inner, (*path, name))


ALL: Final = dict(commands(group))


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_command_takes_a_server_or_says_why_not(name: str) -> None:
    options = {option for each in ALL[name].params for option in each.opts}
    has_both = {"--url", "--token-file"} <= options
    assert has_both != (name in LOCAL), LOCAL.get(name, "it reads or steers a running system")


def test_the_list_of_local_commands_has_no_other() -> None:
    assert set(LOCAL) <= set(ALL)
