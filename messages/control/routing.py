"""How a message without a receiver reaches one of the actors that offer its contract."""

import enum
from dataclasses import dataclass
from typing import ClassVar, Final, Self, final

from ..core.errors import SpecError

__all__ = ["ROUTING_DEFAULT", "Routing", "RoutingKind", "consistent_hash", "keyed_by"]


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
            or (self.places and not is_keyed)
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
        return text

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The routing that `to_text` wrote; raises `SpecError` for any other text."""
        kind, _, rest = text.partition(":")
        field, _, places = rest.partition(":")
        try:
            return cls(
                RoutingKind(kind), field, tuple(map(_place, filter(None, places.split(","))))
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


def keyed_by(field: str) -> Routing:
    """The routing of keyed actors by a field."""
    return Routing(RoutingKind.KEYED, field)


def _place(text: str) -> tuple[int, int]:
    slot, cell = text.split("/")
    return int(slot), int(cell)
