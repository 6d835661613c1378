"""Which windows move next."""

from typing import Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.metrics.rows import SECOND_NS, WINDOWS_NS
from callboard.actors.metrics.tiers.core import PlanLimits, plan_lines, plan_moves, span_of
from callboard.actors.metrics.tiers.rules import DEFAULT_RULES, dataset_of
from callboard.actors.storage.lifecycle import DAY_S, LifecycleRule
from callboard.actors.storage.moves import Move, MoveKind
from callboard.actors.storage.segments import Block, Segment, SegmentState
from callboard.messages.core.errors import SpecError

DAY_NS: Final = int(DAY_S) * SECOND_NS
HOUR_NS: Final = 3_600 * SECOND_NS
MINUTES: Final = dataset_of(WINDOWS_NS[0])
NOW: Final = 1_000 * DAY_NS
WIDTHS: Final = {dataset_of(width): width for width in WINDOWS_NS}
LIMITS: Final = PlanLimits()


class Stretch(NamedTuple):
    shard: int
    from_ns: int
    to_ns: int


def planned(
    hot: list[Stretch] | None = None,
    segments: list[Segment] | None = None,
    limits: PlanLimits = LIMITS,
    rules: tuple[LifecycleRule, ...] = DEFAULT_RULES,
) -> list[Move]:
    return plan_moves(
        rules,
        {MINUTES: hot or []},
        {MINUTES: segments or []},
        NOW,
        limits,
        widths_ns=WIDTHS,
    )


def hours_ago(hours: float, shard: int = 0) -> Stretch:
    """The stretch of an hour that ended so long ago."""
    end = NOW - int(hours * HOUR_NS)
    return Stretch(shard, end - HOUR_NS, end)


def segment(name: str, hours: float, rows: int = 100, part: int = 0) -> Segment:
    stretch = hours_ago(hours)
    return Segment(name, "d", Block(MINUTES, part, stretch.from_ns, stretch.to_ns), rows, 9, "x")


def test_windows_become_segments_when_they_are_no_longer_hot() -> None:
    moves = planned([hours_ago(23.99), hours_ago(24), hours_ago(30, shard=2)])
    assert [(move.kind, move.block.part) for move in moves] == [
        (MoveKind.STORE, 2),
        (MoveKind.STORE, 0),
    ]
    assert moves[1].block == Block(MINUTES, 0, hours_ago(24).from_ns, hours_ago(24).to_ns)
    assert moves[0].location == "segments"


def test_windows_expire_from_the_hot_store_and_from_segments() -> None:
    moves = planned([hours_ago(24 * 7)], [segment("a", 24 * 7), segment("b", 24 * 7 - 0.01)])
    assert sorted(move.sources for move in moves) == [(), ("a",)]
    assert {move.kind for move in moves} == {MoveKind.EXPIRE}


def test_without_an_object_store_windows_stay_until_they_expire() -> None:
    rules = tuple(
        LifecycleRule(rule.id, rule.dataset, rule.hot_s, rule.expires_s, location="")
        for rule in DEFAULT_RULES
    )
    moves = planned([hours_ago(24), hours_ago(24 * 7)], rules=rules)
    assert [move.kind for move in moves] == [MoveKind.EXPIRE]


def test_a_disabled_rule_moves_nothing() -> None:
    rule = LifecycleRule("off", MINUTES, 0.0, 1.0, is_enabled=False)
    assert planned([hours_ago(24)], [segment("a", 99)], rules=(rule,)) == []


def span_segments(count: int, rows: int = 100) -> list[Segment]:
    """Segments of one day that has left the hot store, an hour each."""
    begin = NOW // DAY_NS * DAY_NS - 3 * DAY_NS
    return [
        Segment(
            f"{number:02d}", "d",
            Block(MINUTES, 0, begin + number * HOUR_NS, begin + (number + 1) * HOUR_NS),
            rows, 9, "x",
        )
        for number in range(count)
    ]  # fmt: skip


def test_the_small_segments_of_a_span_are_merged_into_one() -> None:
    (move,) = planned(segments=span_segments(24))
    assert move.kind is MoveKind.MERGE
    assert len(move.sources) == 24
    assert move.block.to_ns - move.block.from_ns == DAY_NS
    assert planned(segments=span_segments(3)) == []


def test_a_merge_is_bounded_in_rows_and_leaves_other_parts_alone() -> None:
    segments = span_segments(24, rows=50_000)
    (move,) = planned(segments=segments)
    assert len(move.sources) == 4
    others = [
        Segment(f"p{each.name}", "d", each.block._replace(part=1), 100, 9, "x")
        for each in span_segments(6)
    ]
    moves = planned(segments=[*segments, *others])
    assert [len(move.sources) for move in moves] == [4, 6]
    assert planned(segments=span_segments(24, rows=150_000)) == []


def test_a_corrupt_segment_is_left_alone() -> None:
    corrupt = [
        Segment(
            each.name, each.digest, each.block, each.rows, each.size_bytes, each.location,
            SegmentState.CORRUPT,
        )
        for each in [*span_segments(9), segment("old", 24 * 30)]
    ]  # fmt: skip
    assert planned(segments=corrupt) == []


def test_a_round_is_bounded_and_takes_the_oldest_first() -> None:
    moves = planned([hours_ago(25 + hours) for hours in range(100)], limits=PlanLimits(moves=10))
    assert len(moves) == 10
    assert moves[0].block.to_ns == hours_ago(124).to_ns


@given(
    hours=st.lists(st.integers(0, 24 * 9), max_size=30, unique=True),
    sizes=st.lists(st.tuples(st.integers(0, 24 * 9), st.integers(1, 10**6)), max_size=30),
)
def test_no_two_moves_of_a_plan_take_the_same_rows(
    hours: list[int], sizes: list[tuple[int, int]]
) -> None:
    segments = [segment(f"{n}", age, rows) for n, (age, rows) in enumerate(sizes)]
    moves = planned([hours_ago(each) for each in hours], segments)
    names = [name for move in moves for name in move.sources]
    assert len(set(names)) == len(names)
    blocks = [move.block for move in moves if not move.sources]
    assert not any(
        one.overlaps(other) for place, one in enumerate(blocks) for other in blocks[:place]
    )
    for move in moves:
        if move.kind is MoveKind.EXPIRE:
            assert move.block.to_ns <= NOW - 7 * DAY_NS
    assert len(plan_lines(moves)) == len(moves)


def test_a_plan_is_shown_before_it_runs() -> None:
    lines = plan_lines(planned([hours_ago(24)], span_segments(24)))
    assert lines[0].startswith("merge  metrics/60s, part 0, ")
    assert lines[1].endswith("-> segments (high: no longer hot)")


def test_a_span_has_some_hundred_windows_for_any_width() -> None:
    for width in (*WINDOWS_NS, 7 * SECOND_NS):
        assert 500 <= span_of(width) // width <= 1_500
    with pytest.raises(SpecError):
        PlanLimits(moves=1)
