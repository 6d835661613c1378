"""`callboard ui`: a link to the page of a running system; a system without a hub starts one."""

import asyncio
import json

import click

from callboard.messages.control.views import QuerySystem
from callboard.messages.core.errors import SpecError, UsageError

from ..admin.errors import NotServed
from ..admin.page_link import OpenPage, PageOpened
from ..api.start import attach
from .figures import echo
from .outcome import ExitCode, Failure, print_failure
from .sources import NOTHING_RUNS, Source, local_systems, query_all

__all__ = ["ui"]


def ui(*, name: str | None, address: str | None, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    context = click.get_current_context()
    opened = asyncio.run(_open(name, address))
    if opened is None:
        print_failure(NOTHING_RUNS if name is None else _not_here(name), verbose=False)
        context.exit(ExitCode.FAILED)
    if as_json:
        click.echo(json.dumps({"links": opened.links, "urls": opened.urls}))
    else:
        for link in opened.links:
            echo(link)
    context.exit(ExitCode.OK)


def _not_here(name: str) -> Failure:
    return Failure(
        ExitCode.FAILED,
        "nothing_runs",
        f"you run no system {name!r} on this machine.",
        f"Start one with `callboard up {name}`, or name its cluster with --address.",
    )


async def _open(name: str | None, address: str | None) -> PageOpened | None:
    found = None if address is not None else await _local(name)
    if found is None and name is None:
        return None
    if found is not None:
        source, name = found
        try:
            return await source.ask(OpenPage())
        except NotServed:
            pass  # A detached system without a hub.
    assert name is not None
    try:
        async with attach(name, address=address) as system:
            await system.ui.start()
            return await system.ui.open_page()
    except SpecError as error:
        if found is None and address is None and error.details.get("field") == "address":
            return None  # No address is known either.
        raise


async def _local(name: str | None) -> tuple[Source, str] | None:
    """The one system of this machine, or that of a name."""
    sources = local_systems()
    by_pid = {source.pid: source for source in sources}
    views = [each for each in await query_all(sources, QuerySystem(actors_max=0)) if each.view]
    found = [
        (by_pid[each.pid], each.view.name)
        for each in views
        if each.view is not None and name in (None, each.view.name)
    ]
    if len(found) > 1:
        names = ", ".join(sorted(system for _, system in found))
        raise UsageError(f"several systems run here: {names}.", advice="Name one.")
    return found[0] if found else None
