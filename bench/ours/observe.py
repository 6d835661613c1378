"""`observe`: what one call of a meter costs where an agent makes it, and the flush after it.

And what traces cost an ask, if they are installed.
"""

import time

import numpy as np

from bench.outcome import Outcome, Params
from bench.recording import ns_per_call, observed_check
from bench.timing import timed
from bench.traced import can_trace, trace_figures
from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.recording.meter import HostMeter

__all__ = ["run"]

COLUMN: int = 65_536
"""Points of one call of `record`."""


def run(params: Params) -> Outcome:
    """Each way to record, with the meter of a host, in the thread of its event loop."""
    meter, calls = HostMeter(time.time), params["calls"]
    meter.start()
    taken: list[PointColumns] = []

    def take() -> None:
        taken.append(meter.take())

    def drop() -> None:
        meter.take()

    bound = meter.bind_histogram("took_seconds", step="bench")
    counter = meter.bind_counter("calls_total", step="bench")
    gauge = meter.bind_gauge("depth", step="bench")
    figures = {
        "observe_ns": ns_per_call(bound.observe, calls, take),
        "unbound_observe_ns": ns_per_call(
            lambda value: meter.observe("took_seconds", value, step="bench"), calls, drop
        ),
        "count_ns": ns_per_call(counter.add, calls, drop),
        "unbound_count_ns": ns_per_call(
            lambda value: meter.count("calls_total", value, step="bench"), calls, drop
        ),
        "gauge_ns": ns_per_call(gauge.set, calls, drop),
    }
    columns = params["columns"]
    now_ns = np.full(COLUMN, time.time_ns())
    values = np.arange(COLUMN, dtype=np.float64)
    with timed() as stopwatch:
        for _ in range(columns):
            meter.record(bound, now_ns, values)
            meter.take()
    figures["columns_points_per_s"] = stopwatch.per_s(columns * COLUMN)
    for value in range(calls):
        bound.observe(value)
    with timed() as stopwatch:
        meter.take()
    figures["flush_per_point_ns"] = stopwatch.elapsed_ns / calls
    meter.stop()
    figures["off_ns"] = ns_per_call(bound.observe, calls, drop)
    if can_trace():
        figures |= trace_figures(params["asks"])
    count = sum(each.points for each in taken)
    total = sum(float(each.values.sum()) for each in taken)
    return Outcome(
        figures,
        observed_check(count, total),
        (
            "with the loop around the call; flush_per_point: the columns of single points",
            "ask: processor time, of the thread that sends spans too; a traced ask has two spans",
        ),
    )
