"""The graph of an execution as a drawing: sub-tasks and their needs, from left to right.

A large plan is drawn by kind: one node for each contract, with the statuses of its sub-tasks.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from callboard.actors.executions.history.fold import ExecutionHistory

from ..attempt_rows import short_kind
from ..execution_report import Node, nodes
from ..figures import counted
from .markup import clipped, text

__all__ = ["NODES_MAX", "GraphNode", "draw", "places"]

NODES_MAX: Final = 150
"""Nodes of a drawing."""
WIDTH: Final = 190
HEIGHT: Final = 42
GAP_X: Final = 56
GAP_Y: Final = 14
NAME_CHARS: Final = 25


class GraphNode(NamedTuple):
    """One node of the drawing: a sub-task, or all sub-tasks of a kind."""

    name: str
    said: str
    status: str
    before: tuple[int, ...]
    """The numbers of the nodes that it needs, all smaller than its own."""
    grown_from: int | None = None


def draw(history: ExecutionHistory) -> str:
    """The drawing as SVG, with the number of its sub-tasks."""
    all_nodes = list(nodes(history))
    if not all_nodes:
        return "<p class=soft>There is no plan yet.</p>"
    is_large = len(all_nodes) > NODES_MAX
    graph_nodes = _by_kind(all_nodes) if is_large else _each(all_nodes)
    said = (
        f"{counted(len(all_nodes), 'sub-task')} of {counted(len(graph_nodes), 'kind')}; arrows "
        "lead from each kind to the kinds that need it"
        if is_large
        else "Arrows lead from each sub-task to the sub-tasks that need it; broken lines, to those "
        f"that it added. {counted(len(graph_nodes), 'sub-task')}"
    )
    return f"<p class=soft>{said}.</p>{_svg(graph_nodes)}"


def _each(all_nodes: Sequence[Node]) -> list[GraphNode]:
    numbers = {node.id: number for number, node in enumerate(all_nodes)}
    return [
        GraphNode(
            node.id,
            f"{short_kind(node.kind)} · {node.status.replace('_', ' ')}",
            node.status,
            # An added sub-task may need a later one. Only arrows from left to right are drawn.
            tuple(numbers[need] for need in node.needs if numbers[need] < number),
            None if node.parent is None else numbers[node.parent],
        )
        for number, node in enumerate(all_nodes)
    ]


def _by_kind(all_nodes: Sequence[Node]) -> list[GraphNode]:
    kind_of = {node.id: node.kind for node in all_nodes}
    kinds = list(dict.fromkeys(node.kind for node in all_nodes))[:NODES_MAX]
    numbers = {kind: number for number, kind in enumerate(kinds)}
    statuses: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    before: dict[str, set[int]] = {kind: set() for kind in kinds}
    for node in all_nodes:
        if node.kind not in numbers:
            continue
        statuses[node.kind][node.status] += 1
        above = (*node.needs, *(() if node.parent is None else (node.parent,)))
        found = {numbers.get(kind_of[name], len(kinds)) for name in above}
        before[node.kind] |= {number for number in found if number < numbers[node.kind]}
    return [
        GraphNode(
            short_kind(kind),
            ", ".join(f"{count:,} {status}" for status, count in statuses[kind].most_common(2)),
            _worst(statuses[kind]),
            tuple(sorted(before[kind])),
        )
        for kind in kinds
    ]


def _worst(statuses: Mapping[str, int]) -> str:
    for status in ("failed", "in_doubt", "running", "ready", "backing_off", "waiting"):
        if statuses.get(status):
            return status
    return next(iter(statuses))


def places(graph_nodes: Sequence[GraphNode]) -> list[tuple[int, int]]:
    """A column and a row for each node: right of its needs, and near their middle."""
    columns: list[int] = []
    for node in graph_nodes:
        above = (*node.before, *(() if node.grown_from is None else (node.grown_from,)))
        columns.append(1 + max((columns[number] for number in above), default=-1))
    found = [(0, 0)] * len(graph_nodes)
    for column in range(max(columns, default=-1) + 1):
        here = [number for number, at in enumerate(columns) if at == column]
        here.sort(key=lambda number: _middle(graph_nodes[number], found))
        for row, number in enumerate(here):
            found[number] = (column, row)
    return found


def _middle(node: GraphNode, found: Sequence[tuple[int, int]]) -> float:
    above = (*node.before, *(() if node.grown_from is None else (node.grown_from,)))
    return sum(found[number][1] for number in above) / len(above) if above else 0.0


def _svg(graph_nodes: Sequence[GraphNode]) -> str:
    at = [(1 + x * (WIDTH + GAP_X), 1 + y * (HEIGHT + GAP_Y)) for x, y in places(graph_nodes)]
    wide = max(x for x, _ in at) + WIDTH + 1
    high = max(y for _, y in at) + HEIGHT + 1
    parts = [
        _edge(at[number], at[index], "edge")
        for index, node in enumerate(graph_nodes)
        for number in node.before
    ]
    parts += [
        _edge(at[node.grown_from], at[index], "edge grown")
        for index, node in enumerate(graph_nodes)
        if node.grown_from is not None and node.grown_from not in node.before
    ]
    for node, (x, y) in zip(graph_nodes, at, strict=True):
        parts.append(
            f'<g class="node {text(node.status)}">'
            f"<title>{text(node.name)}: {text(node.said)}</title>"
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
            f'<text x="{x + 10}" y="{y + 17}">{text(clipped(node.name, NAME_CHARS))}</text>'
            f'<text class="soft" x="{x + 10}" y="{y + 33}">'
            f"{text(clipped(node.said, NAME_CHARS + 2))}</text></g>"
        )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Graph">'
        f'<svg width="{wide}" height="{high}" role="img" aria-label="Sub-tasks and their '
        f'needs: the table of sub-tasks says the same in words.">{"".join(parts)}</svg></div>'
    )


def _edge(begin: tuple[int, int], end: tuple[int, int], name: str) -> str:
    x, y = begin[0] + WIDTH, begin[1] + HEIGHT // 2
    to_x, to_y = end[0], end[1] + HEIGHT // 2
    bend = max(GAP_X // 2, (to_x - x) // 2)
    path = f"M{x} {y}C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}"
    return f'<path class="{name}" d="{path}"></path>'
