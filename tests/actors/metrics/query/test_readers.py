"""Readers: in memory, and one over several."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.ports import Extent
from callboard.actors.metrics.query.columns import combine_rows
from callboard.actors.metrics.query.readers import CombinedReader, MemoryWindows
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, MatcherKind, SeriesKey
from callboard.messages.core.errors import UsageError
from tests.actors.metrics.query.points import (
    HOUR_NS,
    MINUTE_NS,
    START_NS,
    Point,
    key,
    store,
    window,
    windows,
)
from tests.thoroughness import examples

NAMED_M = (Matcher("__name__", MatcherKind.IS, "m"),)
ALWAYS = 2**62


def points(*minutes: float, series: SeriesKey | None = None) -> list[Point]:
    own = series or key()
    return [
        Point(own, START_NS + round(minute * MINUTE_NS), float(number))
        for number, minute in enumerate(minutes, 1)
    ]


async def starts(reader: MemoryWindows | CombinedReader, begin: int, end: int) -> list[int]:
    found = await reader.windows(NAMED_M, MINUTE_NS, begin, end, 100)
    return [(start - START_NS) // MINUTE_NS for start in found.starts_ns.tolist()]


async def test_windows_are_found_by_their_start_in_a_half_open_time() -> None:
    reader = store(points(0, 1, 2, 3))
    assert await starts(reader, 0, ALWAYS) == [0, 1, 2, 3]
    assert await starts(reader, START_NS + MINUTE_NS, START_NS + 3 * MINUTE_NS) == [1, 2]
    assert await starts(reader, START_NS + MINUTE_NS + 1, START_NS + 3 * MINUTE_NS + 1) == [2, 3]


async def test_rows_have_the_numbers_of_their_points() -> None:
    reader = store(points(0, 0.1, 0.2))
    (found,) = (await reader.windows(NAMED_M, MINUTE_NS, 0, ALWAYS, 9)).metrics()
    assert (found.count, found.sum, found.min, found.max, found.last) == (3, 6.0, 1.0, 3.0, 3.0)
    assert found.average == 2.0


async def test_series_are_found_by_matchers_and_time() -> None:
    a, b = key(job="a"), key(job="b")
    reader = store([*points(0, series=a), *points(200, series=b)])
    assert await reader.series(NAMED_M, 0, ALWAYS, 9) == (a, b)
    only_b = (Matcher("job", MatcherKind.IS_NOT, "a"),)
    assert await reader.series(only_b, 0, ALWAYS, 9) == (b,)
    # The day's window holds both, so that a later time has both.
    assert await reader.series((), START_NS + 300 * MINUTE_NS, ALWAYS, 9) == (a, b)
    with pytest.raises(UsageError, match="more than 1 series"):
        await reader.series((), 0, ALWAYS, 1)


async def test_more_rows_than_the_limit_are_refused() -> None:
    reader = store(points(0, 1, 2))
    with pytest.raises(UsageError, match="more than 2 windows"):
        await reader.windows(NAMED_M, MINUTE_NS, 0, ALWAYS, 2)
    several = CombinedReader([store(points(0, 1)), store(points(2, 3))])
    with pytest.raises(UsageError, match="more than 3 windows"):
        await several.windows(NAMED_M, MINUTE_NS, 0, ALWAYS, 3)


async def test_an_empty_reader_has_nothing() -> None:
    for reader in (MemoryWindows(), CombinedReader([]), CombinedReader([MemoryWindows()])):
        assert await reader.extents() == {}
        assert await reader.series((), 0, ALWAYS, 9) == ()
        assert not len(await reader.windows((), MINUTE_NS, 0, ALWAYS, 9))


async def test_extents_reach_from_the_first_to_the_last_window_of_all_readers() -> None:
    several = CombinedReader([store(points(65), [MINUTE_NS]), store(points(1))])
    found = await several.extents()
    assert found[MINUTE_NS] == Extent(START_NS + MINUTE_NS, START_NS + 66 * MINUTE_NS)
    assert found[HOUR_NS] == Extent(START_NS, START_NS + HOUR_NS)


async def test_the_newest_revision_of_a_window_counts_whichever_reader_has_it() -> None:
    one, two = points(0, 0.5), points(0)
    newer = MemoryWindows([window(key(), START_NS, MINUTE_NS, one, revision=2)])
    older = MemoryWindows([window(key(), START_NS, MINUTE_NS, two, revision=1)])
    for readers in ([newer, older], [older, newer]):
        found = await CombinedReader(readers).windows(NAMED_M, MINUTE_NS, 0, ALWAYS, 9)
        assert found.counts.tolist() == [2]
    older.add(window(key(), START_NS, MINUTE_NS, one, revision=2))
    assert (await older.windows(NAMED_M, MINUTE_NS, 0, ALWAYS, 9)).revisions.tolist() == [2]


async def test_of_equal_revisions_the_copy_with_more_points_counts() -> None:
    opened = window(key(), START_NS, MINUTE_NS, points(0, 0.5))
    stored = window(key(), START_NS, MINUTE_NS, points(0))
    for parts in ([opened, stored], [stored, opened]):
        assert combine_rows(MINUTE_NS, parts).counts.tolist() == [2]


class Moving:
    """Two stores; the window moves from the first to the second between the reads."""

    def __init__(self) -> None:
        self.hot, self.archive = store(points(0)), MemoryWindows()

    async def extents(self) -> Mapping[int, Extent]:
        return await self.hot.extents()

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        return await self.hot.series(matchers, from_ns, to_ns, limit)

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        found = await self.hot.windows(matchers, width_ns, from_ns, to_ns, limit)
        self.archive.add(windows(points(0)))
        self.hot = MemoryWindows()
        return found


async def test_a_window_that_moves_during_a_query_is_read_once() -> None:
    moving = Moving()
    reader = CombinedReader([moving, moving.archive])
    for _ in range(2):
        assert len(await reader.windows(NAMED_M, MINUTE_NS, 0, ALWAYS, 9)) == 1


SAMPLES = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.floats(-1e6, 1e6)), max_size=40
)


@settings(max_examples=examples(150))
@given(SAMPLES, st.integers(1, 4), st.integers(0, 31), st.integers(0, 31))
async def test_windows_spread_over_readers_are_read_as_from_one(
    samples: list[tuple[str, int, float]], count: int, first: int, last: int
) -> None:
    given_points = [
        Point(key(job=job), START_NS + minute * MINUTE_NS, value) for job, minute, value in samples
    ]
    rows = windows(given_points)
    parts = [MemoryWindows() for _ in range(count)]
    for number, each in enumerate(rows.metrics()):
        alone = [p for p in given_points if p.key == each.key and p.time_ns == each.start_ns]
        for place in {number % count, number * 7 % count}:
            parts[place].add(window(each.key, each.start_ns, MINUTE_NS, alone))
    begin, end = START_NS + first * MINUTE_NS, START_NS + last * MINUTE_NS
    whole = await store(given_points).windows((), MINUTE_NS, begin, end, 1_000)
    found = await CombinedReader(parts).windows((), MINUTE_NS, begin, end, 1_000)
    assert list(map(repr, found.metrics())) == list(map(repr, whole.metrics()))
