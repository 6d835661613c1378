"""What a page of live charts gets: the newest windows of chosen series, as columns for JSON.

The stream hub calls `newest_windows` when a page subscribes, sends its answer as the first
publication, and calls it again with the answer's `next_from_ns` when an aggregator says that
windows have closed, and each few seconds for those that are open. A chart replaces what it has of
the same start: windows that are still open, or corrected, come again with higher numbers.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

from ..ports import WindowReader
from ..rows import WindowFlag
from ..series import Matcher

__all__ = ["newest_windows"]

ROWS_MAX: Final = 50_000
REPEATED: Final = 3
"""So many of the newest windows are given again by the next call: they may be corrected."""


async def newest_windows(
    reader: WindowReader,
    matchers: Sequence[Matcher],
    width_ns: int,
    from_ns: int,
    *,
    rows_max: int = ROWS_MAX,
) -> dict[str, Any]:
    """The windows from `from_ns` on, a list of columns for each series.

    Raises `UsageError` for more than `rows_max` windows, and the stores' errors.
    """
    rows = await reader.windows(matchers, width_ns, from_ns, 2**62, rows_max)
    p95, p99 = rows.sketches.quantiles(0.95), rows.sketches.quantiles(0.99)
    found: list[dict[str, Any]] = [
        {
            "name": key.name,
            "kind": key.kind.name.lower(),
            "tags": dict(key.tags),
            **{name: [] for name in ("start_s", *COLUMNS)},
        }
        for key in rows.series
    ]
    for row, place in enumerate(rows.series_index.tolist()):
        line = found[place]
        count, total = int(rows.counts[row]), float(rows.sums[row])
        flags = WindowFlag(int(rows.flags[row]))
        line["start_s"].append(int(rows.starts_ns[row]) // 1_000_000_000)
        values = (
            count, total, total / count if count else math.nan, rows.minima[row],
            rows.maxima[row], rows.last[row], p95[row], p99[row],
        )  # fmt: skip
        for name, value in zip(COLUMNS, values, strict=False):
            line[name].append(_number(value))
        line["open"].append(WindowFlag.OPEN in flags)
        line["partial"].append(WindowFlag.PARTIAL in flags)
    newest = int(rows.starts_ns.max()) if len(rows) else from_ns
    return {
        "width_s": width_ns // 1_000_000_000,
        "series": found,
        "next_from_ns": max(from_ns, newest - REPEATED * width_ns),
    }


COLUMNS: Final = ("count", "sum", "avg", "min", "max", "last", "p95", "p99", "open", "partial")


def _number(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None
