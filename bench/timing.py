"""Measuring times with one discipline: warm up, collect garbage, then time.

Percentiles are nearest-rank: every reported value was measured, without interpolation.
"""

import gc
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = [
    "Stopwatch",
    "median_and_p99",
    "median_and_worst",
    "percentile",
    "round_trip_results",
    "timed",
]

NS_PER_MS = 1e6
NS_PER_S = 1e9


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of `values`, which need not be sorted.

    Raises:
        ValueError: if there are no values, or `percent` is not within 0 to 100.
    """
    if not values:
        msg = "a percentile of no values"
        raise ValueError(msg)
    if not 0 <= percent <= 100:
        msg = f"percent is within 0 to 100, not {percent}"
        raise ValueError(msg)
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


@dataclass(slots=True)
class Stopwatch:
    """The time of one `timed` block; zero until the block ends."""

    elapsed_ns: int = 0

    @property
    def elapsed_s(self) -> float:
        """The time in seconds."""
        return self.elapsed_ns / NS_PER_S

    @property
    def elapsed_ms(self) -> float:
        """The time in milliseconds."""
        return self.elapsed_ns / NS_PER_MS

    def per_s(self, count: int) -> float:
        """The rate per second of `count` operations."""
        # A clock that did not move would divide by zero. One tick is the bound.
        return count / (max(self.elapsed_ns, 1) / NS_PER_S)


@contextmanager
def timed() -> Iterator[Stopwatch]:
    """Time the block, after a garbage collection that is not part of it."""
    stopwatch = Stopwatch()
    gc.collect()
    start_ns = time.perf_counter_ns()
    yield stopwatch
    stopwatch.elapsed_ns = time.perf_counter_ns() - start_ns


def round_trip_results(round_trips_ns: Sequence[int]) -> dict[str, float]:
    """The two figures of sequential round trips."""
    return {
        "round_trip_p50_ms": percentile(round_trips_ns, 50) / NS_PER_MS,
        "round_trip_p99_ms": percentile(round_trips_ns, 99) / NS_PER_MS,
    }


def median_and_worst(figure: str, values: Sequence[float]) -> dict[str, float]:
    """The two figures of a few measurements: `FIGURE_median`, `FIGURE_worst`."""
    return {f"{figure}_median": statistics.median(values), f"{figure}_worst": max(values)}


def median_and_p99(figure: str, values: Sequence[float]) -> dict[str, float]:
    """The two figures of many measurements: `FIGURE_median`, `FIGURE_p99`."""
    return {f"{figure}_median": statistics.median(values), f"{figure}_p99": percentile(values, 99)}
