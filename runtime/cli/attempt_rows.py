"""Where attempts ran, for the eye: a lane by what it does, its attempts in rows."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from callboard.actors.executions.history.fold import Attempt, ExecutionHistory

__all__ = ["LaneRows", "at_once", "kinds_of", "lane_rows", "place_of", "short_kind"]

ROWS_MAX: Final = 12
"""Rows of one lane; where more ran side by side, it is told how many."""


class LaneRows(NamedTuple):
    """One lane; no two attempts of a row overlap."""

    name: str
    attempts: list[Attempt]
    rows: list[list[Attempt]]
    """Empty for a crowd: a lane with too many attempts at once."""


def kinds_of(history: ExecutionHistory) -> list[str]:
    """The name of the contract of each sub-task, in the order in which they were added."""
    return [name for added in history.added for name in added.event.contract_names()]


def short_kind(kind: str) -> str:
    """The last part of a contract's name."""
    return kind.rpartition(".")[2] or kind


def place_of(lane: str) -> str:
    """The host of a lane, for people: a lane is the address of an agent."""
    slot, _, cell = lane.partition("/")
    return f"host {slot}" if slot.isdigit() and cell.isdigit() else lane or "–"


def lane_rows(history: ExecutionHistory, attempts: Sequence[Attempt]) -> list[LaneRows]:
    """The lanes of these attempts, hosts in their order, each with as many rows as it needs."""
    kinds, by_lane = kinds_of(history), dict[str, list[Attempt]]()
    for attempt in sorted(attempts, key=lambda attempt: attempt.began_at):
        by_lane.setdefault(attempt.lane, []).append(attempt)
    found: list[LaneRows] = []
    for lane in sorted(by_lane, key=_order):
        done = by_lane[lane]
        said = ", ".join(sorted({short_kind(kinds[attempt.task]) for attempt in done}))
        found.append(LaneRows(f"{place_of(lane)} {said}", done, _rows(done)))
    return found


def _order(lane: str) -> tuple[int, int, str]:
    slot, _, cell = lane.partition("/")
    return (int(slot), int(cell), "") if slot.isdigit() and cell.isdigit() else (0, 0, lane)


def _rows(attempts: Sequence[Attempt]) -> list[list[Attempt]]:
    """Each into the first row that is free by then; they come by their begin."""
    rows: list[list[Attempt]] = []
    for attempt in attempts:
        for row in rows:
            if row[-1].began_at + row[-1].took_s <= attempt.began_at:
                row.append(attempt)
                break
        else:
            if len(rows) == ROWS_MAX:
                return []
            rows.append([attempt])
    return rows


def at_once(attempts: Sequence[Attempt], begin: float, cell_s: float, cells: int) -> list[int]:
    """How many attempts touch each of `cells` spans of time from `begin` on."""
    changes = [0] * (cells + 1)
    for attempt in attempts:
        first = min(cells - 1, int((attempt.began_at - begin) / cell_s))
        last = int((attempt.began_at + attempt.took_s - begin) / cell_s)
        changes[first] += 1
        changes[max(first, min(cells - 1, last)) + 1] -= 1
    return list(accumulate(changes[:cells]))
