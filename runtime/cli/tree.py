"""`callboard tree`: the running systems of this user on this machine, and what is in them.

It asks each system over the socket that it announces (see `runtime/announcer.py`), so it
needs no cluster and disturbs nobody. One that does not answer is said to be silent.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from callboard.messages.views import ActorView, CallboardView, HostView

from ..announcer import announced_systems, look_at
from .outcome import ExitCode, Failure, print_failure

__all__ = ["Sight", "draw", "tree"]

WATCH_EVERY_S: Final = 1.0
ACTORS_DEFAULT: Final = 20
ACTORS_MAX: Final = 10_000
MIB: Final = 1024 * 1024
CHILDREN_FROM: Final = 2**32
"""From here on cells are numbered by their hosts: numbers that tell a reader nothing."""
SILENT_ADVICE: Final = "Its driver may be computing, or be stopped; look again."


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at one system: what it answered, or why there is no answer."""

    pid: int
    view: CallboardView | None
    problem: str = ""

    def to_data(self) -> dict[str, Any]:
        """The sight for machines."""
        if self.view is None:
            return {"pid": self.pid, "problem": self.problem}
        return {"pid": self.pid, **self.view.model_dump(mode="json")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("--watch", is_flag=True, help="Show it again each second, until Ctrl-C.")
@click.option(
    "--actors",
    "actors_max",
    type=click.IntRange(0, ACTORS_MAX),
    default=ACTORS_DEFAULT,
    show_default=True,
    help="How many actors of a host are shown one by one.",
)
@click.pass_context
def tree(context: click.Context, /, *, as_json: bool, watch: bool, actors_max: int) -> None:
    """Show your running systems: hosts, actors, states, restarts, mailboxes, dead letters.

    Exits with 1 when there is none, or none that answers.
    """
    if watch:
        _watch(actors_max, as_json=as_json)
        return
    sights = asyncio.run(_look(actors_max))
    if as_json:
        click.echo(json.dumps({"systems": [sight.to_data() for sight in sights]}, indent=2))
    elif sights:
        Console().print(_whole(sights))
    if not sights:
        print_failure(_nobody(), verbose=False)
    seen = any(sight.view is not None for sight in sights)
    context.exit(ExitCode.OK if seen else ExitCode.FAILED)


def _nobody() -> Failure:
    return Failure(
        ExitCode.FAILED,
        "nothing_runs",
        "no system of yours runs on this machine.",
        "Start one, for instance with `callboard run driver.py`, and look while it runs.",
    )


def _watch(actors_max: int, *, as_json: bool) -> None:
    """Until Ctrl-C, which is the way out and so no failure."""
    console = Console()
    try:
        if as_json:
            while True:
                sights = asyncio.run(_look(actors_max))
                click.echo(json.dumps({"systems": [sight.to_data() for sight in sights]}))
                time.sleep(WATCH_EVERY_S)
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            while True:
                live.update(_whole(asyncio.run(_look(actors_max))), refresh=True)
                time.sleep(WATCH_EVERY_S)
    except KeyboardInterrupt:
        return


async def _look(actors_max: int) -> list[Sight]:
    paths = announced_systems()
    seen = await asyncio.gather(*(_look_at(path, actors_max) for path in paths))
    return [sight for sight in seen if sight is not None]


async def _look_at(path: Path, actors_max: int) -> Sight | None:
    pid = int(path.stem.rpartition("-")[2])
    try:
        answer = await look_at(path, actors_max)
        if "error" in answer:
            return Sight(pid, None, str(answer["error"]))
        return Sight(pid, CallboardView.model_validate_json(json.dumps(answer)))
    except (FileNotFoundError, ConnectionRefusedError):
        return None  # It ended just now.
    except TimeoutError:
        return Sight(pid, None, f"does not answer. {SILENT_ADVICE}")
    except (OSError, ValueError) as error:
        return Sight(pid, None, f"cannot be asked: {error}")


# --- drawing ------------------------------------------------------------------------------------


def _whole(sights: Sequence[Sight]) -> RenderableType:
    if not sights:
        return Text(_nobody().message)
    return Group(*(draw(sight) for sight in sights))


def draw(sight: Sight) -> Tree:
    """One system as a tree: itself, its hosts, their actors."""
    view = sight.view
    if view is None:
        return Tree(Text(f"process {sight.pid} {sight.problem}", style="yellow"))
    actors = sum(host.actors for host in view.hosts)
    facts = [
        f"{_counted(len(view.hosts) - 1, 'host')}",
        _counted(actors, "actor"),
        _counted(view.understudies, "understudy", "understudies"),
    ]
    if view.restarts:
        facts.append(f"{_counted(view.restarts, 'host')} replaced")
    drawn = Tree(Text.assemble((view.name, "bold"), f"  process {sight.pid}  ", ", ".join(facts)))
    for host in view.hosts:
        branch = drawn.add(_host_line(host))
        for actor in host.members:
            _add_actor(branch, actor)
        hidden = host.actors - _shown(host.members)
        if hidden > 0 and host.pid:
            branch.add(Text(f"… and {_counted(hidden, 'more actor')}", style="dim"))
    return drawn


def _host_line(host: HostView) -> Text:
    if not host.pid:
        return Text(f"{host.name}  {_counted(host.actors, 'actor')} waiting", style="yellow")
    facts = [
        f"process {host.pid} on {host.node}",
        _counted(host.actors, "actor"),
        f"{host.handled:,} handled",
        f"{host.memory_bytes // MIB:,} MiB",
    ]
    if host.pending_asks:
        facts.append(_counted(host.pending_asks, "pending ask"))
    line = Text.assemble((host.name, "bold cyan"), "  ", ", ".join(facts))
    if host.dead_letters:
        letters = ", ".join(f"{count:,} {reason}" for reason, count in host.dead_letters.items())
        line.append(f"  dead letters: {letters}", style="yellow")
    return line


def _add_actor(branch: Tree, actor: ActorView) -> None:
    name = "" if not actor.name or actor.name in (actor.kind, f"${actor.cell}") else actor.name
    number = f" #{actor.cell}" if actor.cell < CHILDREN_FROM else ""
    line = Text.assemble((actor.kind, "bold"), f" {name}" if name else "", f"{number}  ")
    line.append(actor.life, style="green" if actor.life == "running" else "red")
    if actor.mailbox:
        line.append(f", {actor.mailbox:,} in its mailbox")
    if actor.children:
        line.append(f", {_counted(actor.children, 'child', 'children')}")
    if actor.restarts:
        line.append(f", {_counted(actor.restarts, 'restart')}", style="yellow")
    if actor.last_failure:
        line.append(f"  {actor.last_failure}", style="red")
    below = branch.add(line)
    for member in actor.members:
        _add_actor(below, member)


def _shown(members: Sequence[ActorView]) -> int:
    return sum(1 + _shown(member.members) for member in members)


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
