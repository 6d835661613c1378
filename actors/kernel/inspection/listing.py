"""A page of the actors of one host, in the order of their numbers.

A number is an actor's place: one that starts or ends between two pages moves no other.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

import numpy as np

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.views import ActorRow, ActorsPage, QueryHostActors

from ..cell import Cell
from .views import ViewHost, running_of

__all__ = ["list_actors"]

PROBES_MAX: Final = 10_000
"""Numbers that are tried one by one: some 0.5 ms. Numbers are mostly dense."""
PART: Final = 2_000
"""Numbers that are sorted at once."""
SLICE_CELLS: Final = 2_000
"""Cells that are compared with a filter in a row."""
SCANNED_MAX: Final = 20_000
"""Cells that one request compares, in some 0.2 s; then its page ends early, and says where to go
on."""


async def list_actors(host: ViewHost, request: QueryHostActors) -> ActorsPage:
    """The actors after a number. A page may end early, with `has_more`, also without actors."""
    rows: list[ActorRow] = []
    last, scanned = request.cell, 0
    for number in _numbers(host, request):
        cell = host.cells.get(number)
        if cell is None or number == CONTROL_CELL:
            continue
        if len(rows) == request.limit or scanned == SCANNED_MAX:
            return ActorsPage(items=tuple(rows), slot=host.slot, cell=last, has_more=True)
        if request.path:
            scanned += 1
            if scanned % SLICE_CELLS == 0:
                await asyncio.sleep(0)
        last = number
        if not request.path or request.path in cell.path:
            rows.append(_row(host, cell))
    return ActorsPage(items=tuple(rows), slot=host.slot, cell=last)


def _numbers(host: ViewHost, request: QueryHostActors) -> Iterator[int]:
    """Numbers of cells above `request.cell`, ascending."""
    cells, after = host.cells, request.cell
    if request.failed_only:
        yield from sorted(n for n in host.meters.ended_actors.failed_at_s if n > after)
        return
    while True:
        for number in range(after + 1, after + 1 + PROBES_MAX):
            if number in cells:
                yield number
        after += PROBES_MAX
        # Over the gap: only the next ones are sorted, so a page costs little with a million actors.
        numbers = np.fromiter(cells.keys(), np.int64, len(cells))
        rest = numbers[numbers > after]
        if not rest.size:
            return
        if rest.size > PART:
            rest = np.partition(rest, PART)[:PART]
        rest.sort()
        yield from rest.tolist()
        after = int(rest[-1])


def _row(host: ViewHost, cell: Cell) -> ActorRow:
    failed_at_s = host.meters.ended_actors.failed_at_s.get(cell.id)
    return ActorRow(
        slot=host.slot,
        cell=cell.id,
        host=host.name,
        path=cell.path,
        kind=cell.kind,
        lifecycle=cell.lifecycle.name.lower(),
        mailbox=len(cell.mailbox or ()),
        running=running_of(cell),
        incarnation=cell.incarnation,
        children=0 if cell.children is None else len(cell.children.cells),
        failed_ago_s=None if failed_at_s is None else host.now() - failed_at_s,
    )
