"""`callboard doctor` checks whether this machine is ready, and says what to do if not.

Invariants: it starts no Ray and changes nothing (it connects to a cluster that answers as a driver
that does nothing). It always ends: an address that does not answer costs its deadline and no more.
Every finding that is not `ok` says what to do.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import click
import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from callboard.messages.core.errors import CallboardError

from ..doctor.check import Check, Status, guarded, worst
from ..doctor.cluster import ClusterSeen, address_check, token_check
from ..doctor.leftovers import (
    check_leftovers,
    check_strays,
    leftovers_unknown,
    processes_of,
    seen_processes,
)
from ..doctor.machine import (
    available_memory_bytes,
    check_disk,
    check_memory,
    check_open_files,
    check_python,
    check_ray,
    check_shared_memory,
    check_uvloop,
    imported_version,
    is_writable,
    open_files_limit,
    ray_temporary_folder,
    shared_memory_bytes,
    usable_folder,
)
from ..doctor.network import ADDRESS_DEADLINE_S, RAY_PORTS, check_port
from ..doctor.token import check_token

__all__ = ["doctor", "run_checks"]

CONNECT_DEADLINE_S: Final = 15.0
"""The time limit for Ray's client to connect to a cluster that answers."""
SHOWN: Final[Mapping[Status, str]] = {
    Status.OK: "[green]ok[/]",
    Status.WARN: "[yellow]warn[/]",
    Status.FAIL: "[bold red]fail[/]",
}


def run_checks(
    *,
    address: str | None = None,
    environment: Mapping[str, str] | None = None,
    home: Path | None = None,
    ports: Mapping[int, str] = RAY_PORTS,
    deadline_s: float = ADDRESS_DEADLINE_S,
) -> list[Check]:
    """Make every check and return all findings. A check that breaks is a finding itself.

    With `address`, try the cluster there too, for at most `deadline_s`. If it answers, also look
    for what detached systems left there, for at most `CONNECT_DEADLINE_S` more.
    """
    settings = os.environ if environment is None else environment
    folder = ray_temporary_folder(settings)
    house = Path.home() if home is None else home
    seen: ClusterSeen | None = None
    joins: Check | None = None
    own: set[int] = set()
    if address is not None:
        joins, seen = _joins(address, deadline_s)
        own = set() if seen is None else processes_of(seen_processes(), seen.marks)
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("python", lambda: check_python(sys.version_info[:3])),
        ("ray", lambda: check_ray(imported_version)),
        ("uvloop", lambda: check_uvloop(imported_version, sys.platform)),
        ("token", lambda: _token(settings, house, seen, joining=address is not None)),
        *((f"port {port}", partial(check_port, port, use, own=own)) for port, use in ports.items()),
        ("disk", lambda: _disk(folder)),
        ("shared memory", lambda: check_shared_memory(shared_memory_bytes())),
        ("memory", lambda: check_memory(available_memory_bytes())),
        ("open files", lambda: check_open_files(open_files_limit())),
        ("stray processes", lambda: check_strays(seen_processes(), own)),
    ]
    found = [guarded(name, check) for name, check in checks]
    if address is not None and joins is not None:
        target = address
        found.append(joins)
        if joins.status is Status.OK:
            found.append(guarded("detached systems", lambda: _leftovers(target)))
    return found


def _joins(address: str, deadline_s: float) -> tuple[Check, ClusterSeen | None]:
    from ..api.composition import query_cluster

    found: list[ClusterSeen | None] = [None]

    def check() -> Check:
        checked, found[0] = address_check(lambda: query_cluster(address, deadline_s))
        return checked

    return guarded("address", check), found[0]


def _token(
    environment: Mapping[str, str], home: Path, seen: ClusterSeen | None, *, joining: bool
) -> Check:
    check = check_token(environment, home, joining=joining)
    if seen is None:
        return check
    return token_check(seen.token, check, environment.get("RAY_AUTH_MODE", "").strip().lower())


def _leftovers(address: str) -> Check:
    async def names() -> list[str]:
        from ..api.composition import detached_systems

        detached = detached_systems()
        async with detached.visit(address, start_timeout_s=CONNECT_DEADLINE_S):
            return await detached.list_leftovers()

    try:
        return check_leftovers(address, asyncio.run(names()))
    except CallboardError as error:
        return leftovers_unknown(error.message)


def _disk(folder: Path) -> Check:
    usage = psutil.disk_usage(str(usable_folder(folder)))
    return check_disk(folder, usage.total, usage.free, writable=is_writable(folder))


def _print_table(checks: Sequence[Check], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("")
    table.add_column("found", overflow="fold")
    for check in checks:
        table.add_row(check.name, SHOWN[check.status], escape(check.found))
    console.print(table)
    todo = [check for check in checks if check.status is not Status.OK]
    if todo:
        console.print("\nWhat to do")
    for check in todo:
        shown = SHOWN[check.status]
        console.print(f"  {shown} {check.name}: {escape(check.advice)}", highlight=False)
    verdicts = {
        Status.OK: "Ready.",
        Status.WARN: "Ready, with the warnings above.",
        Status.FAIL: "Not ready: repair what failed.",
    }
    console.print(f"\n{verdicts[worst(checks)]}")


def doctor(*, address: str | None, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    context = click.get_current_context()
    checks = run_checks(address=address)
    ready = worst(checks) is not Status.FAIL
    if as_json:
        data = {"ready": ready, "checks": [check.to_data() for check in checks]}
        click.echo(json.dumps(data, indent=2))
    else:
        _print_table(checks, Console())
    context.exit(0 if ready else 1)
