"""`callboard tree`: the running systems of this user on this machine, and what is in them.

It asks each system over the socket that it announces (see `runtime/announcer.py`), so it
needs no cluster and disturbs nobody. What is not shown is counted: nothing is cut silently.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any, Final

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from callboard.messages.views import ActorView, CallboardView, HostView, LookAtSystem

from .figures import age, counted, printable, size
from .outcome import ExitCode, print_failure
from .sources import NOTHING_RUNS, Sight, announced_sources, look

__all__ = ["draw", "to_data", "tree"]

WATCH_EVERY_S: Final = 1.0
ACTORS_DEFAULT: Final = 20
ACTORS_MAX: Final = 10_000
Seen = Sight[CallboardView]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("--watch", is_flag=True, help="Show it again each second, until Ctrl-C.")
@click.option(
    "--actors",
    "actors_max",
    type=click.IntRange(0, ACTORS_MAX),
    default=ACTORS_DEFAULT,
    show_default=True,
    help="How many actors of a host are shown one by one; those that failed come first.",
)
@click.pass_context
def tree(context: click.Context, /, *, as_json: bool, watch: bool, actors_max: int) -> None:
    """Show your running systems: hosts, actors, states, restarts, mailboxes, last failures.

    Exits with 1 when there is none, or none that answers.
    """
    if watch:
        _watch(actors_max, as_json=as_json)
        return
    sights = asyncio.run(_look(actors_max))
    if as_json:
        click.echo(json.dumps(_data(sights), indent=2))
    elif sights:
        Console().print(_whole(sights))
    if not sights:
        print_failure(NOTHING_RUNS, verbose=False)
    seen = any(sight.view is not None for sight in sights)
    context.exit(ExitCode.OK if seen else ExitCode.FAILED)


def _watch(actors_max: int, *, as_json: bool) -> None:
    """Until Ctrl-C, which is the way out and so no failure."""
    console = Console()
    try:
        if as_json:
            while True:
                click.echo(json.dumps(_data(asyncio.run(_look(actors_max)))))
                time.sleep(WATCH_EVERY_S)
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            while True:
                live.update(_whole(asyncio.run(_look(actors_max))), refresh=True)
                time.sleep(WATCH_EVERY_S)
    except KeyboardInterrupt:
        return


async def _look(actors_max: int) -> list[Seen]:
    return await look(announced_sources(), LookAtSystem(actors_max=actors_max))


def to_data(sight: Seen) -> dict[str, Any]:
    """One look for machines."""
    if sight.view is None:
        return {"pid": sight.pid, "problem": sight.problem}
    return {"pid": sight.pid, **sight.view.model_dump(mode="json")}


def _data(sights: Sequence[Seen]) -> dict[str, Any]:
    return {"systems": [to_data(sight) for sight in sights]}


# --- drawing ------------------------------------------------------------------------------------


def _whole(sights: Sequence[Seen]) -> RenderableType:
    if not sights:
        return Text(NOTHING_RUNS.message)
    return Group(*(draw(sight) for sight in sights))


def draw(sight: Seen) -> Tree:
    """One system as a tree: itself, its hosts, their actors."""
    view = sight.view
    if view is None:
        return Tree(Text(f"process {sight.pid} {printable(sight.problem)}", style="yellow"))
    facts = [
        counted(len(view.hosts) - 1, "host"),
        counted(sum(host.actors for host in view.hosts), "actor"),
        counted(view.understudies, "understudy", "understudies"),
    ]
    if view.restarts:
        facts.append(f"{counted(view.restarts, 'host')} replaced")
    name = (printable(view.name), "bold")
    drawn = Tree(Text.assemble(name, f"  process {sight.pid}  ", ", ".join(facts)))
    for host in view.hosts:
        branch = drawn.add(_host_line(host))
        for actor in host.members:
            _add_actor(branch, actor)
        _add_hidden(branch, host.top_level - len(host.members), "actor", host.members)
    return drawn


def _host_line(host: HostView) -> Text:
    name = printable(host.name)
    if not host.pid and host.state != "up":
        line = Text.assemble((name, "bold"), f"  {host.state}", style="yellow")
        if host.problem:
            line.append(f" ({printable(host.problem)})")
        waiting = "waiting" if host.state == "down" else "on it"
        return line.append(f"  {counted(host.actors, 'actor')} {waiting}")
    facts = [
        f"process {host.pid} on {printable(host.node)}",
        f"up {age(host.uptime_s)}",
        counted(host.actors, "actor"),
        f"{host.handled:,} handled",
        size(host.memory_bytes),
    ]
    if host.epoch > 1 and host.slot:
        facts.insert(1, f"take-over {host.epoch}")
    if host.pending_asks:
        facts.append(counted(host.pending_asks, "pending ask"))
    line = Text.assemble((name, "bold cyan"), "  ", ", ".join(facts))
    if host.is_stopping:
        line.append("  stopping", style="red")
    if host.restarts:
        line.append(f"  {counted(host.restarts, 'restart')}", style="yellow")
    if host.dead_letters:
        letters = ", ".join(
            f"{count:,} {printable(reason)}" for reason, count in host.dead_letters.items()
        )
        line.append(f"  dead letters: {letters}", style="yellow")
    return line


def _add_actor(branch: Tree, actor: ActorView) -> None:
    name = "" if actor.name == actor.kind else f" {printable(actor.name)}"
    line = Text.assemble((printable(actor.kind), "bold"), f"{name}  ")
    line.append(actor.life, style="green" if actor.life == "running" else "red")
    if actor.running:
        line.append(f", {counted(actor.running, 'handler')} at work")
    if actor.mailbox:
        line.append(f", {actor.mailbox:,} in its mailbox")
    if actor.stash:
        line.append(f", {actor.stash:,} stashed")
    if actor.children:
        line.append(f", {counted(actor.children, 'child', 'children')} {actor.strategy}".rstrip())
    if actor.significant:
        line.append(", significant", style="bold")
    if actor.restarts:
        line.append(f", {counted(actor.restarts, 'restart')}", style="yellow")
    if actor.last_failure:
        when = "" if actor.failed_ago_s is None else f" {age(actor.failed_ago_s)} ago:"
        style = "bold red" if actor.significant else "red"
        line.append(f" {when} {printable(actor.last_failure)}", style=style)
    below = branch.add(line)
    for member in actor.members:
        _add_actor(below, member)
    _add_hidden(below, actor.children - len(actor.members), "child", actor.members)


def _add_hidden(branch: Tree, hidden: int, noun: str, shown: Sequence[ActorView]) -> None:
    if hidden <= 0:
        return
    more = f"more {noun}" if shown else noun
    many = f"{more}ren" if noun == "child" else f"{more}s"
    text = f"… and {counted(hidden, more, many)}" if shown else counted(hidden, more, many)
    branch.add(Text(f"{text} not shown (--actors)", style="dim"))
