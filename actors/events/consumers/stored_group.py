"""What of a group outlives its process: a read model named `consumers/NAME`.

Its position is the checkpoint. Its rows are the state (what is done above the checkpoint), one
for each parked event, and who serves the group: whoever took it over last may write.
Everything here blocks.
"""

import uuid
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgpack

from callboard.messages.storage.stores import ReadModelStore

from ..errors import GroupTaken

__all__ = ["KeptGroup", "ParkedRow", "TakenOver"]

STATE_ROW: Final = "state"
OWNER_ROW: Final = "owner"
PARKED_PREFIX: Final = "parked/"
TAKE_OVER_TRIES: Final = 100


class TakenOver(NamedTuple):
    """Where the group stood when it was taken over."""

    checkpoint: int
    done: list[int]
    """Positions above the checkpoint that are done."""
    version: int
    """Of a stream's group: the version up to which everything is done."""


class ParkedRow(NamedTuple):
    """An event that was parked, as it is kept."""

    position: int
    attempts: int
    key: str | None
    reasons: tuple[str, ...]


class KeptGroup:
    """The read model of one group, for who serves it."""

    def __init__(self, name: str, models: ReadModelStore) -> None:
        self.model: Final = f"consumers/{name}"
        self._name = name
        self._models = models
        self._owner = uuid.uuid4().bytes

    def take_over(self) -> TakenOver:
        """Become the one who writes; whoever was it before is refused from now on."""
        models, model = self._models, self.model
        for _ in range(TAKE_OVER_TRIES):
            position = models.position(model)
            if models.apply(model, position, position, {OWNER_ROW: self._owner}):
                (state,) = models.get_many(model, [STATE_ROW])
                done, version = msgpack.unpackb(state) if state else ([], 0)
                return TakenOver(models.position(model), _positions(done), version)
        raise self._taken()

    def write(self, now: TakenOver, parked: dict[int, ParkedRow | None]) -> None:
        """Write how the group stands, and what has been parked or (None) is no more.

        Twice does no harm. Raises `GroupTaken`, and what the store raises.
        """
        models, model = self._models, self.model
        (owner,) = models.get_many(model, [OWNER_ROW])
        rows: dict[str, bytes | None] = {STATE_ROW: msgpack.packb([_ranges(now.done), now.version])}
        for position, row in parked.items():
            rows[_row_of(position)] = None if row is None else msgpack.packb(row[1:])
        before = models.position(model)
        if owner != self._owner or not models.apply(model, before, now.checkpoint, rows):
            raise self._taken()

    def parked(self, after: int, limit: int) -> list[ParkedRow]:
        """What is parked behind a position, in order."""
        rows = self._models.items(
            self.model, PARKED_PREFIX, after=_row_of(after) if after else "", limit=limit
        )
        found: list[ParkedRow] = []
        for name, value in rows:
            attempts, key, reasons = msgpack.unpackb(value)
            position = int(name.removeprefix(PARKED_PREFIX))
            found.append(ParkedRow(position, attempts, key, tuple(reasons)))
        return found

    def _taken(self) -> GroupTaken:
        return GroupTaken(
            f"the consumers {self._name!r} are served by somebody else, who came later.",
            advice="End one of the two, or give it another name.",
        )


def _row_of(position: int) -> str:
    return f"{PARKED_PREFIX}{position:020d}"


def _ranges(positions: Iterable[int]) -> list[list[int]]:
    """Positions in order as pairs of a first and a last one."""
    ranges: list[list[int]] = []
    for position in positions:
        if ranges and position == ranges[-1][1] + 1:
            ranges[-1][1] = position
        else:
            ranges.append([position, position])
    return ranges


def _positions(ranges: list[list[int]]) -> list[int]:
    return [position for first, last in ranges for position in range(first, last + 1)]
