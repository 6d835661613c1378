"""The work of `observe`: values that each side records, one call after the other, in one thread.

A figure is the median of some rounds of a plain loop around the call, the loop included: in its
hot path an agent calls from a loop, too.
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

from bench.outcome import Params, check_of

__all__ = ["expected_observe", "ns_per_call", "observed_check"]

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
