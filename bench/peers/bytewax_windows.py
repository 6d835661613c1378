"""Bytewax: `ingest`, as in its guide to windows: event time, tumbling windows of a minute, a fold.

Its windows have count, sum, minimum and maximum, but no quantiles, and stay in memory. One worker,
since each further one takes a core that ours has not either; points come in batches.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.recording import column_of, ingested_check
from bench.timing import NS_PER_S

__all__: list[str] = []

BATCH = 4_096
Point = tuple[str, tuple[datetime, float]]


class Points(StatelessSourcePartition[Point]):
    """Gives the points in batches, each with the present time."""

    def __init__(self, points: int) -> None:
        which, values = column_of(points)
        self._names = [str(number) for number in which.tolist()]
        self._values = values.tolist()
        self._next = 0

    def next_batch(self) -> list[Point]:
        """The next points. Raises `StopIteration` after the last one."""
        begin, end = self._next, self._next + BATCH
        if begin >= len(self._names):
            raise StopIteration
        self._next = end
        now = datetime.now(UTC)
        return [
            (name, (now, value))
            for name, value in zip(self._names[begin:end], self._values[begin:end], strict=True)
        ]


class PointSource(DynamicSource[Point]):
    """The source of the one worker."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Points:
        """Its part."""
        return self._points


class Windows(StatelessSinkPartition[Any]):
    """Counts what the windows have."""

    def __init__(self) -> None:
        self.points = 0
        self.series: set[str] = set()

    def write_batch(self, items: Sequence[Any]) -> None:
        """Take closed windows."""
        for name, (_, (count, _, _, _)) in items:
            self.points += count
            self.series.add(name)


class WindowSink(DynamicSink[Any]):
    """The sink of the one worker."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Windows:
        """Its part."""
        return self._windows


Sums = tuple[int, float, float, float]


def _none() -> Sums:
    return 0, 0.0, float("inf"), float("-inf")


def _fold(sums: Sums, point: tuple[datetime, float]) -> Sums:
    count, total, least, most = sums
    value = point[1]
    return count + 1, total + value, min(least, value), max(most, value)


def _merge(one: Sums, other: Sums) -> Sums:
    return one[0] + other[0], one[1] + other[1], min(one[2], other[2]), max(one[3], other[3])


def ingest(params: Params) -> Outcome:
    """All points, from the source to the end of the last window."""
    points, windows = Points(params["points"]), Windows()
    flow = Dataflow("ingest")
    stream = op.input("points", flow, PointSource(points))
    clock: Any = win.EventClock(
        lambda point: point[0], wait_for_system_duration=timedelta(minutes=1)
    )
    windower = win.TumblingWindower(
        length=timedelta(minutes=1), align_to=datetime(2020, 1, 1, tzinfo=UTC)
    )
    folded = win.fold_window("fold", stream, clock, windower, _none, _fold, _merge, ordered=False)
    op.output("windows", folded.down, WindowSink(windows))
    begun_ns = time.perf_counter_ns()
    run_main(flow)
    seconds = (time.perf_counter_ns() - begun_ns) / NS_PER_S
    return Outcome(
        {"shards_1_points_per_s": params["points"] / seconds},
        ingested_check(windows.points / params["points"], float(len(windows.series))),
    )


if __name__ == "__main__":
    serve({"ingest": ingest})
