"""A system drawn as a tree: hosts, their actors, and placed children below their supervisors."""

from collections.abc import Sequence
from typing import Final

from rich.text import Text
from rich.tree import Tree

from callboard.messages.control.views import ActorView, CallboardView, HostView

from .figures import age, counted, printable, size
from .sources import Snapshot

__all__ = ["draw"]

NOT_UNDERSTOOD: Final = frozenset({"no_handler", "undecodable"})
"""Dead letters whose newest cause is shown: their sender and receiver do not agree."""

Place = tuple[int, int]
"""A slot, and a cell in it."""


def draw(snapshot: Snapshot[CallboardView]) -> Tree:
    """One system as a tree: the system, its hosts, their actors."""
    view = snapshot.view
    if view is None:
        return Tree(Text(f"{snapshot.source} {printable(snapshot.problem)}", style="yellow"))
    facts = [
        counted(len(view.hosts) - 1, "host"),
        counted(sum(host.actors for host in view.hosts), "actor"),
        counted(view.standbys, "standby"),
    ]
    if view.drivers:
        facts.append(counted(len(view.drivers), "attached driver"))
    if view.restarts:
        facts.append(f"{counted(view.restarts, 'host')} replaced")
    name = (printable(view.name), "bold")
    kind = f"process {snapshot.pid}" if snapshot.pid else "detached"
    drawn = Tree(Text.assemble(name, f"  {kind}  ", ", ".join(facts)))
    placed = _Placed(view)
    for host in view.hosts:
        branch = drawn.add(_host_line(host))
        for actor in host.members:
            if not actor.is_remote_child_holder:
                _add_actor(branch, actor, placed)
            elif not placed.is_shown(host, actor):
                for remote_child in actor.members:
                    # Its supervisor is not in the view: draw the child on its host, by its path.
                    _add_actor(
                        branch, remote_child.model_copy(update={"name": remote_child.path}), placed
                    )
        _add_hidden(branch, host.top_level - len(host.members), "actor", host.members)
    for standby in view.standby_processes:
        line = Text.assemble((printable(standby.name), "dim cyan"), "  standby")
        if standby.pid:
            line.append(f", process {standby.pid}")
        line.append(", waits for a host to fail" if standby.is_ready else ", loads its code")
        drawn.add(line)
    return drawn


class _Placed:
    """The placed children of all trees, on all hosts."""

    def __init__(self, view: CallboardView) -> None:
        self._hosts: Final = {host.slot: host for host in view.hosts}
        self._remote_children: Final = {
            (host.slot, remote_child.cell): remote_child
            for host in view.hosts
            for holder in host.members
            if holder.is_remote_child_holder
            for remote_child in holder.members
        }
        self._shown: Final[set[Place]] = set()
        for host in view.hosts:
            self._note(host.members)

    def _note(self, members: Sequence[ActorView]) -> None:
        for actor in members:
            if actor.runs_on:
                self._shown.add((actor.runs_on, actor.runs_as))
            self._note(actor.members)

    def is_shown(self, host: HostView, holder: ActorView) -> bool:
        """Whether all children of a holder are drawn below the supervisors that declare them."""
        return all((host.slot, remote_child.cell) in self._shown for remote_child in holder.members)

    def whole(self, actor: ActorView) -> ActorView:
        """A placed child as one actor: lifecycle from its supervisor, load from its own host.

        Without a view of its host (it is down, or shows fewer actors) only the supervisor's part is
        drawn.
        """
        remote_child = self._remote_children.get((actor.runs_on, actor.runs_as))
        if remote_child is None:
            return actor
        ours = ("name", "kind", "lifecycle", "restart", "significant", "restarts", "last_failure")
        known = {name: getattr(actor, name) for name in (*ours, "failed_ago_s", "runs_on")}
        return remote_child.model_copy(update=known)

    def host_of(self, actor: ActorView) -> str:
        """The host of a placed child, and the host's state unless it is up."""
        host = self._hosts.get(actor.runs_on)
        if host is None:
            return f"host {actor.runs_on}"
        return host.name if host.state == "up" else f"{host.name} ({host.state})"


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
        for reason in sorted(NOT_UNDERSTOOD & host.dead_letter_causes.keys()):
            cause = printable(host.dead_letter_causes[reason])
            line.append(f"\n{printable(reason)}: {cause}", style="yellow")
    return line


def _add_actor(branch: Tree, actor: ActorView, placed: _Placed) -> None:
    is_placed = bool(actor.runs_on)
    if is_placed:
        actor = placed.whole(actor)
    name = "" if actor.name == actor.kind else f" {printable(actor.name)}"
    line = Text.assemble((printable(actor.kind), "bold"), f"{name}  ")
    line.append(actor.lifecycle, style="green" if actor.lifecycle == "running" else "red")
    if is_placed:
        line.append(f" on {printable(placed.host_of(actor))}", style="cyan")
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
        _add_actor(below, member, placed)
    _add_hidden(below, actor.children - len(actor.members), "child", actor.members)


def _add_hidden(branch: Tree, hidden: int, noun: str, shown: Sequence[ActorView]) -> None:
    if hidden <= 0:
        return
    more = f"more {noun}" if shown else noun
    many = f"{more}ren" if noun == "child" else f"{more}s"
    text = f"… and {counted(hidden, more, many)}" if shown else counted(hidden, more, many)
    branch.add(Text(f"{text} not shown (--actors)", style="dim"))
