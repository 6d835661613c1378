"""duckdb: `windows`, as one query over a table that is in memory, on one thread."""

import duckdb
import numpy as np

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.timing import timed
from bench.windows import MINUTE_NS, batches, totals_check

__all__: list[str] = []

QUERY = """
create or replace table windows as
select series, times_ns // {minute} as minute, count(*) as points, sum(value) as total,
       min(value) as low, max(value) as high, {p95} as p95, {p99} as p99
from points group by series, minute
"""
QUANTILES = {
    "points_per_s": "approx_quantile(value, {q})",
    "exact_points_per_s": "quantile_cont(value, {q})",
}


def windows(params: Params) -> Outcome:
    """All windows of a minute at once: with approximate quantiles, and with exact ones."""
    columns = list(batches(params["series"], params["points"], params["batch"]))
    points = {
        "series": np.concatenate([each.series for each in columns]),
        "times_ns": np.concatenate([each.times_ns for each in columns]),
        "value": np.concatenate([each.values for each in columns]),
    }
    connection = duckdb.connect(config={"threads": 1})
    connection.register("given", points)
    connection.execute("create table points as select * from given")
    figures = {}
    for figure, quantile in QUANTILES.items():
        query = QUERY.format(
            minute=MINUTE_NS, p95=quantile.format(q=0.95), p99=quantile.format(q=0.99)
        )
        with timed() as stopwatch:
            connection.execute(query)
        figures[figure] = stopwatch.per_s(len(points["value"]))
    totals = connection.execute(
        "select sum(points), sum(total) from windows group by series order by series"
    ).fetchnumpy()
    counts, sums = totals.values()
    notes = (
        "one query over a table in memory, no event time; points_per_s: approximate quantiles",
    )
    return Outcome(figures, totals_check(counts, sums), notes)


if __name__ == "__main__":
    serve({"windows": windows})
