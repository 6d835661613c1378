"""The durable state of a group: a read model named `consumers/NAME`.

Its position is the checkpoint. Its rows are the events that are done above the checkpoint, one
row for each parked event, and the owner of the group: only the last owner may write. All calls
here block.
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
    """The stored progress of a group."""

    checkpoint: int
    done: list[int]
    """Positions above the checkpoint that are done."""
    version: int
    """For the group of a stream: the version up to which all events are done."""


class ParkedRow(NamedTuple):
    """A parked event, as it is stored."""

    position: int
    attempts: int
    key: str | None
    reasons: tuple[str, ...]


class KeptGroup:
    """The read model of one group, for its owner."""

    def __init__(self, name: str, models: ReadModelStore) -> None:
        self.model: Final = f"consumers/{name}"
        self._name = name
        self._models = models
        self._owner = uuid.uuid4().bytes

    def take_over(self) -> TakenOver:
        """Become the owner; the writes of the owner before fail from now on."""
        models, model = self._models, self.model
        for _ in range(TAKE_OVER_TRIES):
            position = models.position(model)
            if models.apply(model, position, position, {OWNER_ROW: self._owner}):
                (state,) = models.get_many(model, [STATE_ROW])
                done, version = msgpack.unpackb(state) if state else ([], 0)
                return TakenOver(models.position(model), _positions(done), version)
        raise self._taken()

    def write(self, now: TakenOver, parked: dict[int, ParkedRow | None]) -> None:
        """Write the group's progress, and rows of parked events (None deletes a row).

        May be repeated. Raises `GroupTaken`, and what the store raises.
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
        """The parked events with positions above `after`, in order, at most `limit`."""
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
            f"another process has taken the consumers {self._name!r} over.",
            advice="Stop one of the two, or give one group another name.",
        )


def _row_of(position: int) -> str:
    return f"{PARKED_PREFIX}{position:020d}"


def _ranges(positions: Iterable[int]) -> list[list[int]]:
    """Sorted positions as pairs of a first and a last one."""
    ranges: list[list[int]] = []
    for position in positions:
        if ranges and position == ranges[-1][1] + 1:
            ranges[-1][1] = position
        else:
            ranges.append([position, position])
    return ranges


def _positions(ranges: list[list[int]]) -> list[int]:
    return [position for first, last in ranges for position in range(first, last + 1)]
