"""Values over time in a terminal: sparklines, and charts of some lines."""

import datetime as dt
import math
from collections.abc import Sequence
from typing import Final

__all__ = ["chart", "clock", "number", "sparkline"]

LEVELS: Final = "▁▂▃▄▅▆▇█"
NO_VALUE: Final = "·"
MILLION: Final = 1e6


def resampled(values: Sequence[float], width: int) -> list[float]:
    """At most `width` values: the mean of those that fall together; NaN where there is none."""
    if len(values) <= width:
        return list(values)
    found: list[float] = []
    for cell in range(width):
        part = values[len(values) * cell // width : len(values) * (cell + 1) // width]
        known = [value for value in part if math.isfinite(value)]
        found.append(sum(known) / len(known) if known else math.nan)
    return found


def heights(values: Sequence[float], steps: int) -> list[int]:
    """For each value its height from 1 to `steps`, between the least and the greatest; 0: none."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return [0] * len(values)
    low, high = min(known), max(known)
    # All equal: a line at the bottom for 0, in the middle otherwise. Halves, so that no
    # difference of two floats is infinite.
    span = high / 2 - low / 2
    flat = steps // 2 if high else 1
    return [
        0
        if not math.isfinite(value)
        else flat
        if not span
        else 1 + int((value / 2 - low / 2) / span * (steps - 1) + 0.5)
        for value in values
    ]


def sparkline(values: Sequence[float], width: int) -> str:
    """The values in one line, oldest first."""
    rows = heights(resampled(values, width), len(LEVELS))
    return "".join(LEVELS[row - 1] if row else NO_VALUE for row in rows)


def chart(values: Sequence[float], width: int, lines: int) -> list[str]:
    """The values as columns over some lines, the highest line first."""
    steps = len(LEVELS)
    rows = heights(resampled(values, width), steps * lines)
    drawn = []
    for line in range(lines - 1, -1, -1):
        cells = (min(max(row - line * steps, 0), steps) for row in rows)
        text = "".join(LEVELS[cell - 1] if cell else " " for cell in cells)
        if not line:
            text = "".join(
                NO_VALUE if not row else cell for row, cell in zip(rows, text, strict=True)
            )
        drawn.append(text)
    return drawn


def number(value: float) -> str:
    """A value with about five digits."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    size = abs(value)
    if value == int(value) and size < 1e15:
        return f"{int(value):,}"
    if 1e-4 <= size < MILLION:
        return f"{value:,.{max(0, 4 - max(0, math.floor(math.log10(size))))}f}"
    return f"{value:.4g}"


def clock(time_ns: int, width_ns: int) -> str:
    """A time of this machine's zone, with as much as the width of its window needs."""
    at = dt.datetime.fromtimestamp(time_ns // 1_000_000_000, dt.UTC).astimezone()
    return f"{at:%Y-%m-%d}" if width_ns >= 86_400_000_000_000 else f"{at:%m-%d %H:%M}"
