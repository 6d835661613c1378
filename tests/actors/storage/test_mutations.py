"""The storm of moves finds defects: each of these, put in on purpose, ends with a wrong row."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from callboard.actors.storage import mover as mover_module
from callboard.actors.storage import scrubber as scrubber_module
from callboard.actors.storage.core import Review, Step, next_step, review
from callboard.actors.storage.mover import Mover
from callboard.actors.storage.moves import Move, MoveState
from callboard.messages.core.errors import StoreFailed
from callboard.runtime.stores.catalogue import SqlCatalogue
from tests.simulation.plain_rows import PlainHot

from .test_crashes import Storm

SEEDS = 60

Patch = pytest.MonkeyPatch


def hot_rows_are_taken_as_they_are(patch: Patch) -> None:
    def delete(hot: PlainHot, connection: Any, block: Any, stamp: str) -> bool:
        for key in hot.in_block(block):
            del hot.rows[key]
        return True

    patch.setattr(PlainHot, "delete", delete)


def the_stamp_is_read_at_the_switch(patch: Patch) -> None:
    switch = SqlCatalogue.switch

    def late(catalogue: SqlCatalogue, fence: int, move: Move) -> Move | None:
        stamp = "" if move.sources else catalogue.stamp(move.block)
        return switch(catalogue, fence, dataclasses.replace(move, stamp=stamp))

    patch.setattr(SqlCatalogue, "switch", late)


def sources_are_deleted_before_the_switch(patch: Patch) -> None:
    verify = Mover._verify

    def too_early(mover: Mover, move: Move) -> Move:
        for segment in mover._catalogue.find(move.sources):
            mover._store(segment.location).delete([segment.name])
        return verify(mover, move)

    patch.setattr(Mover, "_verify", too_early)


def sources_are_not_retired(patch: Patch) -> None:
    patch.setattr(SqlCatalogue, "_take_sources", lambda *_values: True)


def tokens_are_not_compared(patch: Patch) -> None:
    """An old process then does steps behind those of the new one."""
    check = SqlCatalogue._check

    def equal(catalogue: SqlCatalogue, transaction: Any, fence: int) -> None:
        check(catalogue, transaction, 2**40)

    patch.setattr(SqlCatalogue, "_check", equal)

    def advance(catalogue: SqlCatalogue, fence: int, move: Move) -> None:
        catalogue._write(lambda transaction: catalogue._store(transaction, move))

    patch.setattr(SqlCatalogue, "advance", advance)


def files_under_way_are_orphans(patch: Patch) -> None:
    def blind(objects: Any, segments: Any, open_moves: Any, *rest: Any) -> Review:
        return review(objects, segments, (), *rest)

    patch.setattr(scrubber_module, "review", blind)


def moves_that_end_leave_their_sources_behind(patch: Patch) -> None:
    def shorter(move: Move, *rest: Any) -> Step:
        return Step.NONE if move.state is MoveState.SWITCHED else next_step(move, *rest)

    patch.setattr(mover_module, "next_step", shorter)


MUTATIONS = (
    hot_rows_are_taken_as_they_are,
    the_stamp_is_read_at_the_switch,
    sources_are_deleted_before_the_switch,
    sources_are_not_retired,
    tokens_are_not_compared,
    files_under_way_are_orphans,
    moves_that_end_leave_their_sources_behind,
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.__name__)
def test_a_defect_is_found(mutation: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutation(monkeypatch)
    for seed in range(SEEDS):
        try:
            Storm(seed).run(60)
        except (AssertionError, StoreFailed):
            return
    raise AssertionError("no seed has found it")
