"""`callboard tree`: the running systems of this user on this machine, with hosts and actors.

It queries each system over its admin socket (see `runtime/admin/`), so it needs no cluster. A
detached system elsewhere answers through its cluster. Actors that are not shown are counted.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from callboard.messages.control.views import CallboardView, QuerySystem

from .drawing import draw
from .figures import paper
from .outcome import ExitCode, print_failure
from .sources import Place, Snapshot, Source, query_all

__all__ = ["to_data", "tree"]

WATCH_EVERY_S: Final = 1.0
TreeSnapshot = Snapshot[CallboardView]


def tree(
    *,
    as_json: bool,
    watch: bool,
    actors_max: int,
    address: str | None,
    name: str | None,
) -> None:
    """Perform the command; `commands/` declares it."""
    context = click.get_current_context()
    place = Place(address, name)
    if watch:
        # Ctrl-C is the normal way to leave.
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_watch(place, actors_max, as_json=as_json))
        return
    snapshots = asyncio.run(_query_once(place, actors_max))
    if as_json:
        click.echo(json.dumps(_data(snapshots), indent=2))
    elif snapshots:
        paper().print(_screen(snapshots, place))
    if not snapshots:
        print_failure(place.nothing_runs, verbose=False)
    seen = any(snapshot.view is not None for snapshot in snapshots)
    context.exit(ExitCode.OK if seen else ExitCode.FAILED)


async def _watch(place: Place, actors_max: int, *, as_json: bool) -> None:
    async with place.sources() as sources:
        if as_json:
            while True:
                click.echo(json.dumps(_data(await _query(sources, actors_max))))
                await asyncio.sleep(WATCH_EVERY_S)
        with Live(console=paper(), auto_refresh=False, vertical_overflow="ellipsis") as live:
            while True:
                snapshots = await _query(sources, actors_max)
                live.update(_screen(snapshots, place), refresh=True)
                await asyncio.sleep(WATCH_EVERY_S)


async def _query_once(place: Place, actors_max: int) -> list[TreeSnapshot]:
    async with place.sources() as sources:
        return await _query(sources, actors_max)


async def _query(sources: Callable[[], Sequence[Source]], actors_max: int) -> list[TreeSnapshot]:
    return await query_all(sources(), QuerySystem(actors_max=actors_max))


def to_data(snapshot: TreeSnapshot) -> dict[str, Any]:
    """One snapshot for machines."""
    if snapshot.view is None:
        name = {"name": snapshot.name} if snapshot.name else {}
        return {"pid": snapshot.pid, **name, "problem": snapshot.problem}
    return {"pid": snapshot.pid, **snapshot.view.model_dump(mode="json")}


def _data(snapshots: Sequence[TreeSnapshot]) -> dict[str, Any]:
    return {"systems": [to_data(snapshot) for snapshot in snapshots]}


# --- drawing ------------------------------------------------------------------------------------


def _screen(snapshots: Sequence[TreeSnapshot], place: Place) -> RenderableType:
    if not snapshots:
        return Text(place.nothing_runs.message)
    return Group(*(draw(snapshot) for snapshot in snapshots))
