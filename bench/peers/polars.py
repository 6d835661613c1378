"""polars: `windows`, as one group-by over columns in memory, on one thread."""

import os

os.environ["POLARS_MAX_THREADS"] = "1"

import numpy as np
import polars as pl

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.timing import timed
from bench.windows import MINUTE_NS, batches, totals_check

__all__: list[str] = []


def windows(params: Params) -> Outcome:
    """All windows of a minute at once, with exact quantiles."""
    columns = list(batches(params["series"], params["points"], params["batch"]))
    points = pl.DataFrame(
        {
            "series": np.concatenate([each.series for each in columns]),
            "times_ns": np.concatenate([each.times_ns for each in columns]),
            "value": np.concatenate([each.values for each in columns]),
        }
    )
    value = pl.col("value")
    with timed() as stopwatch:
        found = points.group_by("series", pl.col("times_ns") // MINUTE_NS).agg(
            pl.len().alias("points"),
            value.sum().alias("total"),
            value.min().alias("low"),
            value.max().alias("high"),
            value.quantile(0.95).alias("p95"),
            value.quantile(0.99).alias("p99"),
        )
    totals = (
        found.group_by("series").agg(pl.col("points").sum(), pl.col("total").sum()).sort("series")
    )
    return Outcome(
        {"points_per_s": stopwatch.per_s(len(points))},
        totals_check(totals["points"].to_numpy(), totals["total"].to_numpy()),
        ("one group-by over columns in memory, exact quantiles, no event time",),
    )


if __name__ == "__main__":
    serve({"windows": windows})
