"""The comparison of figures: the better direction, medians over rounds, ratios.

The unit in a figure's name gives the direction, so that no bench can declare a wrong one: a higher
rate is better, and a lower time or size. A figure without such a unit (a count, for instance) is
reported and never compared.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

__all__ = ["Direction", "direction_of", "medians", "ratio", "ratios_against"]

Direction: TypeAlias = Literal["higher", "lower"]

HIGHER_SUFFIXES = ("_per_s",)
LOWER_SUFFIXES = ("_ms", "_us", "_ns", "_s", "_bytes")
STATISTICS = ("_median", "_worst", "_p99")
"""The statistics that a figure's name may have after its unit."""
LOWER_PREFIXES = ("bytes_per_", "ms_per_", "us_per_")


def direction_of(figure: str) -> Direction | None:
    """Whether the figure is better `higher` or `lower`; None if its name has no unit."""
    for statistic in STATISTICS:
        figure = figure.removesuffix(statistic)
    # `_per_s` ends with `_s` too, so rates come first.
    if figure.endswith(HIGHER_SUFFIXES):
        return "higher"
    if figure.endswith(LOWER_SUFFIXES) or figure.startswith(LOWER_PREFIXES):
        return "lower"
    return None


def ratio(figure: str, ours: float, theirs: float) -> float | None:
    """How many times better our figure is: above 1 is better, below 1 is worse.

    None without a direction, or with a value that is not a positive number.
    """
    direction = direction_of(figure)
    usable = all(math.isfinite(value) and value > 0 for value in (ours, theirs))
    if direction is None or not usable:
        return None
    return ours / theirs if direction == "higher" else theirs / ours


def ratios_against(
    peer: str, ours: Mapping[str, float], theirs: Mapping[str, float]
) -> dict[str, float]:
    """The ratio of every figure that both sides have, as `peer.figure`."""
    found = {
        f"{peer}.{figure}": ratio(figure, value, theirs[figure])
        for figure, value in ours.items()
        if figure in theirs
    }
    return {name: value for name, value in found.items() if value is not None}


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds that have it."""
    figures = dict.fromkeys(figure for results in rounds for figure in results)
    return {
        figure: statistics.median(results[figure] for results in rounds if figure in results)
        for figure in figures
    }
