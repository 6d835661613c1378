"""Moves with crashes at every call, and with old processes that go on: each row exactly once."""

import contextlib
import itertools
import random
from typing import Final

import pytest

from callboard.actors.storage.core import MoveLimits
from callboard.actors.storage.mover import Mover
from callboard.actors.storage.moves import Move, MoveKind, MoveState
from callboard.actors.storage.scrubber import scrub
from callboard.actors.storage.segments import Block, SegmentState
from callboard.messages.core.errors import StoreFailed
from callboard.runtime.stores.memory_catalogue import MemoryCatalogue
from tests.simulation.plain_rows import (
    DATASET,
    Crash,
    Crashes,
    DictionaryStore,
    PlainContent,
    PlainHot,
    Rows,
    read_all,
)

LIMITS: Final = MoveLimits(lease_s=10.0, orphan_s=100.0)
BLOCK: Final = Block(DATASET, 0, 0, 100)


class World:
    """What outlives a process: the hot rows, the catalogue, the objects, and the clock."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.hot = PlainHot()
        self.catalogue = MemoryCatalogue(owner="plain", hot=self.hot)
        self.store = DictionaryStore()
        self.fence = 0
        self.expected: Rows = {}

    def process(self, crashes: Crashes) -> Mover:
        """A new process, which takes the moves over."""
        self.fence += 1
        self.catalogue.claim(self.fence)
        return Mover(
            crashes.wrap(self.catalogue),
            {"there": crashes.wrap(self.store)},
            PlainContent(self.hot),
            fence=self.fence,
            limits=LIMITS,
            wall_time=lambda: self.now,
        )

    def add(self, *keys: int) -> None:
        for key in keys:
            revision = self.expected.get(key, 0) + 1
            self.hot.rows[key] = self.expected[key] = revision

    def check(self) -> None:
        assert read_all(self.hot, self.catalogue, self.store) == self.expected

    def scrub(self) -> int:
        return scrub(
            self.catalogue,
            "there",
            self.store,
            fence=self.fence,
            limits=LIMITS,
            wall_time=lambda: self.now,
        ).removed

    def settle(self) -> None:
        """Let everything come to its end, and check that nothing is left over."""
        mover = self.process(Crashes())
        mover.round()
        self.now += LIMITS.lease_s
        assert not mover.round()
        assert not self.catalogue.open_moves()
        self.scrub()
        self.now += LIMITS.orphan_s
        self.scrub()
        self.check()
        segments = self.catalogue.all_segments()
        assert {each.name for each in segments} == set(self.store.files)
        assert all(each.state is SegmentState.LIVE for each in segments)


def stored(world: World, *blocks: Block) -> list[str]:
    moves = [Move(MoveKind.STORE, block, location="there") for block in blocks]
    world.catalogue.plan(world.fence, moves)
    world.process(Crashes()).round()
    return [each.name for each in world.catalogue.segments(DATASET)]


def prepared(kind: MoveKind) -> tuple[World, Move]:
    world = World()
    world.add(*range(20))
    if kind is MoveKind.STORE:
        return world, Move(kind, BLOCK, location="there")
    names = stored(world, Block(DATASET, 0, 0, 10), Block(DATASET, 0, 10, 100))
    world.add(3, 15)
    names = stored(world, BLOCK)
    assert len(names) == 3
    if kind is MoveKind.MERGE:
        return world, Move(kind, BLOCK, tuple(names), location="there")
    return world, Move(kind, BLOCK, tuple(names))


@pytest.mark.parametrize("kind", MoveKind)
def test_a_crash_at_any_call_hides_no_row_and_shows_none_twice(kind: MoveKind) -> None:
    for at in itertools.count():
        world, move = prepared(kind)
        world.catalogue.plan(world.fence, [move])
        crashes = Crashes(at)
        with contextlib.suppress(Crash):
            mover = world.process(crashes)
            mover.round()
            world.now += LIMITS.lease_s
            mover.round()
        if kind is MoveKind.EXPIRE and not world.catalogue.segments(DATASET):
            world.expected.clear()
        world.check()
        world.process(Crashes()).round()
        if kind is MoveKind.EXPIRE:
            world.expected.clear()
        world.check()
        world.settle()
        if crashes.points <= at:
            break
    assert at > 15


def test_rows_that_change_during_the_copy_are_copied_again() -> None:
    world = World()
    world.add(*range(10))
    (move,) = world.catalogue.plan(0, [Move(MoveKind.STORE, BLOCK, location="there")])
    mover = world.process(Crashes())
    move = mover.step(mover.step(move))
    assert move.state is MoveState.VERIFIED
    world.add(4, 50)
    assert mover.step(move).state is MoveState.PLANNED
    world.check()
    world.settle()
    assert not world.hot.rows
    assert len(world.store.files) == 1


def test_rows_that_never_stand_still_are_given_up_for_now() -> None:
    world = World()
    world.add(1)
    (move,) = world.catalogue.plan(0, [Move(MoveKind.STORE, BLOCK, location="there")])
    mover = world.process(Crashes())
    while move.state.is_open:
        if move.state is MoveState.VERIFIED:
            world.add(1)
        move = mover.step(move)
    assert move.state is MoveState.ABANDONED
    assert move.reason == "its sources have changed, 5 times"
    world.settle()


def test_a_target_that_does_not_read_back_is_never_switched() -> None:
    world = World()
    world.add(*range(10))
    (move,) = world.catalogue.plan(0, [Move(MoveKind.STORE, BLOCK, location="there")])
    mover = world.process(Crashes())
    while move.state.is_open:
        if move.target is not None:
            world.store.files[move.target.name] = b"[[1, 1]]"
        move = mover.step(move)
    assert move.state is MoveState.ABANDONED
    assert "another content" in move.reason
    world.settle()
    assert not world.store.files


def test_what_the_rules_refuse_stays() -> None:
    world = World()
    world.add(1)
    names = stored(world, BLOCK)
    mover = Mover(
        world.catalogue,
        {"there": world.store},
        PlainContent(world.hot, lambda _move: "it is not rolled up"),
        fence=world.fence,
        limits=LIMITS,
        wall_time=lambda: world.now,
    )
    (move,) = world.catalogue.plan(world.fence, [Move(MoveKind.EXPIRE, BLOCK, tuple(names))])
    mover.round()
    assert mover.refused == {move.number: "it is not rolled up"}
    assert mover.counts["refused"] == 1
    world.settle()


def test_a_missing_file_is_corrupt_and_stays_listed_until_it_is_back() -> None:
    world = World()
    world.add(1, 2)
    (name,) = stored(world, BLOCK)
    data = world.store.files.pop(name)
    for _ in range(3):
        world.scrub()
        world.now += LIMITS.orphan_s
        (segment,) = world.catalogue.all_segments()
        assert segment.state is SegmentState.CORRUPT
    world.catalogue.plan(world.fence, [Move(MoveKind.EXPIRE, BLOCK, (name,))])
    world.process(Crashes()).round()
    assert [each.name for each in world.catalogue.all_segments()] == [name]
    world.store.files[name] = data
    world.scrub()
    world.settle()


def test_a_file_of_somebody_else_and_one_of_a_later_catalogue_stay() -> None:
    world = World()
    world.add(1)
    stored(world, BLOCK)
    others = {"plain/readme": b"x", f"plain/rows/{99:010d}-{'a' * 64}": b"y"}
    world.store.files.update(others)
    for _ in range(3):
        found = scrub(
            world.catalogue, "there", world.store, fence=world.fence, limits=LIMITS,
            wall_time=lambda: world.now,
        )  # fmt: skip
        assert (found.removed, found.foreign) == (0, 2)
        world.now += LIMITS.orphan_s
    assert others.keys() <= world.store.files.keys()


def test_an_object_store_that_is_away_delays_moves_and_loses_nothing() -> None:
    world = World()
    world.add(1)
    world.catalogue.plan(0, [Move(MoveKind.STORE, BLOCK, location="elsewhere")])
    failures = world.process(Crashes()).round()
    assert [type(each.error).code for each in failures] == ["spec"]
    world.check()

    def refuse(name: str, data: bytes) -> bool:
        raise StoreFailed("the disk is full.")

    world.catalogue.plan(0 + world.fence, [])
    full = World()
    full.add(1)
    full.catalogue.plan(0, [Move(MoveKind.STORE, BLOCK, location="there")])
    put, full.store.put = full.store.put, refuse  # type: ignore[method-assign]
    assert len(full.process(Crashes()).round()) == 1
    full.check()
    full.store.put = put  # type: ignore[method-assign]
    full.settle()


# --- thousands of moves ----------------------------------------------------------------------


class Storm:
    """Random work on one world: rows, corrections, moves, crashes, and processes that linger."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World()
        self.mover = self.world.process(Crashes())
        self.old: list[tuple[Mover, Move]] = []
        """Processes that were replaced during a move, and do not know it."""
        self.moves = 0
        self.crashes = 0

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.random.choice(
                [self.write, self.write, self.plan, self.work, self.work, self.linger, self.scrub]
            )()
            self.world.now += self.random.choice((0.0, 1.0, 30.0, 120.0))
            self.world.check()
        self.world.settle()

    def write(self) -> None:
        self.world.add(*self.random.sample(range(40), self.random.randint(1, 6)))

    def plan(self) -> None:
        world, draw = self.world, self.random
        begin = draw.randrange(0, 40, 10)
        moves = [Move(MoveKind.STORE, Block(DATASET, 0, begin, begin + 10), location="there")]
        live = world.catalogue.segments(DATASET)
        if len(live) >= 2:
            chosen = draw.sample(live, draw.randint(1, min(4, len(live))))
            block = Block(
                DATASET,
                0,
                min(each.block.from_ns for each in chosen),
                max(each.block.to_ns for each in chosen),
            )
            names = tuple(each.name for each in chosen)
            moves.append(Move(MoveKind.MERGE, block, names, location="there"))
        self.moves += len(world.catalogue.plan(world.fence, moves))

    def work(self) -> None:
        crashes = Crashes(self.random.choice((None, self.random.randrange(60))))
        self.mover = self.world.process(crashes)
        try:
            self.mover.round()
        except Crash:
            self.crashes += 1

    def linger(self) -> None:
        """A process works one step on a move as it was when it was replaced."""
        if self.old and self.random.random() < 0.7:
            mover, move = self.old.pop(self.random.randrange(len(self.old)))
            with contextlib.suppress(StoreFailed):  # Such as `WriterFenced`.
                for _ in range(6):
                    move = mover.step(move)
        moves = self.world.catalogue.open_moves()
        if moves and len(self.old) < 5:
            self.old.append((self.world.process(Crashes()), self.random.choice(moves)))

    def scrub(self) -> None:
        self.world.scrub()


@pytest.mark.parametrize(
    "seeds", [range(150), pytest.param(range(150, 6_000), marks=pytest.mark.soak)], ids=len
)
def test_a_storm_of_moves_crashes_and_old_processes_keeps_each_row_once(seeds: range) -> None:
    moves = crashes = 0
    for seed in seeds:
        storm = Storm(seed)
        storm.run(60)
        moves += storm.moves
        crashes += storm.crashes
    assert moves > len(seeds) * 4
    assert crashes > len(seeds)


def test_a_round_ends_early_when_a_store_is_away() -> None:
    world = World()
    world.add(*range(40))
    blocks = [Block(DATASET, 0, begin, begin + 5) for begin in range(0, 40, 5)]
    world.catalogue.plan(0, [Move(MoveKind.STORE, block, location="away") for block in blocks])
    assert len(world.process(Crashes()).round()) == LIMITS.failures
    world.check()
