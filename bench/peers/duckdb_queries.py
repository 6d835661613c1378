"""DuckDB over a table of the same windows, sorted by series and time: `metrics_query`.

It keeps counts and sums; it has no quantiles of windows.
"""

import statistics
import time
from typing import Any

import duckdb
import numpy as np

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.window_queries import HOURS_A_DAY, POINTS, answers_check, hour_sum

__all__: list[str] = []

ONE = "SELECT hour, sum(total) FROM windows WHERE series = 0 GROUP BY hour ORDER BY hour"
TOP = (
    "SELECT series, sum(total) AS whole FROM windows WHERE hour >= $1 "
    "GROUP BY series ORDER BY whole DESC LIMIT 10"
)


def metrics_query(params: Params) -> Outcome:
    """Fill a table, and ask both questions."""
    hours = params["days"] * HOURS_A_DAY
    connection = duckdb.connect()
    connection.execute("SET threads TO 2")
    _fill(connection, params["series"], hours)

    def one() -> list[Any]:
        return connection.execute(ONE).fetchall()

    def top() -> list[Any]:
        return connection.execute(TOP, [hours - HOURS_A_DAY]).fetchall()

    figures = {
        "one_series_p50_ms": _median_ms(params["many"], one),
        "top_10_p50_ms": _median_ms(params["few"], top),
    }
    check = answers_check([row[1] for row in one()], [(row[0], row[1]) for row in top()])
    connection.close()
    return Outcome(figures, check, ("in memory, sums only",))


def _fill(connection: Any, series: int, hours: int) -> None:
    columns = {
        "series": np.repeat(np.arange(series), hours),
        "hour": np.tile(np.arange(hours), series),
        "points": np.full(series * hours, POINTS),
        "total": np.array([hour_sum(key, hour) for key in range(series) for hour in range(hours)]),
    }
    connection.register("given", columns)
    connection.execute("CREATE TABLE windows AS SELECT * FROM given ORDER BY series, hour")
    connection.unregister("given")


def _median_ms(count: int, ask: Any) -> float:
    ask()
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        ask()
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


if __name__ == "__main__":
    serve({"metrics_query": metrics_query})
