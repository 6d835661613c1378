"""The lanes of an execution over time, as bars in a terminal."""

from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from callboard.actors.execution.history.fold import ExecutionHistory

from .figures import age, counted, printable
from .story import lanes

__all__ = ["timeline"]

LANES_MAX: Final = 40
NAME_MAX: Final = 20
WIDTH_MIN: Final = 10


def timeline(history: ExecutionHistory, width: int) -> RenderableType:
    """A row for each lane: `█` where an attempt ran, `×` where one failed; with its scale."""
    if not history.attempts:
        return Text("no attempt has ended so far.")
    begin = min(attempt.began_at for attempt in history.attempts)
    end = max(attempt.began_at + attempt.took_s for attempt in history.attempts)
    span = max(end - begin, 1e-6)
    cells = max(WIDTH_MIN, width - NAME_MAX - 3)
    by_lane = lanes(history.attempts)
    rows: list[RenderableType] = []
    for lane, attempts in list(by_lane.items())[:LANES_MAX]:
        bar = [" "] * cells
        for attempt in attempts:
            first = min(cells - 1, int((attempt.began_at - begin) / span * cells))
            last = (attempt.began_at + attempt.took_s - begin) / span * cells
            for cell in range(first, max(first + 1, min(cells, int(last)))):
                bar[cell] = "×" if attempt.code or bar[cell] == "×" else "█"
        name = printable(lane or "–")[:NAME_MAX].ljust(NAME_MAX)
        rows.append(Text(f"{name} │{''.join(bar)}", no_wrap=True))
    if len(by_lane) > LANES_MAX:
        rows.append(Text(f"… and {counted(len(by_lane) - LANES_MAX, 'more lane')}"))
    right = age(span)
    rows.append(Text(f"{' ' * NAME_MAX} 0 s{right.rjust(cells - 2)}", no_wrap=True))
    return Group(*rows)
