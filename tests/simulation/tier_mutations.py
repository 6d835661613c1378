"""Deliberate defects of moves between tiers."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from callboard.actors.storage.mover import Mover
from callboard.actors.storage.moves import Move
from callboard.runtime.stores.catalogue import SqlCatalogue

from .mutation import Mutation

__all__ = ["TIERS"]

Right = Callable[..., Any]


def _stamp_read_late(right: Right) -> Right:
    def switch(catalogue: SqlCatalogue, fence: int, move: Move) -> Any:
        stamp = "" if move.sources else catalogue.stamp(move.block)
        return right(catalogue, fence, dataclasses.replace(move, stamp=stamp))

    return switch


def _deleted_early(right: Right) -> Right:
    def verify(mover: Mover, move: Move) -> Any:
        for segment in mover._catalogue.find(move.sources):
            mover._store(segment.location).delete([segment.name])
        return right(mover, move)

    return verify


def _not_retired(right: Right) -> Right:
    def take(catalogue: SqlCatalogue, transaction: Any, move: Move) -> Any:
        return True if move.sources else right(catalogue, transaction, move)

    return take


TIERS: Final[Mapping[str, Mutation]] = MappingProxyType(
    {
        "stamp_read_late": Mutation(
            "hot rows that have changed since their copy are deleted",
            SqlCatalogue, "switch", _stamp_read_late, "tiers",
        ),
        "sources_deleted_early": Mutation(
            "the sources of a move are deleted before its switch",
            Mover, "_verify", _deleted_early, "tiers",
        ),
        "sources_not_retired": Mutation(
            "segments that were merged stay listed",
            SqlCatalogue, "_take_sources", _not_retired, "tiers",
        ),
    }
)  # fmt: skip
"""The defects by name."""
