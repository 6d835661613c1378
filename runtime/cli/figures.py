"""Figures and texts as the commands that look at systems show them."""

import re
from typing import Final

__all__ = ["age", "counted", "printable", "rate", "size"]

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
KIB: Final = 1024.0
CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def age(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = max(0, int(seconds))
    if whole < MINUTE_S:
        return f"{max(0.0, seconds):.1f} s" if seconds < 10.0 else f"{whole} s"
    if whole < HOUR_S:
        return f"{whole // 60} min {whole % 60} s"
    if whole < DAY_S:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def rate(per_second: float | None) -> str:
    """A rate; a dash where two looks are still needed."""
    if per_second is None:
        return "–"
    if per_second >= 100.0:
        return f"{per_second:,.0f}"
    return f"{per_second:.1f}" if per_second else "0"


def size(size_bytes: float | None) -> str:
    """A number of bytes in the unit that fits."""
    if size_bytes is None:
        return "–"
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < KIB:
            return f"{size_bytes:,.0f} {unit}" if unit == "B" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= KIB
    return f"{size_bytes:,.1f} GiB"


def printable(text: str) -> str:
    """A text from elsewhere, without what would move a terminal's cursor or change its colours."""
    return CONTROL_CHARACTERS.sub("·", text)
