"""Durations as Prometheus writes them: `5m`, `1h30m`, `250ms`."""

import re
from typing import Final

from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import shown

__all__ = ["NS", "duration_s", "duration_text", "nanoseconds"]

NS: Final = 1_000_000_000
UNITS_MS: Final = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
PARTS: Final = re.compile(r"([0-9]{1,9})(ms|[ywdhms])")
WHOLE: Final = re.compile(r"(?:[0-9]{1,9}(?:ms|[ywdhms]))+\Z")
YEARS_MAX_S: Final = 100 * 31_536_000.0
ADVICE: Final = "Write numbers with units, such as 30s, 5m, 1h30m or 1d."


def duration_s(text: int | str) -> float:
    """The seconds of a duration; `0` needs no unit. Raises `UsageError`."""
    if text in {0, "0"}:
        return 0.0
    if not isinstance(text, str) or not WHOLE.match(text):
        raise UsageError(f"{shown(text)} is no duration.", advice=ADVICE)
    total_ms, smallest = 0, 2 * UNITS_MS["y"]
    for number, unit in PARTS.findall(text):
        if UNITS_MS[unit] >= smallest:
            raise UsageError(
                f"{shown(text)} is no duration: its units do not get smaller.", advice=ADVICE
            )
        smallest = UNITS_MS[unit]
        total_ms += int(number) * smallest
    if total_ms / 1_000 > YEARS_MAX_S:
        raise UsageError(f"{shown(text)} is longer than 100 years.", advice=ADVICE)
    return total_ms / 1_000


def duration_text(seconds: float) -> str:
    """The duration of so many seconds, in the largest units."""
    left_ms = round(seconds * 1_000)
    parts = []
    for unit, size_ms in UNITS_MS.items():
        count, left_ms = divmod(left_ms, size_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def nanoseconds(seconds: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds * NS)
