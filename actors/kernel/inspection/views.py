"""Views of one host: its counters, its tree of actors, its busiest actors.

A query does not stop the host. Its answer is limited in size, and work that takes long with
many actors is done in slices, so that handlers run in between.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Final, NamedTuple, Protocol

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.views import ActorLoad, ActorView, HostView, LinkView, QueryHost
from callboard.messages.core.errors import ActorNotFound

from ..asks import Call
from ..cell import Cell
from ..link.link import Link
from ..ports import CellHost, Children

__all__ = ["ACTORS_MAX", "Depths", "ViewHost", "measure_mailboxes", "running_of", "view_host"]

FAILURE_CHARS_MAX: Final = 200
"""A longer reason is cut in views, to fit into a line of `callboard tree`."""
ACTORS_MAX: Final = 10_000
"""The largest number of actors in a view, whatever a query asks for."""
BUSIEST_MAX: Final = 1_000
LINKS_MAX: Final = 1_000
DEPTH_MAX: Final = 50
"""The largest depth of a tree in a view. A parent has the number of its children below that."""
NO_PARENT: Final = -1
"""The parent of top-level actors."""
SLICE_CELLS: Final = 10_000
"""Cells measured in a row: well under a millisecond."""


class ViewHost(CellHost[Cell], Protocol):
    """The host, for its views."""

    @property
    def links(self) -> Mapping[int, Link]:
        """The links to other hosts."""

    @property
    def pending(self) -> Mapping[int, Call]:
        """Asks to other hosts that wait for their reply."""


class Depths(NamedTuple):
    """How full the mailboxes of a host are."""

    total: int
    deepest: int
    fullest: list[Cell]
    """The cells with the fullest mailboxes, as many as requested."""


async def view_host(host: ViewHost, request: QueryHost) -> HostView:
    """A view of this host now."""
    busiest: tuple[ActorLoad, ...] = ()
    links: tuple[LinkView, ...] = ()
    window_s = 0.0
    depths: Depths | None = None
    busiest_max = min(max(0, request.busiest_max), BUSIEST_MAX)
    if busiest_max:
        depths = await measure_mailboxes(host, busiest_max)
        window = host.meters.window()
        window_s = window.seconds
        busiest = _busiest(host, window.handled, depths, busiest_max)
        links = tuple(_link_view(link) for link in islice(host.links.values(), LINKS_MAX))
    siblings = host.spawner.guardian
    meters = host.meters
    vitals = meters.vitals()
    return HostView(
        slot=host.slot,
        epoch=host.epoch,
        name=host.name,
        pid=vitals.pid,
        node=vitals.node,
        actors=len(host.cells) - 1,
        handled=host.dispatcher.handled,
        pending_asks=len(host.pending),
        dead_letters=dict(host.dispatcher.dead_letters.counts),
        dead_letter_causes=dict(host.dispatcher.dead_letters.causes),
        memory_bytes=vitals.memory_bytes,
        at_s=host.now(),
        uptime_s=host.now() - meters.started_s,
        is_stopping=host.spawner.is_stopping,
        top_level=len(siblings.cells),
        strategy=siblings.spec.strategy.value,
        restarts=meters.restarts,
        deaths=meters.ended_actors.deaths,
        mailbox=None if depths is None else depths.total,
        mailbox_max=None if depths is None else depths.deepest,
        cpu_s=vitals.cpu_s,
        lag_mean_s=meters.lag.mean_s(),
        lag_max_s=meters.lag.max_s(),
        links=links,
        busiest=busiest,
        busiest_window_s=window_s,
        members=_members(host, siblings, min(max(0, request.actors_max), ACTORS_MAX)),
    )


# --- the tree -----------------------------------------------------------------------------


def _members(host: ViewHost, siblings: Children[Cell], actors_max: int) -> tuple[ActorView, ...]:
    chosen = _choose(host, siblings, actors_max)
    return _views(host, siblings, chosen)


def _choose(host: ViewHost, guardian: Children[Cell], actors_max: int) -> dict[int, None]:
    """The cells of the view: lately failed ones with all ancestors, then level by level."""
    chosen, by_parent = _troubled(host, actors_max)
    generations = deque([(NO_PARENT, guardian, 1)])
    while generations:
        parent, siblings, depth = generations.popleft()
        here = by_parent.get(parent, [])
        others = (number for number in siblings.cells if number not in chosen)
        here += islice(others, actors_max - len(chosen))
        chosen.update(dict.fromkeys(here))
        for number in here:
            children = siblings.cells[number].children
            if children is not None and depth < DEPTH_MAX:
                generations.append((number, children, depth + 1))
    return chosen


def _troubled(host: ViewHost, actors_max: int) -> tuple[dict[int, None], dict[int, list[int]]]:
    """Living actors that failed lately, newest first, and their ancestors; also by parent."""
    chosen: dict[int, None] = {}
    by_parent: dict[int, list[int]] = {}
    for number in reversed(host.meters.ended_actors.failed_at_s):
        line = _line_of(host, number)
        new = [cell for cell in line if cell.id not in chosen]
        if not new or len(line) > DEPTH_MAX or len(chosen) + len(new) > actors_max:
            continue
        for cell in new:
            chosen[cell.id] = None
            parent = NO_PARENT if cell.parent is None else cell.parent.id
            by_parent.setdefault(parent, []).append(cell.id)
    return chosen, by_parent


def _line_of(host: ViewHost, number: int) -> list[Cell]:
    """A living cell and its ancestors; empty when one of them is about to end."""
    line = []
    cell = host.cells.get(number)
    while cell is not None:
        siblings = host.spawner.guardian if cell.parent is None else cell.parent.children
        if siblings is None or cell.id not in siblings.cells:
            return []
        line.append(cell)
        cell = cell.parent
    return line


def _views(
    host: ViewHost, siblings: Children[Cell], chosen: dict[int, None]
) -> tuple[ActorView, ...]:
    # In the order of their start; for few chosen cells, do not walk through many siblings.
    if len(siblings.cells) <= 4 * len(chosen):
        cells = [cell for cell in siblings.cells.values() if cell.id in chosen]
    else:
        cells = [siblings.cells[number] for number in chosen if number in siblings.cells]
    return tuple(_view(host, siblings, cell, chosen) for cell in cells)


def _view(
    host: ViewHost, siblings: Children[Cell], cell: Cell, chosen: dict[int, None]
) -> ActorView:
    failed_at_s = host.meters.ended_actors.failed_at_s.get(cell.id)
    restarts, last_failure, restart, significant = _trouble(siblings, cell)
    return ActorView(
        cell=cell.id,
        name=cell.name,
        kind=cell.kind,
        lifecycle=cell.lifecycle.name.lower(),
        mailbox=len(cell.mailbox or ()),
        incarnation=cell.incarnation,
        children=0 if cell.children is None else len(cell.children.cells),
        path=cell.path,
        running=running_of(cell),
        stash=host.dispatcher.stashes.size(cell),
        restart=restart,
        significant=significant,
        strategy="" if cell.children is None else cell.children.spec.strategy.value,
        restarts=restarts,
        last_failure=last_failure,
        failed_ago_s=None if failed_at_s is None else host.now() - failed_at_s,
        members=() if cell.children is None else _views(host, cell.children, chosen),
        **cell.view_fields(),
    )


def running_of(cell: Cell) -> int:
    """How many of its handlers run or wait; a cell that only routes messages has none."""
    return 0 if cell.is_quiet else cell.behaviour.concurrency - cell.free


def _trouble(siblings: Children[Cell], cell: Cell) -> tuple[int, str, str, bool]:
    """The number of restarts, the last failure, the restart policy, and the significance."""
    try:
        child = siblings.supervisor.child(cell.id)
    except ActorNotFound:
        return 0, "", "", False  # Its supervisor has removed it.
    kind, significant = child.spec.restart.value, child.spec.significant
    if child.last_exit is None or not child.last_exit.is_abnormal:
        return child.restarts, "", kind, significant
    reason = str(child.last_exit.detail.get("message", "")) or child.last_exit.kind.value
    return child.restarts, reason[:FAILURE_CHARS_MAX], kind, significant


# --- load -----------------------------------------------------------------------------------


async def measure_mailboxes(host: ViewHost, fullest_max: int = 0) -> Depths:
    """How full the mailboxes are, without that of the control actor."""
    cells = list(host.cells.values())
    total, deepest = 0, 0
    fullest: list[tuple[int, int]] = []
    for begin in range(0, len(cells), SLICE_CELLS):
        if begin:
            await asyncio.sleep(0)
        filled = [
            (len(cell.mailbox), cell.id)
            for cell in islice(cells, begin, begin + SLICE_CELLS)
            if cell.mailbox and cell.id != CONTROL_CELL
        ]
        if filled:
            total += sum(depth for depth, _ in filled)
            deepest = max(deepest, max(filled)[0])
            if fullest_max:
                fullest = heapq.nlargest(fullest_max, [*fullest, *filled])
    living = (host.cells.get(number) for _, number in fullest)
    return Depths(total, deepest, [cell for cell in living if cell is not None])


def _busiest(
    host: ViewHost, handled: dict[int, int], depths: Depths, busiest_max: int
) -> tuple[ActorLoad, ...]:
    most = heapq.nlargest(busiest_max, handled.items(), key=lambda item: item[1])
    numbers = dict.fromkeys(number for number, _ in most if number != CONTROL_CELL)
    numbers.update(dict.fromkeys(cell.id for cell in depths.fullest))
    loads = []
    for number in numbers:
        cell = host.cells.get(number)
        if cell is not None:
            loads.append(
                ActorLoad(
                    cell=number,
                    path=cell.path,
                    kind=cell.behaviour.actor.__qualname__,
                    handled=handled.get(number, 0),
                    mailbox=len(cell.mailbox or ()),
                    running=running_of(cell),
                )
            )
    loads.sort(key=lambda load: (-load.handled, -load.mailbox))
    return tuple(loads[:busiest_max])


def _link_view(link: Link) -> LinkView:
    state = "down" if not link.is_connected else "open" if link.outbox.is_open else "connected"
    return LinkView(
        slot=link.slot,
        state=state,
        frames_out=link.frames_out,
        frames_in=link.frames_in,
        bytes_out=link.bytes_out,
        bytes_in=link.bytes_in,
        frames_resent=link.frames_resent,
        waiting=link.outbox.waiting,
    )
