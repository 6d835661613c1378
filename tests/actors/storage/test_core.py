"""The decisions of moves, and their form in a catalogue."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.storage.core import MoveLimits, Step, conflict, next_step, review
from callboard.actors.storage.moves import (
    NEXT_STATES,
    Move,
    MoveKind,
    MoveState,
    move_from_text,
    move_to_text,
)
from callboard.actors.storage.objects import ObjectInfo
from callboard.actors.storage.segments import (
    Block,
    Segment,
    SegmentState,
    digest_of,
    move_of,
    segment_name,
)
from callboard.messages.core.errors import SpecError
from callboard.messages.storage.errors import StoreDamaged

BLOCK = Block("d/x", 0, 0, 10)
LIMITS = MoveLimits(lease_s=60.0, orphan_s=100.0)
TEXT = st.text(max_size=5)
BLOCKS = st.builds(Block, TEXT, st.integers(0, 9), st.integers(-9, 9), st.integers(-9, 9))
SEGMENTS = st.builds(
    Segment, TEXT, TEXT, BLOCKS, st.integers(0), st.integers(0), TEXT, st.sampled_from(SegmentState)
)
MOVES = st.builds(
    Move,
    st.sampled_from(MoveKind),
    BLOCKS,
    st.lists(TEXT, max_size=3).map(tuple),
    TEXT,
    st.integers(0, 2**40),
    st.sampled_from(MoveState),
    st.none() | SEGMENTS,
    TEXT,
    st.integers(0, 9),
    TEXT,
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(move=MOVES)
def test_a_move_is_read_as_it_was_written(move: Move) -> None:
    assert move_from_text(move_to_text(move)) == move


@given(move=MOVES, place=st.integers(0, 2_000), byte=st.characters(codec="ascii"))
def test_a_changed_text_is_a_move_or_damage(move: Move, place: int, byte: str) -> None:
    text = move_to_text(move)
    at = place % len(text)
    for changed in (text[:at] + byte + text[at + 1 :], text[:at], "[]", "null", "{}"):
        try:
            assert isinstance(move_from_text(changed), Move)
        except StoreDamaged:
            continue


@given(move=MOVES, now=st.floats(-1e6, 1e6))
def test_each_open_move_has_a_step_and_an_ended_one_has_none(move: Move, now: float) -> None:
    assert (next_step(move, now, LIMITS) is Step.NONE) == (not move.state.is_open)


def test_no_way_leads_back_from_the_switch() -> None:
    reached = {MoveState.SWITCHED}
    while more := {after for each in reached for after in NEXT_STATES[each]} - reached:
        reached |= more
    assert reached == {MoveState.SWITCHED, MoveState.DELETED}


@pytest.mark.parametrize(
    ("now", "step"),
    [(100.0, Step.WAIT), (159.9, Step.WAIT), (160.0, Step.DELETE), (0.0, Step.WAIT)],
)
def test_sources_outlast_the_leases_also_when_the_clock_goes_back(now: float, step: Step) -> None:
    move = Move(MoveKind.MERGE, BLOCK, ("a",), "there", state=MoveState.SWITCHED, switched_at=100.0)
    assert next_step(move, now, LIMITS) is step
    assert next_step(dataclasses.replace(move, sources=()), now, LIMITS) is Step.DELETE


def test_moves_conflict_when_they_would_take_the_same_rows() -> None:
    hot = Move(MoveKind.STORE, BLOCK)
    assert conflict(hot, Move(MoveKind.EXPIRE, BLOCK._replace(from_ns=9, to_ns=11)))
    assert not conflict(hot, Move(MoveKind.EXPIRE, BLOCK._replace(from_ns=10, to_ns=11)))
    assert not conflict(hot, Move(MoveKind.STORE, BLOCK._replace(part=1)))
    assert not conflict(hot, Move(MoveKind.MERGE, BLOCK, ("a",)))
    assert conflict(Move(MoveKind.MERGE, BLOCK, ("a", "b")), Move(MoveKind.EXPIRE, BLOCK, ("b",)))


def test_the_name_of_a_segment_says_its_move() -> None:
    name = segment_name("metrics/60s", 17, digest_of(b"x"))
    assert move_of(name) == 17
    for other in ("metrics/60s/readme", "17", "x/17-abc", f"x/-1-{'a' * 64}"):
        assert move_of(other) is None


@pytest.mark.parametrize(
    "wrong", [{"lease_s": -1.0}, {"tries": 0}, {"steps": 0}, {"failures": 0}, {"orphan_s": -1}]
)
def test_wrong_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SpecError):
        MoveLimits(**wrong)  # type: ignore[arg-type]


# --- the scrubber ------------------------------------------------------------------------------


def name_of(move: int) -> str:
    return segment_name("d/x", move, digest_of(b"x"))


def segment(move: int, state: SegmentState = SegmentState.LIVE, size: int = 1) -> Segment:
    return Segment(name_of(move), digest_of(b"x"), BLOCK, 1, size, "there", state)


def test_an_orphan_goes_at_the_second_look_after_its_time() -> None:
    objects = [ObjectInfo(name_of(3), 1, 0.0)]
    first = review(objects, [], [], 9, {}, 1_000.0, LIMITS)
    assert (first.suspects, first.orphans) == ({name_of(3): 1_000.0}, [])
    early = review(objects, [], [], 9, first.suspects, 1_099.0, LIMITS)
    assert (early.suspects, early.orphans) == (first.suspects, [])
    second = review(objects, [], [], 9, early.suspects, 1_100.0, LIMITS)
    assert second.orphans == [name_of(3)]


def test_a_clock_that_jumps_removes_nothing_at_the_first_look() -> None:
    objects = [ObjectInfo(name_of(3), 1, 0.0)]
    for now in (1e12, -1e12):
        assert review(objects, [], [], 9, {}, now, LIMITS).orphans == []
    back = review(objects, [], [], 9, {name_of(3): 1_000.0}, 0.0, LIMITS)
    assert (back.suspects, back.orphans) == ({name_of(3): 0.0}, [])


def test_what_is_referred_to_under_way_or_foreign_is_no_suspect() -> None:
    objects = [ObjectInfo(name_of(move), 1, 0.0) for move in (1, 2, 10)]
    objects.append(ObjectInfo("d/readme", 1, 0.0))
    under_way = Move(MoveKind.STORE, BLOCK, number=2)
    known = {each.name: 0.0 for each in objects}
    found = review(objects, [segment(1)], [under_way], 9, known, 1e9, LIMITS)
    assert (found.suspects, found.orphans, found.foreign) == ({}, [], 2)


def test_a_reference_without_its_object_is_reported_and_never_removed() -> None:
    segments = [segment(1), segment(2, size=5), segment(3, SegmentState.CORRUPT), segment(4)]
    segments.append(segment(5, SegmentState.RETIRED))
    objects = [ObjectInfo(name_of(move), 1, 0.0) for move in (2, 3, 4)]
    found = review(objects, segments, [], 9, {}, 0.0, LIMITS)
    assert found.missing == segments[:2]
    assert found.found == [segments[2]]
    assert found.orphans == []
