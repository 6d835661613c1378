"""A drawing of the attempts of an execution over time. Attempts at the same time have own rows."""

from collections.abc import Iterator
from typing import Final

from callboard.actors.executions.history.fold import Attempt, ExecutionHistory

from ..attempt_rows import ExecutorRows, at_once, executor_rows
from ..figures import age, counted
from .markup import clipped, left_off, text

__all__ = ["draw", "ticks"]

BARS_MAX: Final = 5_000
"""After so many bars, an executor is drawn as the number of its attempts at once."""
ROWS_MAX: Final = 200
WIDTH: Final = 1_120
LEFT: Final = 260
ROW: Final = 20
CROWD: Final = 48
"""The height of an executor with many attempts at once."""
CELLS: Final = 240
NAME_CHARS: Final = 27
TICKS_MAX: Final = 8


def draw(history: ExecutionHistory) -> str:
    """The drawing as SVG. Bars that follow each other in a row have different shades."""
    shown = history.attempts
    if not shown:
        return '<p class="soft">No attempt has ended yet.</p>'
    begin = min(attempt.began_at for attempt in shown)
    span = max(max(attempt.began_at + attempt.took_s for attempt in shown) - begin, 1e-6)
    scale = (WIDTH - LEFT - 1) / span
    parts: list[str] = []
    high = hidden = bars = 0
    for executor in executor_rows(history, shown):
        if high >= ROWS_MAX * ROW:
            hidden += 1
            continue
        parts.append(
            f'<line class="grid" x1="0" x2="{WIDTH}" y1="{high}" y2="{high}"/>'
            f'<text x="0" y="{high + 14}">{text(clipped(executor.name, NAME_CHARS))}'
            f"<title>{text(executor.name)}</title></text>"
        )
        bars += len(executor.attempts)
        if not executor.rows or bars > BARS_MAX:
            parts.append(_crowd(executor, begin, span, high))
            high += CROWD
            continue
        for attempts in executor.rows:
            parts += [
                _bar(history, attempt, begin, scale, high, index)
                for index, attempt in enumerate(attempts)
            ]
            high += ROW
    lines = "".join(
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{high}"/>'
        f'<text class="soft" x="{x:.1f}" y="{high + 16}" text-anchor="{anchor}">{age(at)}</text>'
        for at, x, anchor in _axis(span, scale)
    )
    failed = sum(1 for attempt in shown if attempt.code)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="Executors over time">'
        f'<svg width="{WIDTH}" height="{high + 22}" role="img" aria-label="{len(shown)} attempts '
        f'over {age(span)}, {failed} of them failed: the table of attempts says the same.">'
        f"{lines}{''.join(parts)}</svg></div>" + left_off(hidden, "executors")
    )


def _bar(
    history: ExecutionHistory, attempt: Attempt, begin: float, scale: float, y: int, index: int
) -> str:
    x = LEFT + (attempt.began_at - begin) * scale
    wide = max(1.5, attempt.took_s * scale)
    said = f"{history.ids[attempt.task]}, attempt {attempt.attempt}: {age(attempt.took_s)}"
    if attempt.code:
        said += f", {attempt.code}: {attempt.message}"
    shade = " x" if attempt.code else " b" if index % 2 else ""
    return (
        f'<rect class="bar{shade}" x="{x:.1f}" y="{y + 3}" width="{wide:.1f}" height="{ROW - 6}" '
        f'rx="2"><title>{text(said)}</title></rect>'
    )


def _crowd(executor: ExecutorRows, begin: float, span: float, y: int) -> str:
    """The number of attempts at once, as heights."""
    counts = at_once(executor.attempts, begin, span / CELLS, CELLS)
    wide, most = (WIDTH - LEFT - 1) / CELLS, max(counts)
    path = "".join(f"V{y + CROWD - (CROWD - 6) * count / most:.1f}h{wide:.2f}" for count in counts)
    failed = sum(1 for attempt in executor.attempts if attempt.code)
    said = f"{counted(len(executor.attempts), 'attempt')}, up to {most:,} at once"
    said += f", {failed:,} failed" if failed else ""
    return (
        f'<path class="bar b" d="M{LEFT} {y + CROWD}{path}V{y + CROWD}Z"><title>{said}</title>'
        "</path>"
        f'<text class="soft" x="0" y="{y + 32}">{said}</text>'
    )


def _axis(span: float, scale: float) -> Iterator[tuple[float, float, str]]:
    for at in ticks(span):
        x = LEFT + at * scale
        yield at, x, "end" if x > WIDTH - 30 else "middle"


def ticks(span: float) -> list[float]:
    """Round numbers from 0 on, at most `TICKS_MAX`."""
    step = 1e-6
    factors = (2.0, 2.5, 2.0)  # 1, 2, 5, 10, ...
    number = 0
    while span / step > TICKS_MAX - 1:
        step *= factors[number % 3]
        number += 1
    return [index * step for index in range(int(span / step) + 1)]
