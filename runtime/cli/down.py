"""`callboard down`: stops what `callboard up` started, or a detached system of a cluster.

Invariant: a system that is reported as stopped has left no process. If the root does not answer,
the command kills the system with all its hosts, and says so.
"""

import asyncio
import json

import click

from callboard.messages.core.errors import ClusterUnreachable
from callboard.messages.core.names import shell_command

from ..api.local_systems import LocalFolder, local_folders
from .figures import echo
from .local_ends import end_local
from .outcome import ExitCode

__all__ = ["down"]

ADDRESS_DEFAULT = "auto"


def down(
    *,
    name: str | None,
    address: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Perform the command; `commands/` declares it."""
    context = click.get_current_context()
    if name is None:
        names, leftovers = asyncio.run(_list(address))
        if address is None:
            local = [each.name for each in local_folders() if each.is_held()]
            names = sorted({*names, *local})
        if as_json:
            click.echo(json.dumps({"systems": names, "leftovers": leftovers}))
        else:
            commands = [shell_command("callboard down", name) for name in leftovers]
            dead = [
                f"{name}  (its root is dead; `{command}` removes what it left)"
                for name, command in zip(leftovers, commands, strict=True)
            ]
            echo("\n".join([*names, *dead]) or "no detached system runs on this cluster.")
        context.exit(ExitCode.OK)
    end = end_local(LocalFolder(name), timeout_s) if address is None else None
    killed = () if end is None else end.killed
    in_order = asyncio.run(_stop(name, address, timeout_s)) if end is None else end.in_order
    if as_json:
        click.echo(json.dumps({"name": name, "in_order": in_order, "killed": killed}))
    elif end is not None and not in_order:
        echo(f"{name} had lost processes of its own; the {len(killed)} that were left are ended.")
    elif in_order:
        echo(f"{name} has stopped.")
    else:
        echo(f"{name} did not answer; it was killed with all its hosts.")
    context.exit(ExitCode.OK)


async def _list(address: str | None) -> tuple[list[str], list[str]]:
    """The names of the running systems, and of systems whose root is dead."""
    from ..api.composition import detached_systems

    detached = detached_systems()
    try:
        async with detached.visit(address or ADDRESS_DEFAULT):
            return await detached.list_systems(), await detached.list_leftovers()
    except ClusterUnreachable:
        if address is None and local_folders():
            return [], []
        raise


async def _stop(name: str, address: str | None, timeout_s: float) -> bool:
    from ..api.composition import detached_systems

    detached = detached_systems()
    async with detached.visit(address or ADDRESS_DEFAULT):
        return (await detached.stop_system(name, timeout_s)).in_order
