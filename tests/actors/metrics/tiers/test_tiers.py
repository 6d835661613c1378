"""The tiers on a real SQLite file and a real folder: rounds, crashes at every call, kill -9."""

import contextlib
import dataclasses
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from callboard.actors.metrics.query.columns import combine_rows, take_rows
from callboard.actors.metrics.query.missing import allow_missing
from callboard.actors.metrics.query.range_query import MetricsQuery, function_named, run_query
from callboard.actors.metrics.query.readers import CombinedReader
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, MatcherKind
from callboard.actors.metrics.tiers.core import PlanLimits
from callboard.actors.metrics.tiers.reader import SegmentReader
from callboard.actors.metrics.tiers.rules import DEFAULT_RULES, OWNER, dataset_of
from callboard.actors.metrics.tiers.tiers import MetricTiers
from callboard.actors.storage.core import MoveLimits
from callboard.actors.storage.moves import MoveKind
from callboard.actors.storage.segments import SegmentState
from callboard.messages.core.errors import StoreFailed, UsageError
from callboard.messages.storage.errors import StoreUnavailable
from callboard.runtime.objects.local import LocalObjectStore
from callboard.runtime.objects.parquet import ParquetWindows
from callboard.runtime.stores.sqlite.catalogue import SqliteCatalogue
from callboard.runtime.stores.sqlite.hot_windows import SqliteHotWindows
from callboard.runtime.stores.sqlite.windows import SqliteMetricsStorage
from tests.runtime.objects.window_rows import MINUTE_NS, equal_rows, many_rows
from tests.simulation.plain_rows import Crash, Crashes

HOUR_NS: Final = 60 * MINUTE_NS
DAY_S: Final = 86_400.0
SHARD: Final = 3
FIVE_NS: Final = 5 * MINUTE_NS
LIMITS: Final = MoveLimits(lease_s=60.0, orphan_s=100.0)
EVER: Final = (-(2**62), 2**62)


class Reader:
    """The hot store as a `WindowReader`."""

    def __init__(self, hot: SqliteMetricsStorage) -> None:
        self._hot = hot

    async def extents(self) -> Any:
        return self._hot.extents()

    async def series(self, *values: Any) -> Any:
        return self._hot.series(*values)

    async def windows(self, *values: Any) -> WindowRows:
        return self._hot.windows(*values)


class World:
    """A file, a folder, and a clock; and processes on them."""

    def __init__(self, folder: Path, form: ParquetWindows) -> None:
        self.folder = folder
        self.place = str(folder / "objects")
        self.now = 100 * DAY_S
        self.form = form
        self.fence = 0
        self.hot = SqliteMetricsStorage(folder / "metrics.db", durability="off")
        self.hot.open()
        self.hot.claim(SHARD, 1)
        self.expected: dict[int, WindowRows] = {}
        self.tiers = self.process(Crashes())

    def process(self, crashes: Crashes) -> MetricTiers:
        """The tiers as a new process has them."""
        self.fence += 1
        catalogue = SqliteCatalogue(
            self.folder / "metrics.db", owner=OWNER, hot=SqliteHotWindows(), durability="off"
        )
        store = LocalObjectStore(self.folder / "objects", durability="off")
        hot = SqliteMetricsStorage(self.folder / "metrics.db", durability="off")
        tiers = MetricTiers(
            hot,
            crashes.wrap(catalogue),
            {self.place: crashes.wrap(store)},
            self.form,
            rules=[dataclasses.replace(rule, location=self.place) for rule in DEFAULT_RULES],
            fence=self.fence,
            move_limits=LIMITS,
            plan_limits=PlanLimits(small_segments=2),
            wall_time=lambda: self.now,
        )
        hot.open()
        catalogue.open()
        store.open()
        catalogue.claim(self.fence)
        return tiers

    def add(self, rows: WindowRows, days_ago: float, revision: int = 1) -> None:
        """Commit windows as an aggregator does."""
        begin = int((self.now - days_ago * DAY_S) * 10**9) // (24 * HOUR_NS) * 24 * HOUR_NS
        rows = dataclasses.replace(
            rows,
            starts_ns=rows.starts_ns + begin,
            revisions=np.full(len(rows), revision, np.int32),
        )
        self.hot.commit(SHARD, 1, windows=[rows])
        parts = [rows, self.expected.get(rows.width_ns, WindowRows.empty(rows.width_ns))]
        self.expected[rows.width_ns] = combine_rows(rows.width_ns, parts)

    def expire(self, width_ns: int, days_ago: float) -> None:
        rows = self.expected[width_ns]
        ends = rows.starts_ns + width_ns
        stays = ends > int((self.now - days_ago * DAY_S) * 10**9)
        self.expected[width_ns] = take_rows(rows, np.flatnonzero(stays))

    async def check(self) -> None:
        """A reader finds each window once."""
        reader = self.tiers.reader()
        combined = CombinedReader([Reader(self.hot), reader])
        try:
            for width_ns, rows in self.expected.items():
                found = await combined.windows((), width_ns, *EVER, 10**6)
                assert equal_rows(found, rows)
                series = await combined.series((), *EVER, 10**6)
                assert series == tuple(
                    sorted({key for r in self.expected.values() for key in r.series})
                )
        finally:
            await reader.close()

    def files(self) -> set[str]:
        return {each.name for each in LocalObjectStore(self.folder / "objects").objects()}


@pytest.fixture(scope="module")
def form() -> Iterator[ParquetWindows]:
    made = ParquetWindows()
    yield made
    made.close()


@pytest.fixture
def world(tmp_path: Path, form: ParquetWindows) -> World:
    return World(tmp_path, form)


async def test_windows_go_through_all_tiers_and_are_read_once_throughout(world: World) -> None:
    world.add(many_rows(3, 180, 4), 3)
    world.add(many_rows(3, 36, 20, FIVE_NS), 3)
    await world.check()
    first = world.tiers.round()
    assert (first.planned, first.switched, first.open_moves) == (4, 4, 0)
    assert len(world.hot.windows((), MINUTE_NS, *EVER, 10**6)) == 0
    await world.check()
    world.add(many_rows(3, 5, 5), 3, revision=2)  # Corrections of what has moved.
    await world.check()
    world.tiers.round()
    second = world.tiers.round()
    assert second.open_moves  # The merged sources wait for the end of the leases.
    assert len(world.tiers.catalogue.segments(dataset_of(MINUTE_NS))) == 1
    await world.check()
    world.now += LIMITS.lease_s
    assert world.tiers.round().open_moves == 0
    assert world.files() == {each.name for each in world.tiers.catalogue.all_segments()}
    await world.check()


async def test_retention_never_outruns_roll_up(world: World) -> None:
    rows = many_rows(2, 60, 4)
    world.add(rows, 8)
    assert [move.kind for move in world.tiers.plan()] == [MoveKind.EXPIRE]
    done = world.tiers.round()
    assert (done.switched, done.refused) == (0, 1)
    assert "metrics/300s" in next(iter(world.tiers.refusals.values()))
    await world.check()
    assert world.tiers.plan() == []  # Not again at once.
    world.add(many_rows(2, 12, 20, FIVE_NS), 8)
    world.now += 1_000.0
    world.tiers.round()
    assert len(world.hot.windows((), MINUTE_NS, *EVER, 10**6)) == 0
    world.expire(MINUTE_NS, 7)
    await world.check()


async def test_a_segment_expires_when_the_coarser_one_is_in_a_segment_too(world: World) -> None:
    world.add(many_rows(2, 60, 4), 6)
    world.add(many_rows(2, 12, 20, FIVE_NS), 6)
    assert world.tiers.round().switched == 2
    world.now += 2 * DAY_S
    assert world.tiers.round().switched == 1
    world.now += LIMITS.lease_s
    world.tiers.round()
    world.expire(MINUTE_NS, 7)
    await world.check()
    assert len(world.files()) == 1


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.soak)])
async def test_a_crash_at_any_call_shows_every_window_once(
    tmp_path: Path, form: ParquetWindows, step: int
) -> None:
    # All calls in `make soak`; the plain rows have them always.
    for at in itertools.count(step=step):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        world = World(folder, form)
        world.add(many_rows(2, 60, 3), 6)
        world.add(many_rows(2, 12, 15, FIVE_NS), 6)
        world.tiers.round()
        world.add(many_rows(1, 9, 4), 6, revision=2)
        world.add(many_rows(2, 60, 3, seed=2), 3)
        crashes = Crashes(at)
        tiers = world.process(crashes)
        with contextlib.suppress(Crash):
            for _ in range(4):
                tiers.round()
                world.now += LIMITS.lease_s
            tiers.scrub()
        await world.check()
        world.tiers = world.process(Crashes())
        for _ in range(4):
            assert not world.tiers.round().failures
            world.now += LIMITS.orphan_s
            world.tiers.scrub()
        await world.check()
        segments = world.tiers.catalogue.all_segments()
        assert {each.state for each in segments} == {SegmentState.LIVE}
        assert world.files() == {each.name for each in segments}
        if crashes.points <= at:
            break
    assert at > 60


WORKER = """
import sys
from callboard.runtime.api.tiers import open_tiers
from callboard.actors.storage.core import MoveLimits

folder, fence = sys.argv[1], int(sys.argv[2])
tiers = open_tiers(
    f"{folder}/metrics.db", f"{folder}/objects", fence=fence, durability="normal",
    move_limits=MoveLimits(lease_s=0.0, orphan_s=0.0, steps=1),
)
tiers.open()
print("open", flush=True)
while True:
    done = tiers.round()
    print(done.switched, flush=True)
    if not done.planned and not done.open_moves:
        tiers.scrub()
        tiers.scrub()
        print("done", flush=True)
        break
tiers.close()
"""


def lines_until_killed(folder: Path, fence: int, count: int) -> list[str]:
    """Let a process work until it has printed some lines, and kill it."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), str(fence)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(count)]
    process.kill()
    process.stdout.close()
    process.wait()
    return lines


async def test_a_worker_that_is_killed_loses_and_doubles_nothing(world: World) -> None:
    for day in range(2, 7):
        world.now = time.time()
        world.add(many_rows(3, 240, 3), day)
        world.add(many_rows(3, 48, 15, FIVE_NS), day)
    lines = 2
    for fence in range(100, 140):
        said = lines_until_killed(world.folder, fence, lines)
        await world.check()
        if "done\n" in said:
            break
        lines = lines * 2
    else:
        raise AssertionError("the worker has not come to an end")
    assert world.files() == {each.name for each in world.tiers.catalogue.all_segments()}
    assert len(world.hot.windows((), MINUTE_NS, *EVER, 10**6)) == 0


SERIES_MANY: Final = 20_000
MOVES_MANY: Final = """
import resource, sys
from callboard.runtime.api.tiers import open_tiers

folder = sys.argv[1]
tiers = open_tiers(f"{folder}/metrics.db", f"{folder}/objects", durability="off", fence=100)
tiers.open()
assert tiers.round().switched == 1
tiers.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_024)
"""


@pytest.mark.soak
def test_the_memory_of_a_move_grows_with_the_segment_and_not_with_the_windows(
    world: World,
) -> None:
    world.now = time.time()
    few = many_rows(500, 60, 60)
    for number in range(SERIES_MANY // 500):
        series = tuple(key._replace(name=f"{key.name}_{number}") for key in few.series)
        world.add(dataclasses.replace(few, series=series), 3)
        world.expected.clear()
    command = [sys.executable, "-c", MOVES_MANY, str(world.folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    (segment,) = world.tiers.catalogue.all_segments()
    assert segment.rows == SERIES_MANY * 60
    # Python and DuckDB, a part, and the segment twice; all windows would be a gigabyte.
    (peak_mib,) = map(int, done.stdout.split())  # And nothing else: DuckDB likes to draw bars.
    assert peak_mib < 350 + 2 * segment.size_bytes / 2**20


# --- the reader --------------------------------------------------------------------------------


async def test_a_reader_reads_what_it_is_asked_for(world: World) -> None:
    world.add(many_rows(5, 120, 4), 3)
    world.tiers.round()
    reader = world.tiers.reader()
    rows = world.expected[MINUTE_NS]
    begin = int(rows.starts_ns.min())
    matchers = [Matcher("instance", MatcherKind.MATCHES, "i-000[12]")]
    found = await reader.windows(
        matchers, MINUTE_NS, begin + 30 * MINUTE_NS, begin + 90 * MINUTE_NS, 1_000
    )
    assert len(found) == 2 * 60
    assert [key.tag("instance") for key in found.series] == ["i-0001", "i-0002"]
    series = await reader.series(matchers, begin, begin + HOUR_NS, 2)
    assert series == found.series
    assert await reader.series(matchers, begin - HOUR_NS, begin, 2) == ()
    assert await reader.series(matchers, begin - HOUR_NS, begin + 1, 2) == found.series
    with pytest.raises(UsageError):
        await reader.windows((), MINUTE_NS, *EVER, 599)
    with pytest.raises(UsageError):
        await reader.series((), *EVER, 4)
    assert len(await reader.windows((), MINUTE_NS, *EVER, 600)) == 600
    extents = await reader.extents()
    assert extents == {MINUTE_NS: (begin, begin + 120 * MINUTE_NS)}
    await reader.close()


async def without_segment(world: World, spoil: Callable[[Path], object]) -> None:
    """A reader of segments of three hours, of which the oldest is spoiled before it is read."""
    world.add(many_rows(2, 180, 4), 3)
    world.tiers.round()
    first, _, _ = world.tiers.catalogue.segments(dataset_of(MINUTE_NS))
    spoil(world.folder / "objects" / first.name)
    world.form = ParquetWindows()  # One that has not read the file before.
    world.tiers = world.process(Crashes())
    reader = world.tiers.reader()
    with pytest.raises(StoreFailed, match=first.name):
        await reader.windows((), MINUTE_NS, *EVER, 10**6)
    with pytest.raises(StoreFailed, match=first.name):
        await reader.series((), *EVER, 10**6)
    with allow_missing() as missing:
        rows = await reader.windows((), MINUTE_NS, *EVER, 10**6)
    assert missing == {first.name}
    assert len(rows) == 2 * 120
    assert int(rows.starts_ns.min()) == first.block.to_ns
    after = first.block.to_ns + MINUTE_NS
    assert (await reader.series((), after, EVER[1], 2)) == rows.series
    asked = MetricsQuery("request_seconds", (), 0, 2**62, MINUTE_NS, function_named("count"))
    answer = await run_query(reader, asked)
    assert answer.missing == (first.name,)
    assert np.nansum(answer.values) == 2 * 120 * 4
    later = await run_query(reader, dataclasses.replace(asked, from_ns=first.block.to_ns))
    assert later.missing == ()
    ((_, count),) = reader.reading().counts.items()
    assert count == 4
    world.form.close()
    await reader.close()


async def test_a_missing_file_costs_its_windows_and_is_named(world: World) -> None:
    await without_segment(world, Path.unlink)
    found = world.tiers.scrub()
    assert found[world.place].corrupt == 1


@pytest.mark.parametrize("at", [0, 0.5, 1])
async def test_a_changed_file_costs_its_windows_and_is_named(world: World, at: float) -> None:
    def spoil(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[round(at * (len(data) - 1))] ^= 1
        path.write_bytes(data)

    await without_segment(world, spoil)


async def test_a_segment_that_a_scrub_has_found_missing_is_not_asked_for(world: World) -> None:
    def spoil(path: Path) -> None:
        data = path.read_bytes()
        path.unlink()
        world.tiers.scrub()
        path.write_bytes(data)

    await without_segment(world, spoil)
    world.tiers.scrub()
    assert {each.state for each in world.tiers.catalogue.all_segments()} == {SegmentState.LIVE}


async def test_a_store_that_is_away_fails_the_query(world: World) -> None:
    world.add(many_rows(2, 60, 4), 3)
    world.tiers.round()

    class Away(LocalObjectStore):
        def get(self, name: str) -> bytes:
            raise StoreUnavailable(f"{self.name}: {name} cannot be reached.")

    stores = {world.place: Away(world.folder / "objects")}
    form = ParquetWindows()
    reader = SegmentReader(world.tiers.catalogue, stores, form)
    with allow_missing() as missing, pytest.raises(StoreUnavailable):
        await reader.windows((), MINUTE_NS, *EVER, 10**6)
    assert missing == set()
    await reader.close()
    form.close()


async def test_a_query_that_was_slow_begins_again_from_the_catalogue(world: World) -> None:
    world.add(many_rows(2, 60, 4), 3)
    world.tiers.round()
    asked = world.tiers.catalogue.segments
    (segment,) = asked(dataset_of(MINUTE_NS))
    answers = [[dataclasses.replace(segment, name=f"{segment.name}0")]]

    class Catalogue:
        """It gives an old answer first: a move is over since then."""

        def segments(self, *values: Any) -> Any:
            return answers.pop() if answers else asked(*values)

    stores = {world.place: LocalObjectStore(world.folder / "objects")}
    reader = SegmentReader(Catalogue(), stores, world.form)  # type: ignore[arg-type]
    assert len(await reader.windows((), MINUTE_NS, *EVER, 10**6)) == 120
    await reader.close()
