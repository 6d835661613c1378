"""The contract of every catalogue, and of the hot windows next to it."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.metrics.query.columns import combine_rows
from callboard.actors.metrics.tiers.ports import HotWindows
from callboard.actors.metrics.tiers.rules import dataset_of
from callboard.actors.storage.catalogue import Catalogue
from callboard.actors.storage.moves import Move, MoveKind, MoveState
from callboard.actors.storage.segments import Block, Segment, SegmentState
from callboard.messages.core.errors import SpecError
from callboard.messages.storage.errors import WriterFenced
from callboard.runtime.stores.memory_catalogue import MemoryCatalogue
from callboard.runtime.stores.tiered import tiered_stores
from tests.runtime.objects.window_rows import MINUTE_NS, many_rows

HOUR_NS = 60 * MINUTE_NS
DATASET = dataset_of(MINUTE_NS)
BLOCK = Block(DATASET, 2, 0, HOUR_NS)
NEVER = 2**62

Stores = tuple[Any, Catalogue]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    """A hot store, and the catalogue in the same database."""
    if request.param == "memory":
        url = "memory:"
    elif request.param == "sqlite":
        url = str(tmp_path / "metrics.db")
    else:
        url = request.getfixturevalue("postgres_url")
    hot, catalogue = tiered_stores(url, durability="off" if request.param != "postgres" else "full")
    hot.open()
    catalogue.open()
    yield hot, catalogue
    catalogue.close()
    hot.close()


def segment(name: str, block: Block = BLOCK) -> Segment:
    return Segment(f"{DATASET}/{name}", "d" * 64, block, 7, 70, "here")


def switched(catalogue: Catalogue, move: Move, target: Segment | None = None) -> Move | None:
    """Lead a move to its switch."""
    stamp = "" if move.sources else catalogue.stamp(move.block)
    if target is not None:
        move = move.to(MoveState.COPIED, target=target, stamp=stamp)
        catalogue.advance(1, move)
    move = move.to(MoveState.VERIFIED, stamp=stamp)
    catalogue.advance(1, move)
    return catalogue.switch(1, move.to(MoveState.SWITCHED, switched_at=5.0))


def stored(catalogue: Catalogue, hot: Any, name: str) -> Move:
    hot.claim(2, 1)
    hot.commit(2, 1, windows=[many_rows(3, 20, 4)])
    (move,) = catalogue.plan(1, [Move(MoveKind.STORE, BLOCK, location="here")])
    after = switched(catalogue, move, segment(name))
    assert after is not None
    return after


def test_a_switch_lists_the_segment_and_deletes_the_hot_rows_at_once(stores: Stores) -> None:
    hot, catalogue = stores
    move = stored(catalogue, hot, "1")
    assert len(hot.read_range(2, MINUTE_NS, 0, HOUR_NS)) == 0
    assert catalogue.segments(DATASET) == catalogue.all_segments() == [segment("1")]
    assert catalogue.open_moves() == [move]
    catalogue.finish(1, move.to(MoveState.DELETED))
    assert catalogue.open_moves() == []
    assert catalogue.segments(DATASET) == [segment("1")]


def test_a_repeated_switch_changes_nothing(stores: Stores) -> None:
    hot, catalogue = stores
    move = stored(catalogue, hot, "1")
    hot.commit(2, 1, windows=[many_rows(1, 5, 4)])
    assert catalogue.switch(1, move) == move
    assert len(hot.read_range(2, MINUTE_NS, 0, HOUR_NS)) == 5
    assert len(catalogue.all_segments()) == 1


@pytest.mark.parametrize("change", ["correction", "new", "packed and corrected"])
def test_hot_rows_that_have_changed_are_not_switched(stores: Stores, change: str) -> None:
    hot, catalogue = stores
    hot.claim(2, 1)
    rows = many_rows(3, 20, 4)
    hot.commit(2, 1, windows=[rows])
    (move,) = catalogue.plan(1, [Move(MoveKind.STORE, BLOCK, location="here")])
    move = move.to(MoveState.COPIED, target=segment("1"), stamp=catalogue.stamp(BLOCK))
    catalogue.advance(1, move)
    move = move.to(MoveState.VERIFIED)
    catalogue.advance(1, move)
    if change == "new":
        hot.commit(2, 1, windows=[many_rows(4, 1, 4)])
    else:
        corrected = dataclasses.replace(rows, revisions=rows.revisions + 1)
        hot.commit(2, 1, windows=[corrected])
        if change.startswith("packed"):
            hot.pack(2, NEVER, 100)
    before = hot.read_range(2, MINUTE_NS, 0, HOUR_NS)
    assert catalogue.switch(1, move.to(MoveState.SWITCHED)) is None
    assert len(hot.read_range(2, MINUTE_NS, 0, HOUR_NS)) == len(before)
    assert catalogue.all_segments() == []
    assert catalogue.open_moves() == [move]


def test_other_blocks_do_not_change_the_stamp(stores: Stores) -> None:
    hot, catalogue = stores
    assert catalogue.stamp(BLOCK) == ""
    hot.claim(2, 1)
    hot.commit(2, 1, windows=[many_rows(3, 20, 4)])
    stamp = catalogue.stamp(BLOCK)
    assert stamp
    hot.claim(3, 1)
    hot.commit(3, 1, windows=[many_rows(3, 20, 4)])
    later = many_rows(3, 20, 4)
    hot.commit(2, 1, windows=[dataclasses.replace(later, starts_ns=later.starts_ns + HOUR_NS)])
    assert catalogue.stamp(BLOCK) == stamp


def test_sources_are_retired_and_then_forgotten(stores: Stores) -> None:
    hot, catalogue = stores
    stored(catalogue, hot, "1")
    stored(catalogue, hot, "2")
    names = tuple(each.name for each in catalogue.all_segments())
    (move,) = catalogue.plan(1, [Move(MoveKind.MERGE, BLOCK, names, location="here")])
    after = switched(catalogue, move, segment("3"))
    assert after is not None
    assert catalogue.segments(DATASET) == [segment("3")]
    assert {each.state for each in catalogue.find(names)} == {SegmentState.RETIRED}
    catalogue.mark(1, names[0], SegmentState.CORRUPT)
    assert {each.state for each in catalogue.find(names)} == {SegmentState.RETIRED}
    catalogue.finish(1, after.to(MoveState.DELETED))
    assert catalogue.all_segments() == [segment("3")]


def test_a_source_that_is_not_live_is_not_taken(stores: Stores) -> None:
    hot, catalogue = stores
    stored(catalogue, hot, "1")
    name = segment("1").name
    (move,) = catalogue.plan(1, [Move(MoveKind.EXPIRE, BLOCK, (name,))])
    catalogue.mark(1, name, SegmentState.CORRUPT)
    assert switched(catalogue, move) is None
    (found,) = catalogue.segments(DATASET)
    assert found.state is SegmentState.CORRUPT


def test_moves_of_the_same_rows_are_not_planned_twice(stores: Stores) -> None:
    _, catalogue = stores
    one = Move(MoveKind.STORE, BLOCK, location="here")
    other = Move(MoveKind.EXPIRE, BLOCK._replace(from_ns=60, to_ns=2 * HOUR_NS))
    elsewhere = Move(MoveKind.STORE, BLOCK._replace(part=3), location="here")
    planned = catalogue.plan(1, [one, other, elsewhere])
    assert [move.number for move in planned] == [1, 2]
    assert catalogue.plan(1, [one, other, elsewhere]) == []
    catalogue.advance(1, planned[0].to(MoveState.ABANDONED, reason="a test"))
    (again,) = catalogue.plan(1, [one])
    assert again.number == catalogue.last_move() == 3


def test_a_replaced_process_changes_nothing_any_more(stores: Stores) -> None:
    _, catalogue = stores
    (move,) = catalogue.plan(5, [Move(MoveKind.STORE, BLOCK, location="here")])
    catalogue.claim(6)
    verified = move.to(MoveState.VERIFIED)
    late: list[Callable[[], object]] = [
        lambda: catalogue.claim(5),
        lambda: catalogue.plan(5, [Move(MoveKind.STORE, BLOCK._replace(part=9), location="x")]),
        lambda: catalogue.advance(5, verified),
        lambda: catalogue.switch(5, verified.to(MoveState.SWITCHED)),
        lambda: catalogue.finish(5, verified.to(MoveState.SWITCHED).to(MoveState.DELETED)),
        lambda: catalogue.mark(5, "x", SegmentState.CORRUPT),
        lambda: catalogue.suspect(5, "here", {"x": 1.0}),
    ]
    for action in late:
        with pytest.raises(WriterFenced):
            action()
    assert catalogue.open_moves() == [move]
    assert catalogue.suspects("here") == {}


def test_a_step_behind_the_switch_is_refused(stores: Stores) -> None:
    hot, catalogue = stores
    hot.claim(2, 1)
    hot.commit(2, 1, windows=[many_rows(3, 20, 4)])
    (move,) = catalogue.plan(1, [Move(MoveKind.STORE, BLOCK, location="here")])
    assert switched(catalogue, move, segment("1")) is not None
    with pytest.raises(WriterFenced):
        catalogue.advance(1, move.to(MoveState.COPIED, target=segment("2")))
    assert catalogue.all_segments() == [segment("1")]


def test_suspects_are_kept_for_each_location(stores: Stores) -> None:
    _, catalogue = stores
    catalogue.suspect(1, "here", {"a": 1.5, "b": 2.0})
    catalogue.suspect(1, "there", {"c": 3.0})
    catalogue.suspect(1, "here", {"b": 2.0})
    assert catalogue.suspects("here") == {"b": 2.0}
    assert catalogue.suspects("there") == {"c": 3.0}


def test_segments_are_found_by_their_time(stores: Stores) -> None:
    hot, catalogue = stores
    for number in range(3):
        block = Block(DATASET, 2, number * HOUR_NS, (number + 1) * HOUR_NS)
        hot.claim(2, 1)
        rows = many_rows(1, 60, 2)
        moved = dataclasses.replace(rows, starts_ns=rows.starts_ns + number * HOUR_NS)
        hot.commit(2, 1, windows=[combine_rows(MINUTE_NS, [moved])])
        (move,) = catalogue.plan(1, [Move(MoveKind.STORE, block, location="here")])
        assert switched(catalogue, move, segment(f"{number}", block)) is not None
    found = catalogue.segments(DATASET, HOUR_NS, 2 * HOUR_NS)
    assert [each.name for each in found] == [f"{DATASET}/1"]
    assert len(catalogue.segments(DATASET, HOUR_NS - 1, 2 * HOUR_NS + 1)) == 3
    assert catalogue.segments(dataset_of(5 * MINUTE_NS)) == []


def test_hot_stores_have_what_the_tiers_need(stores: Stores) -> None:
    hot: HotWindows = stores[0]
    assert hot.closed_before(MINUTE_NS, NEVER) == []


@pytest.mark.parametrize("owner", ["", "A", "a/b", "ü", "a" * 64])
def test_an_owner_that_cannot_begin_a_name_is_refused(owner: str) -> None:
    with pytest.raises(SpecError):
        MemoryCatalogue(owner=owner)
