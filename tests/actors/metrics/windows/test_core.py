"""The core of a shard: what becomes of each point, and when windows are given out."""

from typing import Any

import numpy as np
import pytest

from callboard.actors.metrics.points import SOURCE_ENDED_NS
from callboard.actors.metrics.rows import WINDOWS_NS, WindowFlag
from callboard.actors.metrics.series import Matcher, MatcherKind, MetricKind, SeriesKey
from callboard.actors.metrics.sketch import keys_of
from callboard.actors.metrics.windows.accounts import Refusal, Warned
from callboard.actors.metrics.windows.core import ShardWindows
from callboard.actors.metrics.windows.settings import CustomWindow, WindowSettings

from .batches import (
    DAY,
    HOUR,
    KEYS,
    LATENCY,
    MINUTE,
    SECOND,
    START,
    Store,
    at,
    balanced,
    batch_of,
    only,
    source_named,
    windows_in,
)

LATER = START + 3 * DAY


def fed(*batches: Any, settings: WindowSettings | None = None) -> tuple[ShardWindows, Store]:
    """A core that got batches, with a commit after each, and what its store has."""
    core, store = ShardWindows(settings or WindowSettings()), Store()
    for batch in batches:
        now = max(batch.watermark_ns, START)
        core.apply(batch, now)
        store.put(core.take_commit(now).windows)
    assert balanced(core)
    return core, store


def committed(core: ShardWindows, now_ns: int) -> int | None:
    core.take_commit(now_ns)
    return core.watermark_ns


# --- windows --------------------------------------------------------------------------------------


def test_a_window_is_given_out_when_the_watermark_reaches_its_end() -> None:
    core = ShardWindows()
    core.apply(
        batch_of([at(1, 2.0), at(2, 4.0), at(3, -1.0)], watermark=START + 59 * SECOND), START
    )
    now = START + MINUTE
    assert core.take_commit(now).windows == ()
    core.apply(batch_of([], 3, watermark=now), now)
    [rows] = core.take_commit(now).windows
    assert rows.width_ns == MINUTE
    window = only(rows)
    assert (window.size, window.sum, window.min, window.max) == (3, 5.0, -1.0, 4.0)
    assert sum(count for _, count in window.bins) == 3
    assert {key for key, _ in window.bins} == set(keys_of(np.array([2.0, 4.0, -1.0])).tolist())
    assert rows.revisions.tolist() == [1]


def test_coarser_windows_are_merged_from_the_finer_ones() -> None:
    points = [at(seconds, float(seconds % 7)) for seconds in range(0, 7_300, 10)]
    core, store = ShardWindows(), Store()
    for number, point in enumerate(points):
        core.apply(batch_of([point], number), point.time_ns)
        store.put(core.take_commit(point.time_ns).windows)
    core.apply(batch_of([], len(points), watermark=START + DAY), START + DAY)
    store.put(core.take_commit(START + DAY).windows)
    for width in WINDOWS_NS:
        for (_, start), window in store.of(width).items():
            own = [point.value for point in points if start <= point.time_ns < start + width]
            assert (window.size, window.sum) == (len(own), sum(own))
            assert (window.min, window.max) == (min(own), max(own))
    assert len(store.of(HOUR)) == 3
    assert len(store.of(DAY)) == 1


def test_days_begin_at_midnight_in_utc() -> None:
    _, store = fed(batch_of([at(1)]), batch_of([], 1, watermark=LATER))
    [(_, start)] = store.of(DAY)
    assert start == START - 10 * HOUR
    assert start % DAY == 0


def test_a_late_point_corrects_its_window_and_the_coarser_ones() -> None:
    first = batch_of([at(10)], watermark=START + 300 * SECOND)
    core, store = fed(first, batch_of([at(299, 5.0)], 1, watermark=START + 301 * SECOND))
    widths = {width for _, width, _ in store.windows}
    assert widths == {MINUTE, 5 * MINUTE}
    [five] = store.of(5 * MINUTE).values()
    assert (five.size, five.sum) == (2, 6.0)
    revisions = {name[1:]: revision for name, revision in store.revisions.items()}
    assert revisions == {
        (MINUTE, START): 1,
        (MINUTE, START + 240 * SECOND): 1,
        (5 * MINUTE, START): 2,
    }
    assert core.accounts.late == 0


def test_a_corrected_window_is_given_out_with_the_next_revision() -> None:
    first = batch_of([at(10)], watermark=START + 61 * SECOND)
    _, store = fed(first, batch_of([at(20, 3.0)], 1, watermark=START + 62 * SECOND))
    assert list(store.revisions.values()) == [2]
    assert next(iter(store.windows.values())).size == 2


def test_a_point_beyond_the_lateness_goes_to_the_side_output() -> None:
    first = batch_of([at(10)], watermark=START + 181 * SECOND)
    core, store = fed(first, batch_of([at(20, 9.0), at(170)], 1, watermark=START + 181 * SECOND))
    assert core.accounts.late == 1
    late = core.late(10)
    assert (late.series, late.times_ns.tolist()) == ((KEYS[LATENCY],), [START + 20 * SECOND])
    assert (late.values.tolist(), late.discarded) == ([9.0], 0)
    assert next(iter(store.of(MINUTE).values())).size == 1


def test_the_side_output_has_a_bound_and_counts_what_it_discards() -> None:
    core = ShardWindows(WindowSettings(late_points_max=5))
    core.apply(batch_of([], watermark=START + HOUR), START + HOUR)
    core.take_commit(START + HOUR)
    for number in range(4):
        batch = batch_of([at(number, value) for value in (1.0, 2.0, 3.0)], 3 * number)
        assert core.apply(batch, START + HOUR).late == 3
    late = core.late(100)
    assert late.values.tolist() == [2.0, 3.0, 1.0, 2.0, 3.0]
    assert late.discarded == 7
    assert core.late(2).values.tolist() == [2.0, 3.0]


@pytest.mark.parametrize("whole", [0, 1, 2, 3, 9])
def test_the_side_output_is_restored_with_the_windows(whole: int) -> None:
    """From a state, a log, or both; of what was not committed, nothing is left."""
    settings = WindowSettings(late_points_max=5)
    core, state, log = ShardWindows(settings), b"", list[bytes]()
    kept = core.late(100)
    core.apply(batch_of([], watermark=START + HOUR), START + HOUR)
    for number in range(4):
        commit = core.take_commit(START + HOUR, whole=number == whole)
        if commit.state is not None:
            state = commit.state
            log.clear()
        else:
            log.append(commit.log)
        kept = core.late(100)
        core.apply(batch_of([at(number, v) for v in (1.0, 2.0)], 2 * number), START + HOUR)
    again = ShardWindows(settings)
    again.restore(state, log)
    found = again.late(100)
    assert len(found.series) == 5
    for name in ("series", "discarded"):
        assert getattr(found, name) == getattr(kept, name)
    assert found.times_ns.tolist() == kept.times_ns.tolist()
    assert found.values.tolist() == kept.values.tolist()


def test_a_gauge_keeps_its_latest_value_and_others_have_none() -> None:
    gauge = 1
    first = [at(10, 5.0, gauge), at(30, 1.0, gauge), at(20, 7.0, gauge), at(10, 2.0, 0)]
    _, store = fed(batch_of(first), batch_of([at(30, 3.0, gauge)], 4), batch_of([at(90)], 5))
    windows = store.of(MINUTE)
    assert windows[KEYS[gauge], START].last == 3.0  # The larger one of the same time.
    assert windows[KEYS[0], START].last is None


def test_windows_of_custom_widths_tumble_and_slide() -> None:
    settings = WindowSettings(
        custom=(
            CustomWindow(10 * SECOND, 10 * SECOND),
            CustomWindow(90 * SECOND, 30 * SECOND),
            CustomWindow(120 * SECOND, 60 * SECOND),
            CustomWindow(7 * SECOND, 7 * SECOND),
        )
    )
    points = [at(seconds, float(seconds)) for seconds in range(0, 400, 3)]
    core, store = ShardWindows(settings), Store()
    for number, point in enumerate(points):
        core.apply(batch_of([point], number), point.time_ns)
        if number % 5 == 0:
            store.put(core.take_commit(point.time_ns).windows)
    core.apply(batch_of([], len(points), watermark=LATER), LATER)
    store.put(core.take_commit(LATER).windows)
    for custom in settings.custom:
        found = store.of(custom.width_ns)
        starts = {
            start
            for point in points
            for start in range(
                (point.time_ns - custom.width_ns) // custom.step_ns * custom.step_ns,
                point.time_ns + 1,
                custom.step_ns,
            )
            if start <= point.time_ns < start + custom.width_ns
        }
        assert {start for _, start in found} == starts
        for (_, start), window in found.items():
            own = [p.value for p in points if start <= p.time_ns < start + custom.width_ns]
            assert (window.size, window.sum, window.max) == (len(own), sum(own), max(own))
    assert len(core._opened) == 0


def test_open_windows_can_be_read_with_all_that_is_in_them() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(10), at(70, 3.0), at(70, 4.0, 0)]), START + 70 * SECOND)
    core.take_commit(START + 70 * SECOND)
    core.apply(batch_of([at(75, 5.0)], 3), START + 75 * SECOND)
    latency = Matcher("__name__", MatcherKind.IS, "latency")
    [(_, minute, revision, flags)] = windows_in(core.open_rows([latency], MINUTE))
    assert (minute.size, minute.sum, revision) == (2, 8.0, 1)
    assert flags & WindowFlag.OPEN
    for width in WINDOWS_NS[1:]:
        assert only(core.open_rows([latency], width)).size == 3
    assert len(core.open_rows([], HOUR)) == 2
    assert len(core.open_rows([Matcher("host", MatcherKind.MATCHES, "a|b")], HOUR)) == 2
    assert len(core.open_rows([], MINUTE, START + 2 * MINUTE)) == 0
    assert len(core.open_rows([], MINUTE, None, START + MINUTE)) == 0
    assert len(core.open_rows([], 2 * MINUTE)) == 0


def test_a_correction_can_be_read_before_it_is_given_out() -> None:
    core, _ = fed(batch_of([at(10)], watermark=START + 61 * SECOND))
    assert len(core.open_rows([], MINUTE)) == 0
    core.apply(batch_of([at(20)], 1, watermark=START + 61 * SECOND), START + 62 * SECOND)
    [(_, window, revision, flags)] = windows_in(core.open_rows([], MINUTE))
    assert (window.size, revision, flags & WindowFlag.OPEN) == (2, 2, 0)


def test_a_shard_that_stops_gives_out_its_open_windows() -> None:
    core, store = ShardWindows(), Store()
    core.apply(batch_of([at(10)]), START + 10 * SECOND)
    store.put(core.take_commit(START + 10 * SECOND, with_open=True).windows)
    assert {width for _, width, _ in store.windows} == set(WINDOWS_NS)
    assert all(flags & WindowFlag.OPEN for flags in store.flags.values())
    core.apply(batch_of([], 1, watermark=LATER), LATER)
    store.put(core.take_commit(LATER).windows)
    assert not any(flags & WindowFlag.OPEN for flags in store.flags.values())
    assert set(store.revisions.values()) == {2}


# --- numbers of points ----------------------------------------------------------------------------


def test_a_batch_that_comes_again_changes_nothing() -> None:
    batch = batch_of([at(10), at(11)])
    core, store = fed(batch, batch, batch_of([at(10), at(11), at(12)]), batch_of([at(90)], 3))
    assert core.accounts.repeated == 4
    assert store.of(MINUTE)[KEYS[LATENCY], START].size == 3
    assert core.accepted(source_named("a")).sequence == 4


def test_batches_may_overtake_each_other() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(100)], 2), START + 100 * SECOND)
    assert core.accepted(source_named("a")).sequence == 0
    assert committed(core, START + 100 * SECOND) is None
    applied = core.apply(batch_of([at(10), at(11)], 0, watermark=START), START + 100 * SECOND)
    assert applied.counted == 2
    core.take_commit(START + 100 * SECOND)
    assert core.watermark_ns == START + 100 * SECOND
    assert core.accepted(source_named("a")).sequence == 3


def test_a_gap_that_stays_is_given_up_and_its_windows_are_partial() -> None:
    core, store = ShardWindows(), Store()
    now = START + 5 * MINUTE
    core.apply(batch_of([at(240)], watermark=START + 240 * SECOND), now)
    core.apply(batch_of([at(290)], 10, watermark=START + 300 * SECOND), now)
    store.put(core.take_commit(now).windows)
    assert core.accepted(source_named("a")).sequence == 1
    later = now + MINUTE
    core.apply(batch_of([], 11, watermark=START + 310 * SECOND), later)
    store.put(core.take_commit(later).windows)
    assert core.accepted(source_named("a")).sequence == 11
    assert core.accounts.lost == 9
    [flags] = [flags for (_, width, _), flags in store.flags.items() if width == MINUTE]
    assert flags == WindowFlag.PARTIAL
    [warning] = core.take_warnings()
    assert (warning.kind, warning.subject) == (Warned.GAP_GIVEN_UP, "a")
    assert core.take_warnings() == ()
    assert core.apply(batch_of([at(280)], 3), later).repeated == 1


def test_a_batch_that_makes_one_gap_too_many_is_refused() -> None:
    core = ShardWindows(WindowSettings(gaps_max=2))
    assert core.apply(batch_of([at(1)], 2), START).counted == 1
    assert core.apply(batch_of([at(1)], 4), START).counted == 1
    assert core.apply(batch_of([at(1)], 6), START).refusal is Refusal.TOO_MANY_GAPS
    assert core.apply(batch_of([at(1)], 5), START).counted == 1
    assert core.apply(batch_of([at(1)] * 2, 0), START).counted == 2
    assert core.accepted(source_named("a")).sequence == 3
    assert core.accounts.refused == 1


def test_a_source_that_began_elsewhere_does_not_wait_for_its_first_points() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(1)], 5_000_000), START)
    assert core.accepted(source_named("a")).sequence == 5_000_001


@pytest.mark.parametrize(("sequence", "first_series"), [(-1, 0), (2**63, 0), (0, -1), (0, 2**62)])
def test_absurd_numbers_are_refused(sequence: int, first_series: int) -> None:
    core = ShardWindows()
    batch = batch_of([at(1)], sequence, keys=()).model_copy(update={"first_series": first_series})
    assert core.apply(batch, START).refusal is Refusal.WRONG_NUMBERS
    assert core.statistics().sources == 0


def test_a_source_repeats_the_series_that_the_shard_does_not_know() -> None:
    core = ShardWindows()
    applied = core.apply(batch_of([at(1)], 7, first_series=2), START)
    assert applied.refusal is Refusal.DEFINITIONS_MISSING
    accepted = core.accepted(source_named("a"))
    assert (accepted.sequence, accepted.series) == (0, 0)
    assert core.apply(batch_of([at(1)], 0), START).counted == 1
    assert core.accepted(source_named("a")).series == 3


def test_there_is_a_bound_on_sources() -> None:
    core = ShardWindows(WindowSettings(sources_max=2))
    for name, refusal in (("a", None), ("b", None), ("c", Refusal.TOO_MANY_SOURCES)):
        assert core.apply(batch_of([at(1)], source=name), START).refusal is refusal
    late = START + 2 * HOUR
    core.apply(batch_of([], 1, source="a", watermark=late), late)
    core.take_commit(late)
    assert core.apply(batch_of([], source="c", watermark=late), late).refusal is None
    assert core.accepted(source_named("b")).sequence == 0


# --- sources --------------------------------------------------------------------------------------


def test_the_slowest_source_holds_the_watermark_back() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(90)], source="fast"), START + 90 * SECOND)
    core.apply(batch_of([at(40)], source="slow"), START + 90 * SECOND)
    assert committed(core, START + 90 * SECOND) == START + 40 * SECOND


def test_a_source_that_reports_nothing_is_left_out_and_its_window_is_partial() -> None:
    core, store = ShardWindows(), Store()
    core.apply(batch_of([at(5)], source="lost", watermark=START), START + 40 * SECOND)
    for seconds in (50, 80):
        now = START + seconds * SECOND
        core.apply(batch_of([at(seconds)], seconds == 80, source="alive", watermark=now), now)
        store.put(core.take_commit(now).windows)
    now = START + 90 * SECOND
    core.apply(batch_of([], 2, source="alive", watermark=now), now)
    store.put(core.take_commit(now).windows)
    assert core.watermark_ns == now
    assert core.statistics().active_sources == 1
    assert store.flags[KEYS[LATENCY], MINUTE, START] & WindowFlag.PARTIAL


def test_a_paused_source_that_still_reports_its_watermark_is_not_idle() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(5)], source="paused"), START + 5 * SECOND)
    for number in range(20):
        now = START + (5 + 20 * number) * SECOND
        core.apply(batch_of([], 1, source="paused", watermark=START + 5 * SECOND), now)
        core.apply(batch_of([], source="other", watermark=now), now)
        assert committed(core, now) == START + 5 * SECOND


def test_a_source_whose_watermark_never_advances_is_left_out_after_a_while() -> None:
    core = ShardWindows()
    for number in range(70):
        now = START + 10 * number * SECOND
        core.apply(batch_of([at(10 * number)], number, source="stuck", watermark=START), now)
        core.apply(batch_of([], source="other", watermark=now), now)
        core.take_commit(now)
    assert core.watermark_ns == START + 690 * SECOND
    assert [warning.kind for warning in core.take_warnings()] == [Warned.SOURCE_STALLED]


def test_a_source_that_has_just_begun_is_waited_for_until_it_says_where_it_is() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(5)], source="old", watermark=START + 5 * SECOND), START + 5 * SECOND)
    core.apply(batch_of([at(6)], source="new", watermark=0), START + 6 * SECOND)
    core.take_commit(START + 6 * SECOND)
    assert not core.take_warnings()
    core.apply(batch_of([], 1, source="new", watermark=START + 7 * SECOND), START + 7 * SECOND)
    assert committed(core, START + 7 * SECOND) == START + 5 * SECOND


def test_a_source_alone_that_never_advances_its_watermark_closes_windows_by_the_clock() -> None:
    core, store = ShardWindows(), Store()
    for number in range(100):
        now = START + 10 * number * SECOND
        core.apply(batch_of([at(10 * number)], number, watermark=0), now)
        store.put(core.take_commit(now).windows)
    assert len(store.of(MINUTE)) == 16
    assert set(store.revisions.values()) == {1}


def test_a_source_that_ends_holds_nothing_back_and_leaves_no_partial_window() -> None:
    core, store = ShardWindows(), Store()
    core.apply(batch_of([at(0)], source="short"), START)
    core.apply(batch_of([], 1, source="short", watermark=SOURCE_ENDED_NS), START + SECOND)
    core.apply(batch_of([at(60)], source="long"), START + MINUTE)
    store.put(core.take_commit(START + MINUTE).windows)
    assert store.flags == {(KEYS[LATENCY], MINUTE, START): WindowFlag.NONE}


def test_the_first_window_of_a_source_is_partial() -> None:
    core, store = fed(batch_of([at(10), at(50)]), batch_of([at(70)], 2), batch_of([at(130)], 3))
    found = {start: flags for (_, width, start), flags in store.flags.items() if width == MINUTE}
    assert found == {START: WindowFlag.PARTIAL, START + MINUTE: WindowFlag.NONE}
    assert core.accounts.counted == 4


def test_windows_close_after_a_while_when_all_sources_have_gone() -> None:
    core, store = fed(batch_of([at(10)]))
    assert store.windows == {}
    store.put(core.take_commit(START + 80 * SECOND).windows)
    assert store.windows == {}
    store.put(core.take_commit(START + 91 * SECOND).windows)
    assert [width for _, width, _ in store.windows] == [MINUTE]


def test_a_source_that_is_far_behind_another_is_left_out_and_may_come_back() -> None:
    core = ShardWindows()
    now = START + HOUR
    core.apply(batch_of([], source="new", watermark=now), now)
    core.apply(batch_of([], source="behind", watermark=START), now)
    assert committed(core, now) == now
    assert core.statistics().active_sources == 1
    core.apply(batch_of([], source="behind", watermark=now - SECOND), now)
    core.apply(batch_of([], source="new", watermark=now + SECOND), now + SECOND)
    core.take_commit(now + SECOND)
    assert core.statistics().active_sources == 2
    assert core.watermark_ns == now


def test_after_an_absence_of_the_shard_its_sources_are_waited_for() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(5)], source="slow"), START + 5 * SECOND)
    log = core.take_commit(START + 5 * SECOND).log
    core = ShardWindows()
    core.restore(b"", [log])
    now = START + 10 * MINUTE
    core.apply(batch_of([], source="quick", watermark=now), now)
    assert committed(core, now) == START + 5 * SECOND
    kept = [at(seconds) for seconds in range(10, 600, 10)]
    assert core.apply(batch_of(kept, 1, source="slow", watermark=now), now).late == 0
    assert committed(core, now) == now


# --- series ---------------------------------------------------------------------------------------


def test_series_beyond_the_limit_of_their_tenant_are_counted_as_overflow() -> None:
    settings = WindowSettings(series_per_tenant_max=2, tenant_tag="tenant")
    keys = [
        SeriesKey(MetricKind.COUNTER, "hits", (("tenant", tenant), ("user", str(user))))
        for tenant in ("a", "b")
        for user in range(4)
    ]
    core = ShardWindows(settings)
    points = [at(1, 1.0, number) for number in range(len(keys))]
    core.apply(batch_of(points, keys=keys), START + SECOND)
    rows = core.open_rows([], MINUTE)
    found = {rows.series[place]: int(count) for place, count in enumerate(rows.counts)}
    for tenant in ("a", "b"):
        own = SeriesKey(MetricKind.COUNTER, "hits", (("overflow", "true"), ("tenant", tenant)))
        assert found[own] == 2
    assert len(found) == 6
    assert core.accounts.overflow_series == 4
    warnings = core.take_warnings()
    assert [(each.kind, each.subject) for each in warnings] == [
        (Warned.TENANT_FULL, "a"),
        (Warned.TENANT_FULL, "b"),
    ]
    assert "user" in warnings[0].text


def test_a_tag_that_explodes_is_named() -> None:
    keys = [
        SeriesKey(MetricKind.COUNTER, "hits", (("path", "/"), ("request", str(number))))
        for number in range(1_000)
    ]
    core = ShardWindows()
    core.apply(batch_of([], keys=keys), START)
    [warning] = core.take_warnings()
    assert warning.kind is Warned.TAG_EXPLODES
    assert "request" in warning.text
    assert "hits" in warning.text


def test_two_sources_count_in_the_same_series() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(1)], source="a"), START + SECOND)
    core.apply(batch_of([at(2, 5.0, 0)], source="b", keys=KEYS[::-1]), START + SECOND)
    assert only(core.open_rows([], MINUTE)).sum == 6.0
    assert core.statistics().series == 3


def test_many_series_and_batches_of_any_size_give_the_same() -> None:
    rng = np.random.default_rng(5)
    count = 3_000
    keys = [SeriesKey(MetricKind.GAUGE, "g", (("n", str(number)),)) for number in range(count)]
    times = START + rng.integers(0, 170 * SECOND, 20_000)
    columns: dict[str, Any] = {
        "series": rng.integers(0, count, 20_000).astype(np.int32),
        "times_ns": times,
        "values": rng.lognormal(0, 3, 20_000) * rng.choice([-1, 0, 1], 20_000),
    }
    found = []
    for size in (20_000, 6_000, 700):
        core = ShardWindows()
        for done in range(0, 20_000, size):
            some: dict[str, Any] = {
                name: column[done : done + size] for name, column in columns.items()
            }
            batch = batch_of([], done, watermark=START, keys=keys, **some)
            assert core.apply(batch, START + 3 * MINUTE).counted == len(some["values"])
        rows = [core.open_rows([], width) for width in WINDOWS_NS]
        found.append([(name, window) for each in rows for name, window, *_ in windows_in(each)])
    assert found[0] == found[1] == found[2]


def test_a_shard_without_sources_closes_its_coarser_windows_by_the_clock() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(10)], watermark=START + 10 * SECOND), START + 10 * SECOND)
    core.apply(batch_of([], 1, first_series=3, watermark=SOURCE_ENDED_NS), START + 11 * SECOND)
    widths: list[int] = []
    for hours in (0.1, 0.2, 1.2, 1.3, 30, 31):
        commit = core.take_commit(START + round(hours * HOUR))
        widths += [rows.width_ns for rows in commit.windows]
    assert widths == [*WINDOWS_NS]
    assert core.statistics().open_windows == 0
