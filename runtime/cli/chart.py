"""The executors of an execution over time, as bars in a terminal."""

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from callboard.actors.executions.history.fold import Attempt, ExecutionHistory

from .attempt_rows import ExecutorRows, at_once, executor_rows
from .figures import age, counted, printable

__all__ = ["timeline"]

ROWS_MAX: Final = 60
NAME_MAX: Final = 20
WIDTH_MIN: Final = 10
SHADES: Final = "█▓"
FAILED: Final = "×"
HEIGHTS: Final = " ▁▂▃▄▅▆▇█"


def timeline(history: ExecutionHistory, width: int) -> RenderableType:
    """The rows of each executor. Attempts that follow each other have different shades.

    An executor with many attempts at once has one row, which shows their number.
    """
    if not history.attempts:
        return Text("no attempt has ended yet.")
    begin = min(attempt.began_at for attempt in history.attempts)
    end = max(attempt.began_at + attempt.took_s for attempt in history.attempts)
    span = max(end - begin, 1e-6)
    cells = max(WIDTH_MIN, width - NAME_MAX - 2)
    rows: list[RenderableType] = []
    hidden = 0
    for executor in executor_rows(history, history.attempts):
        if not executor.rows and len(rows) < ROWS_MAX:
            counts = at_once(executor.attempts, begin, span / cells, cells)
            rows.append(
                Text(f"{_fitted(printable(executor.name))} │{_heights(counts)}", no_wrap=True)
            )
            rows.append(
                Text(f"{' ' * NAME_MAX}  {_caption(executor, counts)}", "dim", no_wrap=True)
            )
        for number, attempts in enumerate(executor.rows):
            if len(rows) >= ROWS_MAX:
                hidden += 1
                continue
            name = printable(executor.name) if number == 0 else ""
            bar = _bar(attempts, begin, cells / span, cells)
            rows.append(Text(f"{_fitted(name)} │{bar}", no_wrap=True))
    if hidden:
        rows.append(Text(f"… and {counted(hidden, 'more row')}"))
    right = age(span)
    rows.append(Text(f"{' ' * NAME_MAX} 0 s{right.rjust(cells - 2)}", no_wrap=True))
    legend = (
        f"{' '.join(SHADES)}  attempts in turn   {FAILED}  an attempt that failed, or is in doubt"
    )
    return Group(*rows, Text(legend, "dim"))


def _fitted(name: str) -> str:
    return name.ljust(NAME_MAX) if len(name) <= NAME_MAX else f"{name[: NAME_MAX - 1]}…"


def _heights(counts: Sequence[int]) -> str:
    most = max(counts)
    return "".join(HEIGHTS[-(-count * (len(HEIGHTS) - 1) // most)] for count in counts)


def _caption(executor: ExecutorRows, counts: Sequence[int]) -> str:
    failed = sum(1 for attempt in executor.attempts if attempt.code)
    attempts = counted(len(executor.attempts), "attempt")
    return f"{attempts}, up to {max(counts):,} at once, {failed:,} failed"


def _bar(attempts: Sequence[Attempt], begin: float, cells_a_second: float, cells: int) -> str:
    bar = [" "] * cells
    for number, attempt in enumerate(attempts):
        first = min(cells - 1, int((attempt.began_at - begin) * cells_a_second))
        last = int((attempt.began_at + attempt.took_s - begin) * cells_a_second)
        for cell in range(first, max(first + 1, min(cells, last))):
            is_bad = bool(attempt.code) or bar[cell] == FAILED
            bar[cell] = FAILED if is_bad else SHADES[number % len(SHADES)]
    return "".join(bar)
