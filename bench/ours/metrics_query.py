"""`metrics_query`: one series over 30 days at 1 h, and the top 10 of 1,000 series over a day.

The windows are in a store on disk, and, for the figures `in_memory_…`, in a reader in memory. Each
question is asked as a query by name, and as an expression; `p99` merges the sketches of windows.
"""

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from bench.loop import run_on_fastest_loop
from bench.outcome import Outcome, Params
from bench.stores import store_for
from bench.window_queries import HOURS_A_DAY, POINTS, START_S, answers_check, hour_sum
from callboard.actors.metrics.ports import WindowReader
from callboard.actors.metrics.query.columns import join_rows
from callboard.actors.metrics.query.promql.evaluator import ExpressionEvaluator
from callboard.actors.metrics.query.range_query import (
    MetricsQuery,
    QueryResult,
    function_named,
    run_query,
)
from callboard.actors.metrics.query.readers import MemoryWindows
from callboard.actors.metrics.query.window_samples import WindowSamples
from callboard.actors.metrics.rows import WINDOWS_NS, WindowRows
from callboard.actors.metrics.series import Matcher, MatcherKind, MetricKind, SeriesKey, series_key
from callboard.actors.metrics.sketch import SketchColumns, keys_of
from callboard.runtime.api.metrics import open_windows
from callboard.runtime.stores.choose import metrics_storage

__all__ = ["run"]

HOUR_NS: Final = WINDOWS_NS[2]
START_NS: Final = START_S * 1_000_000_000
BINS: Final = 8
"""Of each sketch."""
NAME: Final = "work_seconds"


class Questions(NamedTuple):
    """Both questions, each as a query and with p99."""

    one: MetricsQuery
    one_p99: MetricsQuery
    top: MetricsQuery
    top_p99: MetricsQuery


def run(params: Params) -> Outcome:
    """Fill a store and a reader in memory, and ask both."""
    with (
        tempfile.TemporaryDirectory(prefix="callboard-query-") as folder,
        store_for(params, Path(folder)) as (url, size_bytes),
    ):
        memory = _fill(params, url)
        note = f"{size_bytes() / (params['series'] * params['days'] * HOURS_A_DAY):.0f} bytes on "
        return run_on_fastest_loop(_run(params, url, memory, note + "disk for each window"))


async def _run(params: Params, url: str, memory: MemoryWindows, note: str) -> Outcome:
    figures = {
        f"in_memory_{name}": value for name, value in (await _figures(params, memory)).items()
    }
    async with open_windows(url) as reader:
        figures |= await _figures(params, reader)
        questions = _questions(params)
        one, top = await run_query(reader, questions.one), await run_query(reader, questions.top)
    return Outcome(figures, _check(one, top), (note,))


def _check(one: QueryResult, top: QueryResult) -> str:
    numbers = [int(dict(series.tags)["series"]) for series in top.series]
    return answers_check(
        one.values[0].tolist(), list(zip(numbers, top.totals.tolist(), strict=True))
    )


async def _figures(params: Params, reader: WindowReader) -> dict[str, float]:
    questions = _questions(params)
    evaluator = ExpressionEvaluator(WindowSamples(reader))
    one, top = questions.one, questions.top
    expression = f'sum_over_time({NAME}{{series="0"}}[1h])'
    ranked = f"topk(10, sum_over_time({NAME}[1d]))"

    async def in_language() -> None:
        await evaluator.range(expression, one.from_ns + HOUR_NS, one.to_ns, HOUR_NS)

    async def ranked_in_language() -> None:
        await evaluator.instant(ranked, top.to_ns)

    many, few = params["many"], params["few"]
    return {
        "one_series_p50_ms": await _median_ms(many, lambda: run_query(reader, one)),
        "one_series_p99_quantile_p50_ms": await _median_ms(
            many, lambda: run_query(reader, questions.one_p99)
        ),
        "one_series_expression_p50_ms": await _median_ms(many, in_language),
        "top_10_p50_ms": await _median_ms(few, lambda: run_query(reader, top)),
        "top_10_p99_quantile_p50_ms": await _median_ms(
            few, lambda: run_query(reader, questions.top_p99)
        ),
        "top_10_expression_p50_ms": await _median_ms(few, ranked_in_language),
    }


async def _median_ms(count: int, ask: Callable[[], Awaitable[object]]) -> float:
    await ask()
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        await ask()
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def _questions(params: Params) -> Questions:
    end = START_NS + params["days"] * HOURS_A_DAY * HOUR_NS
    chosen = (Matcher("series", MatcherKind.IS, "0"),)
    total, p99 = function_named("sum"), function_named("p99")
    day = end - HOURS_A_DAY * HOUR_NS
    return Questions(
        *(MetricsQuery(NAME, chosen, START_NS, end, HOUR_NS, each) for each in (total, p99)),
        *(MetricsQuery(NAME, (), day, end, HOUR_NS, each, top=10) for each in (total, p99)),
    )


# --- windows ------------------------------------------------------------------------------------


def _fill(params: Params, url: str) -> MemoryWindows:
    """The same windows in the store and in memory, as they close: a day at a time."""
    keys = tuple(
        series_key(MetricKind.OBSERVATION, NAME, {"series": f"{number}"})
        for number in range(params["series"])
    )
    days = [_day(keys, number) for number in range(params["days"])]
    store = metrics_storage(url)
    store.open()
    store.claim(0, 1)
    for rows in days:
        store.commit(0, 1, windows=[rows])
    store.close()
    return MemoryWindows([join_rows(HOUR_NS, days)])


def _day(keys: tuple[SeriesKey, ...], day: int) -> WindowRows:
    hours = range(day * HOURS_A_DAY, (day + 1) * HOURS_A_DAY)
    sums = np.array([[hour_sum(number, hour) for hour in hours] for number in range(len(keys))])
    means = sums.reshape(-1) / POINTS
    count = len(means)
    bins = keys_of(means)[:, None] + np.arange(BINS, dtype=np.int32)
    starts = START_NS + HOUR_NS * np.array(hours, np.int64)
    return WindowRows(
        HOUR_NS,
        keys,
        np.repeat(np.arange(len(keys), dtype=np.int32), HOURS_A_DAY),
        np.tile(starts, len(keys)),
        np.full(count, POINTS),
        sums.reshape(-1).astype(np.float64),
        means * 0.9,
        means * 1.3,
        np.full(count, np.nan),
        np.ones(count, np.int32),
        np.zeros(count, np.uint8),
        SketchColumns(
            np.arange(count + 1, dtype=np.int64) * BINS,
            bins.reshape(-1).astype(np.int32),
            np.full(count * BINS, POINTS // BINS),
        ),
    )
