"""`ingest`: points that agents record, over links, into windows that are on disk.

Each host has an agent that records columns of points as fast as there is room. The time ends when
every point is in a durable window. It is measured for several numbers of aggregators.

Then the same parts without processes, links and disk, one after the other on one core, for up to
64 hosts: the traffic of a second, and how many points a second all of them make.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

import callboard
from bench.outcome import Outcome, Params
from bench.recording import SERIES, column_of, ingested_check
from bench.timing import NS_PER_S
from callboard import Agent, Context, Contract, Request, System, handler
from callboard.actors.metrics.recording.extension import Recorder
from callboard.actors.metrics.recording.options import RecordingLimits, RecordingOptions
from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.actors.metrics.series import Matcher, MatcherKind
from callboard.runtime.api.inside import host_of

from .ingest_simulated import simulate

__all__ = ["run"]

COLUMN: Final = 65_536
WAIT_S: Final = 120.0
NAME: Final = "bench_seconds"
LIMITS: Final = RecordingLimits(points_max=2_000_000)


class Recorded(Contract):
    """What one agent has recorded."""

    points: int


class RecordPoints(Request[Recorded]):
    """Record so many points of all series."""

    points: int


class Source(Agent):
    """Records columns of points."""

    @handler
    async def record(self, request: RecordPoints, ctx: Context) -> Recorded:
        """Record them, and wait whenever half of the room is used."""
        meter = ctx.meter
        series = [meter.bind_histogram(NAME, series=str(number)) for number in range(SERIES)]
        left = request.points
        which, values = column_of(min(COLUMN, left))
        while left:
            await meter.until_room(WAIT_S)
            count = min(COLUMN, left)
            times_ns = np.full(count, time.time_ns())
            left -= meter.record(series, times_ns, values[:count], which[:count])
        return Recorded(points=request.points)


def run(params: Params) -> Outcome:
    """Each number of shards in a system of its own."""
    figures: dict[str, float] = {}
    checks = set()
    for shards in (int(text) for text in str(params["shards"]).split("-")):
        with tempfile.TemporaryDirectory(prefix="callboard-ingest-") as folder:
            found, check = _measure(params, shards, Path(folder))
        figures |= found
        checks.add(check)
    assert len(checks) == 1, "the windows depend on the number of shards"
    for hosts in (int(text) for text in str(params["simulated"]).split("-")):
        figures |= simulate(hosts, shards=4, seconds=params["seconds"])
    return Outcome(figures, checks.pop(), (f"columns of {COLUMN} points, {SERIES} series a host",))


def _measure(params: Params, shards: int, folder: Path) -> tuple[dict[str, float], str]:
    async def main(system: System) -> tuple[dict[str, float], str]:
        hosts = params["hosts"]
        agents = [await system.spawn(Source, host=number + 1) for number in range(hosts)]
        each = params["points"] // hosts
        for agent in agents:  # The series are defined, and the stores are open.
            await agent.ask(RecordPoints(points=params["warm_up"]), timeout_s=WAIT_S)
        assert await system.metrics.flush(WAIT_S) == 0
        begun_ns = time.perf_counter_ns()
        asks = [agent.ask(RecordPoints(points=each), timeout_s=WAIT_S) for agent in agents]
        for ask in asks:
            await ask
        assert await system.metrics.flush(60.0) == 0, "points are left"
        seconds = (time.perf_counter_ns() - begun_ns) / NS_PER_S
        rows = await system.metrics.reader.windows(
            [Matcher("__name__", MatcherKind.IS, NAME)], WINDOWS_NS[0], 0, 2**62, 1_000_000
        )
        total = hosts * (each + params["warm_up"])
        check = ingested_check(int(rows.counts.sum()) / total, len(rows.series) / hosts)
        recorded = host_of(system).extension(Recorder).statistics()
        assert not recorded.get("dropped_full")
        return {
            f"shards_{shards}_points_per_s": hosts * each / seconds,
            f"bytes_per_point_{shards}_shards": _size(folder) / total,
        }, check

    options = RecordingOptions(shards=shards, limits=LIMITS)
    return callboard.run(
        main,
        engine=params.get("engine", "ray"),
        hosts=params["hosts"],
        standbys=0,
        journal="off",
        metrics=str(folder / "metrics.db"),
        recording=options,
    )


def _size(folder: Path) -> int:
    sizes: Sequence[int] = [path.stat().st_size for path in folder.iterdir()]
    return sum(sizes)
