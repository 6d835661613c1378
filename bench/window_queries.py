"""The work of `metrics_query`: windows of one hour, and the answers of two questions.

All numbers are whole, so that every side adds them to the same sums.
"""

from collections.abc import Sequence
from typing import Final

from bench.outcome import Params, check_of

__all__ = [
    "HOURS_A_DAY",
    "POINTS",
    "START_S",
    "answers_check",
    "expected_metrics_query",
    "hour_sum",
]

START_S: Final = 20_000 * 86_400
"""The first window begins at midnight, in October 2024."""
HOURS_A_DAY: Final = 24
POINTS: Final = 64
"""The points of each window."""
STEP: Final = 100_003
"""More than a day's sum of what tells series apart: no two series have equal sums."""


def hour_sum(series: int, hour: int) -> int:
    """The sum of a series' points in one hour."""
    return ((series * 31 + hour * 17) % 101 + 1) * STEP + series


def answers_check(one: Sequence[float], top: Sequence[tuple[int, float]]) -> str:
    """The check over the sums of one series for each hour, and the top series with their sums."""
    return check_of([[round(each) for each in one], [[key, round(value)] for key, value in top]])


def expected_metrics_query(params: Params) -> str:
    """The check of both answers: series 0 over all days, the top 10 over the last day."""
    hours = params["days"] * HOURS_A_DAY
    last_day = range(hours - HOURS_A_DAY, hours)
    sums = {key: sum(hour_sum(key, hour) for hour in last_day) for key in range(params["series"])}
    top = sorted(sums.items(), key=lambda each: -each[1])[:10]
    return answers_check([hour_sum(0, hour) for hour in range(hours)], top)
