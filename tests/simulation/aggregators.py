"""The scenario of aggregators: each point counts in exactly one window, whatever dies or moves.

Sources send points of the present and the past to shards, again when no answer comes, some of them
twice and out of order. Hosts crash, join and leave, shards move, and the disk with the windows
fails. A minute of event time passes in each virtual second, so that windows close and points become
late in a run. The sources keep their own accounts, and compare them with those of the shards at the
end.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final

import numpy as np

from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.props import props
from callboard.actors.metrics.aggregation.actor import MetricsAggregator
from callboard.actors.metrics.aggregation.messages import ReadShard
from callboard.actors.metrics.aggregation.reader import AggregatorsReader, SystemReader
from callboard.actors.metrics.aggregation.shard import ShardLimits
from callboard.actors.metrics.aggregation.storage import RemoteStorage, ThreadStorage
from callboard.actors.metrics.aggregation.store_actor import MetricsStoreActor
from callboard.actors.metrics.points import AppendPoints, MetricSource, PointBatch, SourceKind
from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.actors.metrics.series import Matcher, MatcherKind, MetricKind, SeriesKey
from callboard.messages.control.hosts import HostSpec
from callboard.messages.core.errors import CallboardError
from callboard.runtime.api.inside import root_of

from .nodes import unevenly_spread
from .run import Run
from .scenario_fixture import BUSY_S, ScenarioFixture, open_fixture, run_under_faults
from .window_disk import HEALTHY, WindowDisk, WindowFaults, window_store

__all__ = ["WindowChecker", "aggregators", "windows_stand"]

SHARDS: Final = 4
JOINS: Final = 0.6
"""The share of runs in which a host joins."""
SPREAD_S: Final = 30.0
SECOND_NS: Final = 1_000_000_000
BEGIN_NS: Final = 1_700_000_000 * SECOND_NS
FASTER: Final = 60
"""Seconds of wall time in a virtual second."""
STANDS_S: Final = 5.0
"""When the wall clock stands still, in virtual time: a system at rest closes no more windows."""
BACK_S: Final = 240.0
"""How far behind the present points are, in wall time: some are late."""
SOURCES: Final = 3
BATCHES_MAX: Final = 8
POINTS_MAX: Final = 6
SERIES: Final = 3
TRIES_MAX: Final = 400
AGAIN_S: Final = 0.1
NEVER_S: Final = 1e9
TICK_S: Final = 1.5
ALWAYS: Final = (-(2**62), 2**62)
LIMITS: Final = ShardLimits(log_bytes=600, log_share=0.5)
"""Small, so that whole states are committed, too."""


def world_clock_ns() -> int:
    """The wall clock of the world whose step this is."""
    loop: Any = asyncio.get_running_loop()
    now_s: float = min(loop.world.now_s, STANDS_S)
    return BEGIN_NS + round(now_s * FASTER * SECOND_NS)


class WindowChecker:
    """The accounts of all sources."""

    def __init__(self, fixture: ScenarioFixture, storage: Any) -> None:
        self.run: Final = fixture.run
        self._fixture = fixture
        self._storage = storage
        self.sent: Final[dict[int, Counter[tuple[SeriesKey, int]]]] = {
            shard: Counter() for shard in range(SHARDS)
        }
        """For each shard the acknowledged points of each series and minute."""

    @staticmethod
    async def start(fixture: ScenarioFixture) -> "WindowChecker":
        """Start aggregators over a disk, which they use directly or through an actor."""
        run = fixture.run
        disk = run.message_log.window_disk = WindowDisk(run.draw)
        faults = _draw_faults(run.draw)
        store: Any = window_store
        storage: Any = ThreadStorage(window_store())
        if run.draw() < 0.5:
            store = await fixture.system.spawn(props(MetricsStoreActor, window_store), host=1)
            storage = RemoteStorage(store)
        made = props(MetricsAggregator, store, limits=LIMITS, clock_ns=world_clock_ns)
        await fixture.system.keyed(made, idle_s=0.4 if run.draw() < 0.3 else NEVER_S, shares=SHARDS)
        disk.faults = faults
        run.world.at(run.world.now_s + BUSY_S, setattr, disk, "faults", HEALTHY)
        return WindowChecker(fixture, storage)

    def activities(self, count: int) -> list[Coroutine[Any, Any, None]]:
        """So many sources that send points."""
        return [PointSource(self._fixture, self, number).run() for number in range(count)]

    async def check(self) -> None:
        """Compare the windows with the accounts, once the system has healed."""
        ask = self._fixture.system.ask
        reader = SystemReader(AggregatorsReader(ask, SHARDS), self._storage)
        for shard, sent in self.sent.items():
            if not sent:
                continue
            figures = (await _tried(lambda shard=shard: ask(ReadShard(shard=shard)))).figures
            outcomes = {
                name: int(value)
                for name, value in figures.items()
                if name in ("counted", "late", "lost") or name.startswith("dropped_")
            }
            if sum(outcomes.values()) != sent.total():
                self.run.complain(
                    "points_count_once",
                    f"shard {shard}: {sent.total()} points were acknowledged, and {outcomes}",
                )
            mine = [Matcher("shard", MatcherKind.IS, str(shard))]
            for width_ns in WINDOWS_NS:
                rows = await _tried(
                    lambda mine=mine, width_ns=width_ns: reader.windows(
                        mine, width_ns, *ALWAYS, 10_000
                    )
                )
                if int(rows.counts.sum()) != outcomes["counted"]:
                    self.run.complain(
                        "windows_have_all_points",
                        f"shard {shard}: {outcomes['counted']} points counted, and windows of "
                        f"{width_ns // SECOND_NS} s have {rows.counts.tolist()}",
                    )
                if width_ns == WINDOWS_NS[0]:
                    self._check_minutes(shard, rows)
        await self._check_places()
        self.run.check_now()

    async def _check_places(self) -> None:
        """After a quiet time, hosts differ by one shard at most."""
        system, until_s = self._fixture.system, self.run.world.now_s + SPREAD_S
        problem = unevenly_spread(system, AppendPoints.contract_name)
        while problem and self.run.world.now_s < until_s:
            await asyncio.sleep(AGAIN_S)
            problem = unevenly_spread(system, AppendPoints.contract_name)
        if problem:
            self.run.complain("shards_are_spread", problem)

    def _check_minutes(self, shard: int, rows: Any) -> None:
        for row in range(len(rows)):
            key = rows.series[rows.series_index[row]]
            minute = int(rows.starts_ns[row]) // WINDOWS_NS[0]
            if rows.counts[row] > self.sent[shard][key, minute]:
                self.run.complain(
                    "points_count_once",
                    f"shard {shard}: {rows.counts[row]} points of {key} in minute {minute}, and "
                    f"{self.sent[shard][key, minute]} were sent",
                )


async def _tried(ask: Any) -> Any:
    """The answer to a question to a healed system; a shard may still be on its way."""
    for _ in range(TRIES_MAX):
        try:
            return await ask()
        except CallboardError:
            await asyncio.sleep(AGAIN_S)
    return await ask()


class PointSource:
    """One source of points for one shard: it sends until all are acknowledged."""

    def __init__(self, fixture: ScenarioFixture, checker: WindowChecker, number: int) -> None:
        self._fixture = fixture
        self._checker = checker
        self._draw = fixture.draw
        self._shard = int(fixture.draw() * SHARDS)
        self._source = MetricSource(kind=SourceKind.SERVICE, name=f"source-{number}")
        self._keys = tuple(
            SeriesKey(MetricKind.COUNTER, "events", (("n", str(n)), ("shard", str(self._shard))))
            for n in range(SERIES)
        )
        self._points: list[tuple[int, int]] = []
        """Series and time of each point."""
        self._accepted = 0

    async def run(self) -> None:
        """Send batches at random times, the next one often before the last is acknowledged."""
        draw = self._draw
        sends = []
        for _ in range(1 + int(draw() * BATCHES_MAX)):
            await self._fixture.later(BUSY_S / 3)
            first = len(self._points)
            for _ in range(1 + int(draw() * POINTS_MAX)):
                time_ns = world_clock_ns() - round(BACK_S * draw() ** 2 * SECOND_NS)
                self._points.append((int(draw() * SERIES), time_ns))
            sends.append(asyncio.ensure_future(self._send(first, len(self._points))))
            if draw() < 0.3:
                # Once more, perhaps with others, perhaps before the first time.
                again = int(draw() * (first + 1))
                sends.append(asyncio.ensure_future(self._send(again, len(self._points))))
            if draw() < 0.4:
                await asyncio.wait(sends)
        await asyncio.gather(*sends)
        if self._accepted < len(self._points):
            await self._send(self._accepted, len(self._points))
        minutes = ((self._keys[n], time_ns // WINDOWS_NS[0]) for n, time_ns in self._points)
        self._checker.sent[self._shard].update(minutes)

    async def _send(self, first: int, end: int) -> None:
        system, draw = self._fixture.system, self._draw
        for _ in range(TRIES_MAX):
            request = AppendPoints(shard=self._shard, batch=self._batch(first, end))
            before = self._accepted
            try:
                answer = await system.ask(request, timeout_s=0.3 + 2.0 * draw())
            except CallboardError:
                await asyncio.sleep(AGAIN_S * draw())
                continue
            if answer.sequence < before:
                self._checker.run.complain(
                    "acknowledged_stays",
                    f"{self._source.name}: {before} points were acknowledged, now "
                    f"{answer.sequence}",
                )
            self._accepted = max(self._accepted, answer.sequence)
            if answer.sequence >= end:
                return
            first = min(first, answer.sequence)
            await asyncio.sleep(AGAIN_S * draw())
        self._checker.run.complain("it_ends", f"{self._source.name} sends {first} to {end} forever")

    def _batch(self, first: int, end: int) -> PointBatch:
        points = self._points[first:end]
        return PointBatch(
            source=self._source,
            sequence=first,
            first_series=0,
            new_series=self._keys,
            series=np.array([n for n, _ in points], np.int32),
            times_ns=np.array([time_ns for _, time_ns in points], np.int64),
            values=np.ones(len(points)),
            watermark_ns=world_clock_ns() - round(BACK_S * self._draw() * SECOND_NS),
        )


def _draw_faults(draw: Any) -> WindowFaults:
    if draw() < 0.3:
        return HEALTHY
    return WindowFaults(
        write_max_s=0.2 * draw() ** 2,
        unavailable=0.4 * draw() ** 2,
        full=0.2 * draw() ** 2,
        unknown=0.4 * draw() ** 2,
    )


async def join(fixture: ScenarioFixture) -> None:
    """A host joins, or none, and sometimes leaves again in order."""
    draw, root = fixture.draw, root_of(fixture.system)
    if draw() >= JOINS:
        return
    await fixture.later(BUSY_S)
    slot = root.table.add_slot("")
    slot.name = f"host-{slot.number}"
    with contextlib.suppress(CallboardError):  # A fault: its process does not start.
        await root.hosts.add(slot, HostSpec(slot.name))
    if slot.number in root.table.slots and draw() < 0.3:
        await fixture.later(2.0 * BUSY_S)
        slot.is_leaving = True
        root.registrar.directory_changed()
        with contextlib.suppress(CallboardError):
            await root.registrar.spreading.leave(slot)
        with contextlib.suppress(CallboardError):
            await root.hosts.remove(slot)


async def aggregators(run: Run) -> None:
    """Sources of points, aggregators that die and move, and a disk that fails."""
    async with open_fixture(run) as fixture:
        checker = await WindowChecker.start(fixture)
        activities = (*checker.activities(SOURCES), join(fixture))
        await run_under_faults(fixture, *activities, is_idle=windows_stand)
        await checker.check()


def windows_stand(host: Host) -> bool:
    """Whether aggregators have nothing to do any more: before, the timer closes windows."""
    loop: Any = host.loop
    return bool(loop.world.now_s > STANDS_S + TICK_S)
