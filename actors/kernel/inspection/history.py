"""The history of an actor: its place, its supervision, its failures, and what took it along.

A failure of a sibling may restart an actor with its group, and a failure of its parent starts
everything below again. Such entries name the one that failed.

A query names an actor by its path. Each part of a path is a name, or `$` (or `#`) and the
number of an actor without a name. Actors that ended for good are found as long as the host
has their record.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import SupervisorSpec
from callboard.messages.control.views import (
    ActorHistories,
    ActorHistory,
    HistoryEntry,
    QueryHostActor,
)
from callboard.messages.core.errors import ActorNotFound

from ..cell import Cell
from ..ports import CellHost, Children
from .ended_actors import Ended

__all__ = [
    "MATCHES_MAX",
    "NEAR_MAX",
    "RESTARTS",
    "entries_of",
    "histories_of",
    "newest_of",
    "supervision_of",
    "taken_along",
]

MATCHES_MAX: Final = 20
NEAR_MAX: Final = 5
NEAR_COMPARED_MAX: Final = 2_000
"""Names compared for similarity: with many more, a query would block the host."""
PARTS_MAX: Final = 100
ENTRIES_MAX: Final = 32
"""Entries of one history, with those of its parents and its host."""
RESTARTS: Final = frozenset(
    {"restarted", "restarted with its group", "restarted because its sibling failed"}
)
"""The decisions of a supervisor after which a child runs again."""


def histories_of(host: CellHost[Cell], request: QueryHostActor) -> ActorHistories:
    """The history of each actor that `request` may mean; without one, similar paths."""
    parts = [part for part in request.path.split("/") if part][:PARTS_MAX]
    if request.cell:
        cell = host.cells.get(request.cell)
        cells = [] if cell is None else [cell]
        ended = [one for one in host.meters.ended_actors.entries() if one.cell == request.cell]
    else:
        cells = list(_find(host, host.spawner.guardian, parts))
        path = "/" + "/".join(_plain(part) for part in parts)
        ended = [one for one in host.meters.ended_actors.entries() if one.path == path]
    if cells:
        matches = [_history(host, cell) for cell in cells]
    else:
        # The newest actor of a path that was used again; a cell's number is used once.
        matches = [_history_of_ended(host, one) for one in ended[:1]]
    near = () if matches or request.cell else _near(host, parts)
    return ActorHistories(
        matches=tuple(matches[:MATCHES_MAX]),
        matches_left_off=max(0, len(matches) - MATCHES_MAX),
        near=near,
    )


def _plain(part: str) -> str:
    """The part as paths have it: `#7` stands for `$7`, which a shell would expand."""
    return f"${part[1:]}" if part.startswith("#") and part[1:].isdigit() else part


def _child(children: Children[Cell], part: str) -> Cell | None:
    found = children.named(part)
    if found is None and part[:1] in {"$", "#"} and part[1:].isdigit():
        found = children.cells.get(int(part[1:]))
    return found


def _find(host: CellHost[Cell], children: Children[Cell], parts: Sequence[str]) -> Iterator[Cell]:
    """The actors that a path may mean; several only if names contain slashes."""
    for used in range(1, len(parts) + 1):
        cell = _child(children, "/".join(parts[:used]))
        if cell is None:
            continue
        if used == len(parts):
            yield cell
        elif cell.children is not None:
            yield from _find(host, cell.children, parts[used:])


def _near(host: CellHost[Cell], parts: Sequence[str]) -> tuple[str, ...]:
    """Similar paths: among the siblings of the first unknown part, and the ended actors."""
    children, prefix = host.spawner.guardian, ""
    rest = list(parts)
    while len(rest) > 1:
        cell = _child(children, rest[0])
        if cell is None or cell.children is None:
            break
        children, prefix = cell.children, cell.path
        rest.pop(0)
    if not rest:
        return ()
    names = [cell.name for cell in islice(children.cells.values(), NEAR_COMPARED_MAX)]
    wanted = "/".join(rest)
    similar = difflib.get_close_matches(rest[0], names, NEAR_MAX) or [
        name for name in names if rest[0].lower() in name.lower()
    ]
    paths = [f"{prefix}/{name}" for name in similar]
    ended = list(dict.fromkeys(one.path for one in host.meters.ended_actors.entries()))
    paths += difflib.get_close_matches(f"{prefix}/{wanted}", ended, NEAR_MAX)
    return tuple(list(dict.fromkeys(paths))[:NEAR_MAX])


# --- contracts ------------------------------------------------------------------------------------


def _history(host: CellHost[Cell], cell: Cell) -> ActorHistory:
    children = _siblings(host, cell)
    restart, supervision = "", ""
    restarts = group_restarts = parent_restarts = 0
    entries: tuple[HistoryEntry, ...] = ()
    if children is not None:
        supervision = supervision_of(children.spec)
        entries = _entries(host, cell, children)
        try:
            child = children.supervisor.child(cell.id)
        except ActorNotFound:
            pass  # Its supervisor has removed it; its cell is about to follow.
        else:
            restarts, restart = child.restarts, child.spec.restart.value
            group_restarts = child.group_restarts
    parent = cell.parent
    while parent is not None:
        count, taken_along = _restarts_of_parent(host, parent)
        parent_restarts += count
        entries = newest_of(entries, taken_along)
        parent = parent.parent
    return ActorHistory(
        host=host.name,
        path=cell.path,
        kind=cell.kind,
        lifecycle=cell.lifecycle.name.lower(),
        cell=cell.id,
        incarnation=cell.incarnation,
        mailbox=len(cell.mailbox or ()),
        restarts=restarts,
        group_restarts=group_restarts,
        parent_restarts=parent_restarts,
        restart=restart,
        supervision=supervision,
        entries=entries,
    )


def _siblings(host: CellHost[Cell], cell: Cell) -> Children[Cell] | None:
    return host.spawner.guardian if cell.parent is None else cell.parent.children


def _entries(
    host: CellHost[Cell], cell: Cell, children: Children[Cell]
) -> tuple[HistoryEntry, ...]:
    def path_of(sibling: Any) -> str:
        found = children.cells.get(sibling)
        prefix = "" if cell.parent is None else cell.parent.path
        return f"{prefix}/${sibling}" if found is None else found.path

    return entries_of(children.supervisor.history(cell.id).entries, host.now(), path_of)


def _restarts_of_parent(host: CellHost[Cell], parent: Cell) -> tuple[int, tuple[HistoryEntry, ...]]:
    """How often a parent was restarted, and the failures that did it."""
    children = _siblings(host, parent)
    if children is None:
        return 0, ()
    try:
        child = children.supervisor.child(parent.id)
    except ActorNotFound:
        return 0, ()
    entries = taken_along(_entries(host, parent, children), "parent", parent.path)
    return child.restarts + child.group_restarts, entries


def taken_along(
    entries: Sequence[HistoryEntry], relation: str, path: str
) -> tuple[HistoryEntry, ...]:
    """The restarts among the entries of a parent or a host, as those of what is below it."""
    return tuple(
        entry.model_copy(
            update={"relation": relation, "origin": path, "message": _with_cause(entry)}
        )
        for entry in entries
        if entry.decision in RESTARTS
    )


def _with_cause(entry: HistoryEntry) -> str:
    if not entry.origin:
        return entry.message
    return f"{entry.relation} {entry.origin} failed: {entry.message}"


def newest_of(*histories: Sequence[HistoryEntry]) -> tuple[HistoryEntry, ...]:
    """The entries of several histories in one, oldest first; at most `ENTRIES_MAX` of them."""
    entries = sorted((entry for some in histories for entry in some), key=_age)
    return tuple(reversed(entries[:ENTRIES_MAX]))


def _age(entry: HistoryEntry) -> float:
    return entry.ago_s


def _history_of_ended(host: CellHost[Cell], ended: Ended) -> ActorHistory:
    return ActorHistory(
        host=host.name,
        path=ended.path,
        kind=ended.kind,
        lifecycle="ended",
        cell=ended.cell,
        incarnation=ended.incarnation,
        ended_ago_s=host.now() - ended.at_s,
        ended=_rendered(ended.reason),
        entries=entries_of(ended.history, host.now(), _number),
    )


def _rendered(reason: Exit) -> str:
    message = str(reason.detail.get("message", ""))
    return f"{reason.kind.value}: {message}" if message else reason.kind.value


def _number(sibling: Any) -> str:
    return f"${sibling}"


def entries_of(
    history: Sequence[Any], now: float, path_of: Callable[[Any], str]
) -> tuple[HistoryEntry, ...]:
    """A supervisor's history of a child, as contracts; `path_of` names a sibling by its id."""
    return tuple(
        HistoryEntry(
            ago_s=max(0.0, now - entry.at_s),
            incarnation=entry.incarnation,
            reason=entry.kind.value,
            message=entry.message,
            traceback=entry.traceback,
            decision=entry.decision.value,
            delay_s=entry.delay_s,
            relation="" if entry.sibling is None else "sibling",
            origin="" if entry.sibling is None else path_of(entry.sibling),
        )
        for entry in history
    )


def supervision_of(spec: SupervisorSpec) -> str:
    """The strategy and intensity of a supervisor, as text."""
    intensity = spec.intensity
    return (
        f"{spec.strategy.value}, at most {intensity.restarts:,} restarts "
        f"in {intensity.period_s:g} s"
    )
