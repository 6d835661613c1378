"""The work of `observe` and `ingest`.

`observe` are values that each side records, one call after the other, in one thread. A figure is
the median of some rounds of a plain loop around the call, the loop included: in its hot path an
agent calls from a loop, too.

`ingest` are points of many series, each with the present time; every one must be in a window.
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.outcome import Params, check_of

__all__ = [
    "SERIES",
    "column_of",
    "expected_ingest",
    "expected_observe",
    "ingested_check",
    "ns_per_call",
    "observed_check",
]

SERIES: Final = 1_000
SEED: Final = 14
ROUNDS: Final = 5
VALUES: Final = 97
"""So many different values, all exact as floats: their sum has no rounding."""


def ns_per_call(call: Callable[[float], Any], calls: int, rest: Callable[[], object]) -> float:
    """The time of one call; `rest` is called between the rounds, outside of the time."""
    taken = []
    values = [float(number % VALUES) for number in range(calls // ROUNDS)]
    for _ in range(ROUNDS):
        gc.collect()
        begun_ns = time.perf_counter_ns()
        for value in values:
            call(value)
        taken.append((time.perf_counter_ns() - begun_ns) / len(values))
        rest()
    return statistics.median(taken)


def observed_check(count: float, total: float) -> str:
    """The check over what a bound series has observed."""
    return check_of({"count": float(count), "sum": float(total)})


def expected_observe(params: Params) -> str:
    """The check that every side must reach."""
    each = params["calls"] // ROUNDS
    return observed_check(ROUNDS * each, ROUNDS * sum(number % VALUES for number in range(each)))


def column_of(points: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Series in random order, each at least once if there is room, and heavy-tailed values."""
    random = np.random.default_rng(SEED)
    which = random.permutation(np.arange(points) % SERIES)
    return which, random.lognormal(-3.0, 1.5, points)


def ingested_check(share: float, series: float) -> str:
    """The check over the share of points that windows have, and the number of series."""
    return check_of({"share": share, "series": series})


def expected_ingest(params: Params) -> str:
    """The check that every side must reach: each point is in one window."""
    return ingested_check(1.0, float(min(SERIES, params["points"])))
