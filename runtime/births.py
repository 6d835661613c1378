"""Births as they are shipped: what a driver wants started, pickled for the host that does it."""

from collections.abc import Sequence
from typing import Final

from callboard.actors.host.warden import Birth
from callboard.messages.errors import SpecError
from callboard.messages.placement import Placement
from callboard.messages.ports import Pickler
from callboard.messages.spawning import SpawnPart

__all__ = ["START_BATCH", "part_of"]

START_BATCH: Final = 1_000
"""Top-level actors started by one message: decoding and starting overlap."""


def part_of(
    pickler: Pickler, births: Sequence[Birth], placement: Placement, *, numbers_each: int = 1
) -> SpawnPart:
    """Births that go to one host; raises `SpecError` when they cannot be pickled."""
    try:
        packed = pickler.dumps(list(births))
    except Exception as error:
        raise SpecError(
            f"{births[0][0].__qualname__} cannot be sent to a host: {error!r}.",
            advice="Its class and constructor arguments must be picklable: open files, locks "
            "and connections are made in the constructor or in `started`.",
        ) from error
    return SpawnPart(
        births=packed,
        count=len(births),
        numbers_each=numbers_each,
        placement=placement.to_data(),
    )
