"""How a message that names no receiver is given to one of several offers."""

import enum
from dataclasses import dataclass
from typing import ClassVar, Final, Self, final

from ..core.errors import SpecError

__all__ = ["ROUTING_DEFAULT", "Routing", "RoutingKind", "consistent_hash", "keyed_by"]


@final
@enum.unique
class RoutingKind(enum.StrEnum):
    """The rules there are."""

    ROUND_ROBIN = "round_robin"
    LEAST_LOADED = "least_loaded"
    CONSISTENT_HASH = "consistent_hash"
    KEYED = "keyed"
    """A consistent hash over places that never change: one that is down keeps its keys."""


@final
@dataclass(frozen=True, slots=True)
class Routing:
    """The rule of one pool, or of all offers of a contract.

    `Routing.ROUND_ROBIN` takes each in turn. `Routing.LEAST_LOADED` takes the one with the
    least outstanding from the sender's host, for its size. `consistent_hash("field")` takes
    the same one for the same value of a field.
    """

    kind: RoutingKind
    field: str = ""
    places: tuple[tuple[int, int], ...] = ()
    """Slots and cells that share the keys of `KEYED`; the root fills them in."""

    ROUND_ROBIN: ClassVar[Self]
    LEAST_LOADED: ClassVar[Self]

    def __post_init__(self) -> None:
        is_keyed = self.kind is RoutingKind.KEYED
        hashes = is_keyed or self.kind is RoutingKind.CONSISTENT_HASH
        if (
            not isinstance(self.kind, RoutingKind)
            or hashes != self.field.isidentifier()
            or (self.places and not is_keyed)
        ):
            raise SpecError(
                f"Routing({self.kind!r}, {self.field!r}).",
                advice='Use Routing.ROUND_ROBIN, Routing.LEAST_LOADED or consistent_hash("field").',
                field="Routing",
            )

    def to_text(self) -> str:
        """This rule as text, for the directory."""
        text = f"{self.kind}:{self.field}" if self.field else self.kind.value
        if self.places:
            text += ":" + ",".join(f"{slot}/{cell}" for slot, cell in self.places)
        return text

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The rule that `to_text` wrote; raises `SpecError` for anything else."""
        kind, _, rest = text.partition(":")
        field, _, places = rest.partition(":")
        try:
            return cls(
                RoutingKind(kind), field, tuple(map(_place, filter(None, places.split(","))))
            )
        except ValueError:
            raise SpecError(
                f"{text!r} is no routing.",
                advice="All hosts must run the same release of Callboard.",
                field="Routing",
            ) from None


Routing.ROUND_ROBIN = Routing(RoutingKind.ROUND_ROBIN)
Routing.LEAST_LOADED = Routing(RoutingKind.LEAST_LOADED)

ROUTING_DEFAULT: Final = Routing(RoutingKind.ROUND_ROBIN)


def consistent_hash(field: str) -> Routing:
    """The same receiver for messages that agree in a field, as long as it is there."""
    return Routing(RoutingKind.CONSISTENT_HASH, field)


def keyed_by(field: str) -> Routing:
    """The routing of keyed actors by a field."""
    return Routing(RoutingKind.KEYED, field)


def _place(text: str) -> tuple[int, int]:
    slot, cell = text.split("/")
    return int(slot), int(cell)
