"""`callboard tree`: the running systems of this user on this machine, and what is in them.

It asks each system over its admin socket (see `runtime/admin/`), so it needs no cluster and
disturbs nobody; a detached system elsewhere is asked through its cluster. What is not shown is
counted: nothing is cut silently.
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

from callboard.messages.control.views import CallboardView, LookAtSystem

from .drawing import draw
from .figures import paper
from .options import json_option
from .outcome import ExitCode, print_failure
from .sources import Place, Sight, Source, look, look_elsewhere

__all__ = ["to_data", "tree"]

WATCH_EVERY_S: Final = 1.0
ACTORS_DEFAULT: Final = 20
ACTORS_MAX: Final = 10_000
Seen = Sight[CallboardView]


@click.command()
@json_option
@click.option("--watch", is_flag=True, help="Show it again each second, until Ctrl-C.")
@click.option(
    "--actors",
    "actors_max",
    type=click.IntRange(0, ACTORS_MAX),
    default=ACTORS_DEFAULT,
    show_default=True,
    help="How many actors of a host are shown one by one; those that failed come first.",
)
@look_elsewhere
@click.pass_context
def tree(
    context: click.Context,
    /,
    *,
    as_json: bool,
    watch: bool,
    actors_max: int,
    address: str | None,
    name: str | None,
) -> None:
    """Show your running systems: hosts, actors, states, restarts, mailboxes, last failures.

    Exits with 1 when there is none, or none that answers.
    """
    place = Place(address, name)
    if watch:
        # Until Ctrl-C, which is the way out and so no failure.
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_watch(place, actors_max, as_json=as_json))
        return
    sights = asyncio.run(_look_once(place, actors_max))
    if as_json:
        click.echo(json.dumps(_data(sights), indent=2))
    elif sights:
        paper().print(_whole(sights, place))
    if not sights:
        print_failure(place.nothing_runs, verbose=False)
    seen = any(sight.view is not None for sight in sights)
    context.exit(ExitCode.OK if seen else ExitCode.FAILED)


async def _watch(place: Place, actors_max: int, *, as_json: bool) -> None:
    async with place.sources() as sources:
        if as_json:
            while True:
                click.echo(json.dumps(_data(await _look(sources, actors_max))))
                await asyncio.sleep(WATCH_EVERY_S)
        with Live(console=paper(), auto_refresh=False, vertical_overflow="ellipsis") as live:
            while True:
                sights = await _look(sources, actors_max)
                live.update(_whole(sights, place), refresh=True)
                await asyncio.sleep(WATCH_EVERY_S)


async def _look_once(place: Place, actors_max: int) -> list[Seen]:
    async with place.sources() as sources:
        return await _look(sources, actors_max)


async def _look(sources: Callable[[], Sequence[Source]], actors_max: int) -> list[Seen]:
    return await look(sources(), LookAtSystem(actors_max=actors_max))


def to_data(sight: Seen) -> dict[str, Any]:
    """One look for machines."""
    if sight.view is None:
        name = {"name": sight.name} if sight.name else {}
        return {"pid": sight.pid, **name, "problem": sight.problem}
    return {"pid": sight.pid, **sight.view.model_dump(mode="json")}


def _data(sights: Sequence[Seen]) -> dict[str, Any]:
    return {"systems": [to_data(sight) for sight in sights]}


# --- drawing ------------------------------------------------------------------------------------


def _whole(sights: Sequence[Seen], place: Place) -> RenderableType:
    if not sights:
        return Text(place.nothing_runs.message)
    return Group(*(draw(sight) for sight in sights))
