"""The contract of every hot store of windows."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.ports import Extent, HotStorage, ShardState
from callboard.actors.metrics.query.columns import combine_rows
from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.actors.metrics.series import Matcher, MatcherKind, MetricKind, SeriesKey
from callboard.messages.core.errors import UsageError
from callboard.messages.storage.errors import WriterFenced
from callboard.runtime.stores.memory_windows import MemoryMetricsStorage
from callboard.runtime.stores.postgres import PostgresMetricsStorage
from callboard.runtime.stores.sqlite import SqliteMetricsStorage
from callboard.runtime.stores.window_blocks import BAND, period_ns
from tests.actors.metrics.aggregation.window_rows import (
    BEGIN_NS,
    MINUTE_NS,
    SERIES,
    Window,
    contents,
    rows_of,
    windows,
)
from tests.thoroughness import examples, sharing_fixtures

from .conftest import KINDS, opening

OpenWindows = Callable[[], HotStorage]
ALWAYS = (-(2**62), 2**62)
ALL = 2**40
SHARDS = itertools.count(10)
HOUR_NS = 60 * MINUTE_NS


@pytest.fixture(params=KINDS)
def open_windows(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenWindows]:
    """One hot store, for any number of processes."""
    shared = MemoryMetricsStorage()

    def make() -> HotStorage:
        if request.param == "memory":
            return shared
        if request.param == "sqlite":
            return SqliteMetricsStorage(tmp_path / "windows.db", durability="off")
        return PostgresMetricsStorage(request.getfixturevalue("postgres_url"))

    yield from opening(make)


def keys(count: int, name: str = "n") -> list[SeriesKey]:
    return [SeriesKey(MetricKind.GAUGE, name, (("number", str(n)),)) for n in range(count)]


# --- aggregators ----------------------------------------------------------------------------


def test_a_new_shard_has_nothing(open_windows: OpenWindows) -> None:
    store = open_windows()
    assert store.claim(3, 7) == ShardState(b"", ())
    assert store.extents() == {}
    assert store.series((), *ALWAYS, ALL) == ()
    assert len(store.windows((), MINUTE_NS, *ALWAYS, ALL)) == 0


def test_a_log_grows_until_a_state_replaces_it(open_windows: OpenWindows) -> None:
    store = open_windows()
    store.claim(3, 7)
    store.commit(3, 7, log=b"one")
    store.commit(3, 7, log=b"two")
    store.commit(3, 7)
    assert store.claim(3, 7) == ShardState(b"", (b"one", b"two"))
    store.commit(3, 7, state=b"all of it")
    store.commit(3, 7, log=b"three")
    assert open_windows().claim(3, 8) == ShardState(b"all of it", (b"three",))
    assert store.claim(4, 1) == ShardState(b"", ()), "another shard has a log of its own"


def test_a_replaced_aggregator_cannot_commit(open_windows: OpenWindows) -> None:
    old, new = open_windows(), open_windows()
    old.claim(3, 7)
    old.commit(3, 7, log=b"one")
    new.claim(3, 8)
    for refused in (
        lambda: old.commit(3, 7, log=b"two", windows=[rows_of([Window(SERIES[0], 0, (1.0,))])]),
        lambda: old.commit(3, 7, state=b"mine"),
        lambda: old.claim(3, 7),
    ):
        with pytest.raises(WriterFenced) as error:
            refused()
        assert not error.value.may_have_run
    assert new.claim(3, 8) == ShardState(b"", (b"one",))
    assert new.extents() == {}
    assert old.claim(4, 1) == ShardState(b"", ()), "fences are of one shard"


def test_a_shard_that_comes_back_goes_on_with_its_series(open_windows: OpenWindows) -> None:
    one, other = open_windows(), open_windows()
    for fence, store in enumerate((one, other, one, other), 1):
        store.claim(0, fence)
        found = [Window(key, fence * MINUTE_NS, (1.0,)) for key in keys(10 * fence)]
        store.commit(0, fence, windows=[rows_of(found)])
    for store in (one, other, open_windows()):
        assert len(store.series((), *ALWAYS, ALL)) == 40
        rows = store.windows((), MINUTE_NS, *ALWAYS, ALL)
        assert [len(rows), len(rows.series)] == [100, 40]


@pytest.mark.parametrize("size", [1, 3 * 2**20])
def test_states_and_logs_come_back_as_they_were(open_windows: OpenWindows, size: int) -> None:
    store = open_windows()
    data = bytes(range(256)) * (size // 256 + 1)
    store.claim(0, 2**62)
    store.commit(0, 2**62, state=data[:size])
    store.commit(0, 2**62, log=data[:size])
    assert store.claim(0, 2**62) == ShardState(data[:size], (data[:size],))


# --- windows --------------------------------------------------------------------------------

COMMITS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(WINDOWS_NS[:3]).flatmap(
            lambda width: st.tuples(st.just(width), windows(width, 200))
        ),
        st.booleans(),
    ),
    max_size=8,
)
MATCHERS = st.lists(
    st.builds(
        Matcher,
        st.sampled_from(("__name__", "host", "zone", "none")),
        st.sampled_from(MatcherKind),
        st.sampled_from(("requests", "h1", "", "h[12]", "req.*", 'a"\\\\\0ü')),
    ),
    max_size=2,
)


@settings(sharing_fixtures(), max_examples=examples(60))
@given(commits=COMMITS, matchers=MATCHERS, from_=st.integers(-3, 90), long=st.integers(1, 90))
def test_a_store_is_a_dict_of_windows(
    open_windows: OpenWindows,
    commits: list[tuple[int, tuple[int, list[Window]], bool]],
    matchers: list[Matcher],
    from_: int,
    long: int,
) -> None:
    store, reader = open_windows(), open_windows()
    shards = [next(SHARDS) for _ in range(3)]
    own = Matcher("run", MatcherKind.IS, str(shards[0]))
    model: dict[tuple[int, SeriesKey, int], Window] = {}
    for shard in shards:
        store.claim(shard, 1)
    for shard, (width, found), packs in commits:
        # A series belongs to one shard, and to this example.
        mine = [_moved(window, shard, shards[0]) for window in found]
        store.commit(shards[shard], 1, windows=[rows_of(mine, width)])
        for window in mine:
            known = model.get((width, window.series, window.start_ns))
            if (
                known is None
                or window.revision > known.revision
                or (window.revision == known.revision and len(window.values) >= len(known.values))
            ):
                model[width, window.series, window.start_ns] = window
        if packs:
            store.pack(shards[shard], 2**62, 3)
    from_ns, to_ns = BEGIN_NS + from_ * MINUTE_NS, BEGIN_NS + (from_ + long) * MINUTE_NS
    fits = {
        place: window
        for place, window in model.items()
        if all(matcher.accepts(window.series) for matcher in matchers)
    }
    for width in WINDOWS_NS:
        right = sorted(
            (
                w
                for (width_, _, start), w in fits.items()
                if width_ == width and from_ns <= start < to_ns
            ),
            key=lambda window: (window.series, window.start_ns),
        )
        for each in (store, reader):
            rows = each.windows([own, *matchers], width, from_ns, to_ns, ALL)
            assert contents(rows) == contents(rows_of(right, width))
    seen = {key for width, key, start in fits if from_ns - width < start < to_ns}
    assert reader.series([own, *matchers], from_ns, to_ns, ALL) == tuple(sorted(seen))


def _moved(window: Window, shard: int, run: int) -> Window:
    kind, name, tags = window.series
    own = (*tags, ("run", str(run)), ("shard", str(shard)))
    return window._replace(series=SeriesKey(kind, name, tuple(sorted(own))))


def test_a_correction_replaces_a_window_and_an_older_one_does_not(
    open_windows: OpenWindows,
) -> None:
    store = open_windows()
    store.claim(0, 1)
    first, second, other = (
        rows_of([Window(SERIES[0], BEGIN_NS, values, revision)])
        for values, revision in (((1.0,), 1), ((1.0, 5.0), 2), ((9.0,), 1))
    )
    store.commit(0, 1, windows=[first])
    store.commit(0, 1, windows=[second])
    store.commit(0, 1, windows=[other])
    for _ in range(2):
        assert contents(store.windows((), MINUTE_NS, *ALWAYS, ALL)) == contents(second)
        store.pack(0, 2**62, 100)


def test_more_than_the_limit_is_refused(open_windows: OpenWindows) -> None:
    store = open_windows()
    store.claim(0, 1)
    found = [Window(key, BEGIN_NS + n * MINUTE_NS, (1.0,)) for key in keys(40) for n in range(5)]
    for revision in (1, 2, 3):
        store.commit(0, 1, windows=[rows_of([w._replace(revision=revision) for w in found])])
    assert len(store.windows((), MINUTE_NS, *ALWAYS, 200)) == 200
    assert len(store.series((), *ALWAYS, 40)) == 40
    with pytest.raises(UsageError, match="199 windows"):
        store.windows((), MINUTE_NS, *ALWAYS, 199)
    with pytest.raises(UsageError, match="39 series"):
        store.series((), *ALWAYS, 39)


def test_extents_are_from_the_first_start_to_the_last_end(open_windows: OpenWindows) -> None:
    store = open_windows()
    store.claim(0, 1)
    for width in WINDOWS_NS:
        first = BEGIN_NS // width * width
        rows = rows_of([Window(SERIES[0], first + n * width, (1.0,)) for n in (0, 90)], width)
        store.commit(0, 1, windows=[rows])
        assert store.extents()[width] == Extent(first, first + 91 * width)
    assert len(store.extents()) == 4


def test_many_series_need_no_block_of_others(open_windows: OpenWindows) -> None:
    store = open_windows()
    store.claim(0, 1)
    many = keys(500)
    store.commit(0, 1, windows=[rows_of([Window(key, BEGIN_NS, (1.0,)) for key in many])])
    store.commit(0, 1, windows=[rows_of([Window(many[7], BEGIN_NS + MINUTE_NS, (2.0,))])])
    wanted = [Matcher("__name__", MatcherKind.IS, "n"), Matcher("number", MatcherKind.IS, "7")]
    rows = store.windows(wanted, MINUTE_NS, *ALWAYS, ALL)
    assert [key.tag("number") for key in rows.series] == ["7"]
    assert rows.sums.tolist() == [1.0, 2.0]
    after = BEGIN_NS + MINUTE_NS
    assert store.series((), after, after + 1, ALL) == (many[7],)


# --- packing, and what moves to other tiers ---------------------------------------------------


def test_packing_changes_no_window(open_windows: OpenWindows) -> None:
    store = open_windows()
    store.claim(0, 1)
    end = BEGIN_NS // HOUR_NS * HOUR_NS + 3 * HOUR_NS
    for minute in range(150):
        found = [Window(key, end - (minute + 1) * MINUTE_NS, (float(minute),)) for key in keys(20)]
        store.commit(0, 1, windows=[rows_of(found)])
    before = contents(store.windows((), MINUTE_NS, *ALWAYS, ALL))
    went = store.pack(0, end - HOUR_NS, 10_000)
    assert contents(store.windows((), MINUTE_NS, *ALWAYS, ALL)) == before
    assert store.pack(0, end - HOUR_NS, 10_000) == 0
    bands = -(-20 // BAND)
    assert went in (0, bands * (90 - 2)), "the last hour is left alone"


def test_whole_stretches_can_be_read_and_are_listed(open_windows: OpenWindows) -> None:
    store = open_windows()
    length = period_ns(MINUTE_NS)
    begin = BEGIN_NS // length * length
    for shard in (0, 1):
        store.claim(shard, 1)
        found = [
            Window(key._replace(name=f"s{shard}"), begin + n * length, (1.0,))
            for key in keys(3)
            for n in range(shard, 4)
        ]
        store.commit(shard, 1, windows=[rows_of(found)])
    closed = store.closed_before(MINUTE_NS, begin + 2 * length + 1)  # type: ignore[attr-defined]
    assert [(each.shard, each.from_ns) for each in closed] == [
        (0, begin),
        (0, begin + length),
        (1, begin + length),
    ]
    for shard, _, from_ns, to_ns, _ in closed:
        rows = store.read_range(shard, MINUTE_NS, from_ns, to_ns)  # type: ignore[attr-defined]
        assert len(rows) == 3
        assert {key.name for key in rows.series} == {f"s{shard}"}
        bare = store.read_range(shard, MINUTE_NS, from_ns, to_ns, bare=True)  # type: ignore[attr-defined]
        assert bare.counts.tolist() == rows.counts.tolist()
        assert len(bare.sketches.keys) == 0


def test_a_stretch_is_read_in_parts_that_share_no_series(
    open_windows: OpenWindows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard.runtime.stores.window_blocks.PART_BANDS", 2)
    store = open_windows()
    length = period_ns(MINUTE_NS)
    begin = BEGIN_NS // length * length
    for shard, count in ((0, 5 * BAND + 1), (1, 3)):
        store.claim(shard, 1)
        for at in (begin, begin + MINUTE_NS, begin + length):
            found = [Window(key, at, (1.0, 2.0)) for key in keys(count)]
            store.commit(shard, 1, windows=[rows_of(found)])
    parts = list(store.read_parts(0, MINUTE_NS, begin, begin + length))  # type: ignore[attr-defined]
    whole = store.read_range(0, MINUTE_NS, begin, begin + length)  # type: ignore[attr-defined]
    assert len(whole) == 2 * (5 * BAND + 1)
    assert all(map(len, parts))
    assert len({key for part in parts for key in part.series}) == sum(
        len(part.series) for part in parts
    )
    assert contents(combine_rows(MINUTE_NS, parts)) == contents(whole)
    if not isinstance(store, MemoryMetricsStorage):  # There they are in memory anyway.
        assert len(parts) == 3
    assert list(store.read_parts(7, MINUTE_NS, begin, begin + length)) == []  # type: ignore[attr-defined]
