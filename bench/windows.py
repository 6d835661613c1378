"""The work of `windows`: points of many series in random order, and what every side finds.

The values are multiples of 1/1024, so that each way of adding them gives the same sum.
"""

import csv
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.outcome import Params, check_of

__all__ = [
    "BATCH",
    "COLUMNS",
    "DISTINCT_BATCHES",
    "FULL",
    "LATENESS_NS",
    "MINUTE_NS",
    "PEERS_SMOKE",
    "SECOND_NS",
    "SEEDED_BATCHES",
    "SINGLE",
    "SMOKE",
    "START_NS",
    "Columns",
    "batches",
    "expected_windows",
    "read_series",
    "totals_check",
]

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
START_NS: Final = 1_799_971_200 * SECOND_NS + 3 * 3_600 * SECOND_NS
"""Three o'clock of some day, so that all points are of one day."""
LATENESS_NS: Final = 119 * SECOND_NS
"""The points of a batch are up to so much older than the newest."""
BATCH: Final = 64_000
SERIES_POINTS_PER_S: Final = 64
"""The points of each series in a second of event time, for 1,000 series."""
SEEDED_BATCHES: Final = 8
"""Batches with values of their own; later ones repeat these values at later times."""
DISTINCT_BATCHES: Final = 96
"""The same where each of 100,000 series has about 60 values: none is repeated within a minute."""
STEP: Final = 1_024


def _points(points: int) -> dict[str, int]:
    return {"series": 1_000, "points": points, "batch": BATCH}


FULL: Final = {
    **_points(64_000_000),
    "small_points": 16_000_000,
    "many_series": 100_000,
    "many_points": 24_000_000,
    "distinct_points": 12_000_000,
    "error_points": 400_000,
    "memory_series": 200,
    "memory_s": 26 * 3_600,
}
COLUMNS: Final = _points(12_800_000)
"""For peers that compute with columns."""
SINGLE: Final = _points(1_280_000)
"""For peers that take one value at a time."""
PEERS_SMOKE: Final = {"series": 20, "points": 8_000, "batch": 2_000}
SMOKE: Final = {
    **PEERS_SMOKE,
    "small_points": 8_000,
    "many_series": 500,
    "many_points": 8_000,
    "distinct_points": 8_000,
    "error_points": 2_000,
    "memory_series": 10,
    "memory_s": 600,
}


class Columns(NamedTuple):
    """Points as columns."""

    series: npt.NDArray[np.int32]
    times_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def at(self, places: npt.NDArray[np.int64]) -> "Columns":
        """Some of them."""
        return Columns(self.series[places], self.times_ns[places], self.values[places])


def batches(
    series: int, points: int, batch: int = BATCH, seeded_batches: int = SEEDED_BATCHES
) -> Iterator[Columns]:
    """Batches of points in random order, whose time goes on by a second for 64,000 points."""
    rng = np.random.default_rng(1)
    seeded = [
        (
            rng.integers(0, series, batch).astype(np.int32),
            np.ceil(rng.lognormal(0, 1, batch) * STEP) / STEP,
            rng.integers(0, LATENESS_NS, batch),
        )
        for _ in range(min(seeded_batches, max(points // batch, 1)))
    ]
    step_ns = SECOND_NS * batch // (1_000 * SERIES_POINTS_PER_S)
    for number in range(points // batch):
        numbers, values, ages = seeded[number % len(seeded)]
        newest = START_NS + LATENESS_NS + number * step_ns
        yield Columns(numbers, newest - ages, values)


def expected_windows(params: Params) -> str:
    """The check over the count and the sum of each series."""
    series, points = params["series"], params["points"]
    counts, sums = np.zeros(series), np.zeros(series)
    for numbers, _, values in batches(series, points, params["batch"]):
        counts += np.bincount(numbers, minlength=series)
        sums += np.bincount(numbers, values, series)
    return totals_check(counts, sums)


def totals_check(counts: npt.ArrayLike, sums: npt.ArrayLike) -> str:
    """The check over the counts and the sums of all series, in the order of their numbers."""
    return check_of(
        {
            "counts": [int(count) for count in np.asarray(counts)],
            "sums": [int(value * STEP) for value in np.asarray(sums)],
        }
    )


def read_series(folder: Path) -> Iterator[tuple[str, Columns]]:
    """The series of a folder: files with lines `timestamp,value`, compressed or not."""
    for path in sorted([*folder.rglob("*.csv"), *folder.rglob("*.csv.gz")]):
        times, values = [], []
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as file:
            for row in csv.DictReader(file):
                moment = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)
                times.append(round(moment.timestamp() * SECOND_NS))
                values.append(float(row["value"]))
        order = np.argsort(times, kind="stable")
        columns = Columns(
            np.zeros(len(times), np.int32),
            np.array(times, np.int64)[order],
            np.array(values)[order],
        )
        yield str(path.relative_to(folder)), columns
