"""Recording on real processes: kill -9 of an aggregator's host loses and repeats no point."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import callboard
from callboard import Agent, Context, Contract, Request, System, handler
from callboard.actors.metrics.recording.options import RecordingOptions
from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.actors.metrics.series import Matcher, MatcherKind

POINTS = 200_000
COLUMN = 20_000
ROUNDS = 2
WAIT_S = 60.0


class Recorded(Contract):
    points: int


class Record(Request[Recorded]):
    points: int


class Source(Agent):
    @handler
    async def record(self, request: Record, ctx: Context) -> Recorded:
        """Record columns as fast as there is room."""
        series = [ctx.meter.bind_histogram("work_seconds", n=str(n)) for n in range(10)]
        which = np.arange(COLUMN) % len(series)
        left = request.points
        while left:
            await ctx.meter.until_room(WAIT_S)
            times = np.full(COLUMN, time.time_ns())
            left -= ctx.meter.record(series, times, np.ones(COLUMN), which)
        return Recorded(points=request.points)


@pytest.mark.ray
@pytest.mark.soak
async def test_points_count_once_although_the_aggregator_is_killed(tmp_path: Path) -> None:
    async with callboard.start(
        hosts=2,
        standbys=1,
        journal="off",
        metrics=str(tmp_path / "metrics.db"),
        recording=RecordingOptions(shards=1, flush_s=0.05, timeout_s=5.0),
    ) as system:
        aggregating = (await system.metrics.figures())[0].host
        hosts = [view.name for view in (await system.view()).hosts if view.slot > 0]
        other = next(name for name in hosts if name != aggregating)
        source = await system.spawn(Source, host=other)
        for _ in range(ROUNDS):
            recording = source.ask(Record(points=POINTS), timeout_s=WAIT_S)
            await source.ask(Record(points=COLUMN), timeout_s=WAIT_S)
            os.kill(await pid_of(system, aggregating), signal.SIGKILL)
            await recording
            assert await system.metrics.flush(WAIT_S) == 0
        rows = await system.metrics.reader.windows(
            [Matcher("__name__", MatcherKind.IS, "work_seconds")], WINDOWS_NS[0], 0, 2**62, 10_000
        )
        assert int(rows.counts.sum()) == ROUNDS * (POINTS + COLUMN)
        assert float(rows.sums.sum()) == ROUNDS * (POINTS + COLUMN)


async def pid_of(system: System, host: str) -> int:
    """The process of a host, once it runs."""
    while True:
        for view in (await system.view(actors_max=0)).hosts:
            if view.name == host and view.pid:
                return view.pid
