"""The time until the rate of answers recovers after each kill: pure arithmetic.

The steady rate is the median over all buckets. After a kill, the rate is back at the end of the
first of three buckets in a row that reach 90 % of it. If these begin with the bucket of the kill,
the rate was never lower (0 s).
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["BUCKET_S", "Bucket", "recoveries_s", "steady_rate"]

BUCKET_S = 0.1
BACK_SHARE = 0.9
IN_A_ROW = 3


class Bucket(NamedTuple):
    """The answers of a tenth of a second, as a rate."""

    start_s: float
    per_s: float


def steady_rate(rates: Sequence[Bucket]) -> float:
    """The median. Raises `ValueError` without a bucket."""
    if not rates:
        msg = "no time was measured"
        raise ValueError(msg)
    return statistics.median(bucket.per_s for bucket in rates)


def recoveries_s(rates: Sequence[Bucket], kills_s: Sequence[float]) -> list[float]:
    """Seconds until the rate is back, for each kill. A run that ends first counts to its end."""
    wanted = BACK_SHARE * steady_rate(rates)
    return [_recovery_s(rates, kill_s, wanted) for kill_s in kills_s]


def _recovery_s(rates: Sequence[Bucket], kill_s: float, wanted: float) -> float:
    after = [bucket for bucket in rates if bucket.start_s + BUCKET_S > kill_s]
    for place, bucket in enumerate(after):
        row = after[place : place + IN_A_ROW]
        if all(each.per_s >= wanted for each in row):
            return 0.0 if place == 0 else bucket.start_s + BUCKET_S - kill_s
    return rates[-1].start_s + BUCKET_S - kill_s
