"""`callboard up`: starts a whole system on this machine, and ends when it is up.

A process of its own, the daemon, holds the system (see `up_daemon.py`). This command waits for it,
and says what to do next. It starts nothing when the system runs already.
"""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any, Final

import click

from callboard.messages.core.errors import ClusterError, UsageError
from callboard.messages.core.names import shell_command

from ..admin.principals import local_principal
from ..api.local_systems import LocalFolder, LocalSystem
from ..api.tokens import open_tokens
from ..stores.choose import path_of
from ..stores.private import open_private
from .figures import echo
from .local_ends import end_local, until
from .outcome import ExitCode

__all__ = ["up"]

LINES_SHOWN: Final = 12
END_S: Final = 5.0


def up(
    *,
    name: str,
    hosts: int | None,
    port: int,
    modules: tuple[str, ...],
    pipelines: tuple[str, ...],
    journal: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Perform the command; `commands/` declares it."""
    folder = LocalFolder(name)
    options: dict[str, Any] = {"port": port, "modules": [os.path.abspath(one) for one in modules]}  # noqa: PTH100 - links stay
    # The daemon runs in a folder of its own, so a path must be whole.
    options["pipelines"] = [each if path_of(each) is None else _whole(each) for each in pipelines]
    if hosts is not None:
        options["hosts"] = hosts
    if journal is not None:
        options["journal"] = journal
    was_up = folder.is_held()
    if not was_up:
        folder.make()
        folder.forget()
        process = _start(folder, options)
        try:
            _wait(folder, timeout_s, process)
        except KeyboardInterrupt:
            end_local(folder, END_S)
            raise
    else:
        _wait(folder, timeout_s, None)
    state = folder.read()
    assert state is not None, "it is up"
    links = asyncio.run(_links(state))
    _say(state, links, was_up=was_up, as_json=as_json)
    click.get_current_context().exit(ExitCode.OK)


def _whole(url: str) -> str:
    path = path_of(url)
    if path is None or not path.is_file():
        raise UsageError(f"there is no store {url}.", advice="Name the store of a pipeline.")
    return str(path.resolve())


def _say(state: LocalSystem, links: list[str], *, was_up: bool, as_json: bool) -> None:
    if as_json:
        facts = {
            "name": state.name,
            "started": not was_up,
            "daemon": state.daemon.process_id,
            "address": state.address,
            "urls": state.urls,
            "links": links,
        }
        click.echo(json.dumps(facts))
        return
    echo(f"{state.name} {'runs already' if was_up else 'is up'}. Its page: {links[0]}")
    echo("  (the link counts once, for a minute; `callboard up` prints another one)")
    echo(f"Attach a driver: callboard.attach({state.name!r})")
    echo(f"Stop it: {shell_command('callboard down', state.name)}")


async def _links(state: LocalSystem) -> list[str]:
    who = local_principal("cli")
    async with open_tokens(state.name) as tokens:
        return [f"{url}#code={await tokens.create_code(who)}" for url in state.urls]


def _start(folder: LocalFolder, options: dict[str, Any]) -> "subprocess.Popen[bytes]":
    with os.fdopen(open_private(folder.log, os.O_WRONLY | os.O_TRUNC), "wb") as log:
        # A session of its own: Ctrl-C and the end of this terminal do not reach it.
        return subprocess.Popen(  # noqa: S603 - a program of our own
            [
                sys.executable,
                "-m",
                "callboard.runtime.cli.up_daemon",
                folder.name,
                json.dumps(options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait(folder: LocalFolder, timeout_s: float, process: "subprocess.Popen[bytes] | None") -> None:
    """Wait until the system is up. Raises `ClusterError` when it does not come up."""

    def is_over() -> bool:
        state = folder.read()
        if state is not None and state.is_up:
            return True
        return not folder.is_held() if process is None else process.poll() is not None

    is_in_time = until(is_over, timeout_s)
    state = folder.read()
    if state is not None and state.is_up:
        return
    if not is_in_time and process is not None:
        end_local(folder, END_S)
    why = "has ended" if is_in_time else f"is not up after {timeout_s:g} s, and was ended"
    if not is_in_time and process is None:
        why = f"is starting, and not up after {timeout_s:g} s"
    raise ClusterError(
        f"{folder.name} {why}. The last lines of {folder.log}:\n{_last_lines(folder)}",
        advice="Run `callboard doctor`.",
    )


def _last_lines(folder: LocalFolder) -> str:
    try:
        lines = folder.log.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return "\n".join(lines[-LINES_SHOWN:])
