"""The attempts of an execution, by executor and in rows that can be drawn."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from callboard.actors.executions.history.fold import Attempt, ExecutionHistory

__all__ = ["ExecutorRows", "at_once", "executor_rows", "kinds_of", "place_of", "short_kind"]

ROWS_MAX: Final = 12
"""Rows of one executor. With more attempts at once only their number is shown."""


class ExecutorRows(NamedTuple):
    """One executor; no two attempts of a row overlap."""

    name: str
    attempts: list[Attempt]
    rows: list[list[Attempt]]
    """Empty when the executor has too many attempts at once."""


def kinds_of(history: ExecutionHistory) -> list[str]:
    """The name of the contract of each sub-task, in the order in which they were added."""
    return [name for added in history.added for name in added.event.contract_names()]


def short_kind(kind: str) -> str:
    """The last part of a contract's name."""
    return kind.rpartition(".")[2] or kind


def place_of(executor: str) -> str:
    """The host of an executor (the address of an agent), for people."""
    slot, _, cell = executor.partition("/")
    return f"host {slot}" if slot.isdigit() and cell.isdigit() else executor or "–"


def executor_rows(history: ExecutionHistory, attempts: Sequence[Attempt]) -> list[ExecutorRows]:
    """The executors of these attempts, hosts in their order, each with as many rows as it needs."""
    kinds, by_executor = kinds_of(history), dict[str, list[Attempt]]()
    for attempt in sorted(attempts, key=lambda attempt: attempt.began_at):
        by_executor.setdefault(attempt.executor, []).append(attempt)
    found: list[ExecutorRows] = []
    for executor in sorted(by_executor, key=_order):
        done = by_executor[executor]
        said = ", ".join(sorted({short_kind(kinds[attempt.task]) for attempt in done}))
        found.append(ExecutorRows(f"{place_of(executor)} {said}", done, _rows(done)))
    return found


def _order(executor: str) -> tuple[int, int, str]:
    slot, _, cell = executor.partition("/")
    return (int(slot), int(cell), "") if slot.isdigit() and cell.isdigit() else (0, 0, executor)


def _rows(attempts: Sequence[Attempt]) -> list[list[Attempt]]:
    """Each attempt in the first free row. The attempts are sorted by their begin."""
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
