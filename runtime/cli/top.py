"""`callboard top`: the busiest hosts, links and actors of the running systems, each second.

A rate needs two snapshots, so `--once` takes a second. A system counts the messages of each actor
only while a command queries it; the first query starts the count.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from callboard.messages.control.views import CallboardView, QuerySystem

from .figures import counted, paper, printable, rate, size
from .outcome import ExitCode, print_failure
from .rates import ActorRow, HostRow, LinkRow, SystemRows, Trend
from .sources import Place, Snapshot, Source, query_all

__all__ = ["SORTS", "Watcher", "draw", "sorted_rows", "top"]

QUERY_EVERY_S: Final = 1.0
MS: Final = 1000.0
SORTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "messages": ("messages_per_s", "frames_out_per_s", "messages_per_s"),
    "mailbox": ("mailbox", "waiting", "mailbox"),
    "restarts": ("restarts_per_min", "frames_resent", "messages_per_s"),
    "lag": ("lag_max_s", "waiting", "messages_per_s"),
    "cpu": ("cpu_percent", "frames_out_per_s", "messages_per_s"),
    "memory": ("memory_bytes", "bytes_out_per_s", "messages_per_s"),
    "frames": ("frames_per_s", "frames_out_per_s", "messages_per_s"),
    "bytes": ("bytes_per_s", "bytes_out_per_s", "messages_per_s"),
    "asks": ("pending_asks", "waiting", "running"),
    "name": ("", "", ""),
}
"""The columns that sort hosts, links and actors, largest first. `name` keeps the hosts' order."""


class Watcher:
    """Queries systems repeatedly, and keeps a trend of each."""

    def __init__(self, sources: Callable[[], Sequence[Source]], busiest_max: int) -> None:
        self._sources = sources
        self._request = QuerySystem(actors_max=0, busiest_max=busiest_max)
        self._trends: dict[tuple[int, str], Trend] = {}

    async def query(self) -> list[Snapshot[SystemRows]]:
        """One snapshot of all systems. Systems that are gone are forgotten."""
        snapshots = await query_all(self._sources(), self._request)
        trends, self._trends = self._trends, {}
        rows: list[Snapshot[SystemRows]] = []
        for snapshot in snapshots:
            if snapshot.view is None:
                rows.append(Snapshot(snapshot.pid, None, snapshot.problem, snapshot.name))
                continue
            key = (snapshot.pid, _identity(snapshot.view))
            self._trends[key] = trend = trends.get(key) or Trend()
            rows.append(Snapshot(snapshot.pid, trend.add(snapshot.view), name=snapshot.name))
        return rows


def _identity(view: CallboardView) -> str:
    # Several systems in one process may have the same name.
    return f"{view.name}/{view.hosts[0].epoch}/{view.hosts[0].at_s - view.hosts[0].uptime_s:.3f}"


def top(
    *,
    as_json: bool,
    once: bool,
    sort: str,
    busiest_max: int,
    address: str | None,
    name: str | None,
) -> None:
    """Perform the command; `commands/` declares it."""
    context = click.get_current_context()
    place = Place(address, name)
    try:
        snapshots = asyncio.run(_watch(place, busiest_max, sort, as_json=as_json, once=once))
    except KeyboardInterrupt:
        if once:
            raise
        return  # The normal way to leave.
    if not snapshots:
        print_failure(place.nothing_runs, verbose=False)
    seen = any(snapshot.view is not None for snapshot in snapshots)
    context.exit(ExitCode.OK if seen else ExitCode.FAILED)


async def _watch(
    place: Place, busiest_max: int, sort: str, *, as_json: bool, once: bool
) -> list[Snapshot[SystemRows]]:
    """Query for a second, or until Ctrl-C. Gives the last snapshots."""
    async with place.sources() as sources:
        watcher = Watcher(sources, busiest_max)
        if once:
            return await _once(watcher, sort, as_json=as_json)
        if as_json:
            while True:
                click.echo(json.dumps(_data(await watcher.query(), sort)))
                await asyncio.sleep(QUERY_EVERY_S)
        with Live(console=paper(), auto_refresh=False, screen=True) as live:
            while True:
                live.update(_screen(await watcher.query(), sort, place), refresh=True)
                await asyncio.sleep(QUERY_EVERY_S)


async def _once(watcher: Watcher, sort: str, *, as_json: bool) -> list[Snapshot[SystemRows]]:
    snapshots = await watcher.query()
    if snapshots:
        await asyncio.sleep(QUERY_EVERY_S)
        snapshots = await watcher.query()
    if as_json:
        click.echo(json.dumps(_data(snapshots, sort), indent=2))
    elif snapshots:
        paper().print(Group(*(draw(snapshot, sort) for snapshot in snapshots)))
    return snapshots


def sorted_rows(rows: SystemRows, sort: str) -> SystemRows:
    """The rows, sorted by the column of `sort`."""
    by_host, by_link, by_actor = SORTS[sort]
    return SystemRows(
        rows.name,
        rows.standbys,
        rows.hosts_replaced,
        tuple(_most_first(rows.hosts, by_host)),
        tuple(_most_first(rows.links, by_link)),
        tuple(_most_first(rows.actors, by_actor)),
        rows.standby_names,
    )


def _most_first(rows: Sequence[Any], column: str) -> list[Any]:
    if not column:
        return list(rows)
    value = attrgetter(column)
    return sorted(rows, key=lambda row: -(value(row) or 0))


def _data(snapshots: Sequence[Snapshot[SystemRows]], sort: str) -> dict[str, Any]:
    systems: list[dict[str, Any]] = []
    for snapshot in snapshots:
        if snapshot.view is None:
            name = {"name": snapshot.name} if snapshot.name else {}
            systems.append({"pid": snapshot.pid, **name, "problem": snapshot.problem})
        else:
            systems.append({"pid": snapshot.pid, **sorted_rows(snapshot.view, sort).to_data()})
    return {"systems": systems}


# --- drawing --------------------------------------------------------------------------------


def _screen(snapshots: Sequence[Snapshot[SystemRows]], sort: str, place: Place) -> RenderableType:
    if not snapshots:
        return Text(place.nothing_runs.message)
    return Group(*(draw(snapshot, sort) for snapshot in snapshots))


def draw(snapshot: Snapshot[SystemRows], sort: str = "messages") -> RenderableType:
    """One system: a table of hosts, one of links, one of actors."""
    if snapshot.view is None:
        return Text(f"{snapshot.source} {printable(snapshot.problem)}", style="yellow")
    rows = sorted_rows(snapshot.view, sort)
    names = f" ({', '.join(map(printable, rows.standby_names))})" if rows.standby_names else ""
    facts = [
        counted(len(rows.hosts) - 1, "host"),
        counted(rows.standbys, "standby") + names,
        f"{counted(rows.hosts_replaced, 'host')} replaced",
    ]
    kind = f"process {snapshot.pid}" if snapshot.pid else "detached"
    title = Text.assemble((printable(rows.name), "bold"), f"  {kind}  ")
    title.append(", ".join(facts))
    return Group(title, _hosts(rows.hosts), _links(rows.links), _actors(rows.actors), Text())


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=True)
    return table


def _hosts(rows: Sequence[HostRow]) -> Group:
    """The work of hosts, and its cost: two tables that fit where one would be cut."""
    work = _table(
        "host", "actors", "msg/s", "mailbox", "max", "restarts/min", "asks", "dead letters"
    )
    cost = _table("host", "lag ms", "max", "CPU %", "memory", "frames/s", "bytes/s")
    for row in rows:
        name = Text(printable(row.name), style="bold cyan")
        state = name.copy()
        if row.state != "up":
            state.append(f" {row.state}", style="yellow")
            if row.problem:
                state.append(f" ({printable(row.problem)})", style="yellow")
        if row.state in {"down", "silent"}:
            work.add_row(state, f"{row.actors:,}", *["–"] * 6)
            cost.add_row(name, *["–"] * 6)
            continue
        work.add_row(
            state,
            f"{row.actors:,}",
            rate(row.messages_per_s),
            _count(row.mailbox),
            _count(row.mailbox_max),
            rate(row.restarts_per_min),
            f"{row.pending_asks:,}",
            f"{row.dead_letters:,}",
        )
        cost.add_row(
            name,
            _milliseconds(row.lag_mean_s),
            _milliseconds(row.lag_max_s),
            rate(row.cpu_percent),
            size(row.memory_bytes),
            rate(row.frames_per_s),
            size(row.bytes_per_s),
        )
    return Group(work, cost)


def _links(rows: Sequence[LinkRow]) -> Table:
    table = _table("link", "frames/s out", "in", "bytes/s out", "in", "waiting", "sent again")
    for row in rows:
        name = Text(f"{printable(row.host)} → {printable(row.peer)}")
        if row.state != "open":
            name.append(f" {row.state}", style="yellow")
        table.add_row(
            name,
            rate(row.frames_out_per_s),
            rate(row.frames_in_per_s),
            size(row.bytes_out_per_s),
            size(row.bytes_in_per_s),
            f"{row.waiting:,}",
            f"{row.frames_resent:,}",
        )
    return table


def _actors(rows: Sequence[ActorRow]) -> Table:
    table = _table("actor", "msg/s", "mailbox", "at work", "kind")
    for row in rows:
        table.add_row(
            Text(printable(row.path), style="bold"),
            rate(row.messages_per_s),
            f"{row.mailbox:,}",
            f"{row.running:,}",
            Text(printable(row.kind)),
        )
    return table


def _count(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * MS:.1f}"
