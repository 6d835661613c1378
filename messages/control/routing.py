"""How a message without a receiver reaches one of the actors that offer its contract."""

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self, final

from ..core.errors import SpecError

__all__ = [
    "ROUTING_DEFAULT",
    "SHARES_MAX",
    "Routing",
    "RoutingKind",
    "consistent_hash",
    "deal",
    "keyed_by",
]

SHARES_MAX: Final = 4_096
"""The most shares that the keys of one kind of keyed actors may be divided into."""


@final
@enum.unique
class RoutingKind(enum.StrEnum):
    """The kinds of routing."""

    ROUND_ROBIN = "round_robin"
    LEAST_LOADED = "least_loaded"
    CONSISTENT_HASH = "consistent_hash"
    KEYED = "keyed"
    """A consistent hash over fixed places: a place that is down keeps its keys."""


@final
@dataclass(frozen=True, slots=True)
class Routing:
    """The routing of a pool, or of all offers of a contract.

    `Routing.ROUND_ROBIN` takes each offer in turn. `Routing.LEAST_LOADED` takes the offer with
    the fewest outstanding messages of the sender's host, relative to its size.
    `consistent_hash("field")` takes the same offer for the same value of a field. Raises
    `SpecError` for fields that do not fit together.
    """

    kind: RoutingKind
    """Which of several offers a message takes."""
    field: str = ""
    """The field whose value decides, for `consistent_hash` and keyed actors."""
    places: tuple[tuple[int, int], ...] = ()
    """Slots and cells that share the keys of `KEYED`; the root fills them in."""
    owners: tuple[int, ...] = ()
    """For each share of the keys of `KEYED` the number of its place. The root changes them as hosts
    come and go. Without shares, a hash over the places decides, and a key never moves."""
    before: tuple[int, ...] = ()
    """For each share the place that had it before the last change, and has to release it."""

    ROUND_ROBIN: ClassVar[Self]
    """Takes each offer in turn."""
    LEAST_LOADED: ClassVar[Self]
    """Takes the offer with the fewest outstanding messages."""

    def __post_init__(self) -> None:
        is_keyed = self.kind is RoutingKind.KEYED
        hashes = is_keyed or self.kind is RoutingKind.CONSISTENT_HASH
        if (
            not isinstance(self.kind, RoutingKind)
            or hashes != self.field.isidentifier()
            or ((self.places or self.owners) and not is_keyed)
            or len(self.before) not in {0, len(self.owners)}
            or not all(
                0 <= owner < max(1, len(self.places)) for owner in (*self.owners, *self.before)
            )
        ):
            raise SpecError(
                f"Routing({self.kind!r}, {self.field!r}) is no valid routing.",
                advice='Use Routing.ROUND_ROBIN, Routing.LEAST_LOADED or consistent_hash("field").',
                field="Routing",
            )

    def to_text(self) -> str:
        """This routing as text, for the directory."""
        text = f"{self.kind}:{self.field}" if self.field else self.kind.value
        if self.places:
            text += ":" + ",".join(f"{slot}/{cell}" for slot, cell in self.places)
        if self.owners:
            text += ("" if self.places else ":") + ":" + ".".join(map(str, self.owners))
        if self.before:
            text += ":" + ".".join(map(str, self.before))
        return text

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The routing that `to_text` wrote; raises `SpecError` for any other text."""
        kind, _, rest = text.partition(":")
        field, _, rest = rest.partition(":")
        places, _, rest = rest.partition(":")
        owners, _, before = rest.partition(":")
        try:
            return cls(
                RoutingKind(kind),
                field,
                tuple(map(_place, filter(None, places.split(",")))),
                tuple(map(int, filter(None, owners.split(".")))),
                tuple(map(int, filter(None, before.split(".")))),
            )
        except ValueError:
            raise SpecError(
                f"{text!r} is no routing that this release knows.",
                advice="All hosts must run the same release of Callboard.",
                field="Routing",
            ) from None


Routing.ROUND_ROBIN = Routing(RoutingKind.ROUND_ROBIN)
Routing.LEAST_LOADED = Routing(RoutingKind.LEAST_LOADED)

ROUTING_DEFAULT: Final = Routing(RoutingKind.ROUND_ROBIN)


def consistent_hash(field: str) -> Routing:
    """Routes messages with the same value of a field to the same receiver while it lives."""
    return Routing(RoutingKind.CONSISTENT_HASH, field)


def keyed_by(field: str, shares: int = 0) -> Routing:
    """The routing of keyed actors by a field; with `shares`, their keys move to hosts that come."""
    return Routing(RoutingKind.KEYED, field, owners=(0,) * shares)


def deal(owners: Sequence[int | None], places: Sequence[int]) -> tuple[int, ...]:
    """Deal shares out to these places, given the present owner of each share; None for no owner.

    Afterwards any two places differ by one share at most, and no other way to get there moves
    fewer shares. Equal arguments give equal results. `places` may not be empty.
    """
    had = Counter(owner for owner in owners if owner is not None)
    least, more = divmod(len(owners), len(places))
    # Those that have the most keep one more.
    order = sorted(places, key=lambda place: -had[place])
    room = {place: least + (number < more) for number, place in enumerate(order)}
    found: list[int | None] = []
    for owner in owners:
        stays = owner is not None and room.get(owner, 0) > 0
        if owner is not None and stays:
            room[owner] -= 1
        found.append(owner if stays else None)
    free = (place for place in places for _ in range(room[place]))
    return tuple(next(free) if owner is None else owner for owner in found)


def _place(text: str) -> tuple[int, int]:
    slot, cell = text.split("/")
    return int(slot), int(cell)
