"""Routing: the choice of one of several offers for a message. Pure.

A router belongs to one contract on one host and chooses from the host's own copy of the
directory, so a choice costs no hop. The address of an offer names a slot, which stays the
same when its host dies, so choices need not change then.
"""

import bisect
import enum
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, Protocol
from uuid import UUID

from callboard.messages.control.routing import Routing, RoutingKind
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, InvalidMessage
from callboard.messages.core.ref import Address

from ..asks import AskFuture, AskOwner

__all__ = [
    "ConsistentHash",
    "LeastLoaded",
    "Load",
    "RoundRobin",
    "Router",
    "Shares",
    "key_hash",
    "key_text",
    "router_of",
    "share_of",
    "text_hash",
]

POINTS_EACH: Final = 128
"""Points of an address on the ring; its share of the keys is within about a tenth of the mean."""
SCANNED_MAX: Final = 8
"""Up to so many offers are all compared; of more, two are drawn at random."""
DIGITS_MAX: Final = 18
_MULTIPLIER: Final = 6_364_136_223_846_793_005
_MASK: Final = 2**64 - 1


class Load:
    """This host's outstanding asks at one address. It is the owner of the asks that it counts."""

    __slots__ = ("_owner", "address", "outstanding", "share")

    def __init__(self, address: Address, size: int, owner: AskOwner) -> None:
        self._owner = owner
        self.address: Final = address
        self.outstanding = 0
        self.share = 1.0 / size
        """The share of the address that one outstanding ask uses."""

    def resize(self, size: int) -> None:
        """So many agents serve the address now."""
        self.share = 1.0 / size

    def ask_settled(self, future: AskFuture) -> None:
        """See `AskOwner`."""
        self.outstanding -= 1
        self._owner.ask_settled(future)

    def ask_abandoned(self, future: AskFuture, error: CallboardError) -> None:
        """See `AskOwner`."""
        self.outstanding -= 1
        self._owner.ask_abandoned(future, error)

    def path_asked(self, future: AskFuture) -> str:
        """See `AskOwner`."""
        return self._owner.path_asked(future)

    def path_asking(self, future: AskFuture) -> str | None:
        """See `AskOwner`."""
        return self._owner.path_asking(future)


class Router(Protocol):
    """Chooses one of the offers of a contract."""

    def choose(self, message: Contract) -> Address | Load:
        """The chosen offer; a `Load` must own the ask. Raises `InvalidMessage`."""


class RoundRobin:
    """Each offer in turn."""

    __slots__ = ("_addresses", "_turn")

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses
        self._turn = -1

    def choose(self, message: Contract) -> Address:
        """The next offer."""
        self._turn = turn = (self._turn + 1) % len(self._addresses)
        return self._addresses[turn]


class LeastLoaded:
    """The offer with the fewest outstanding asks for its size; equal ones in turn.

    Of many offers two are drawn, which is nearly as even. The draw has a sequence of its
    own: the same messages in the same order take the same routes.
    """

    __slots__ = ("_loads", "_state")

    def __init__(self, loads: Sequence[Load]) -> None:
        self._loads = loads
        self._state = 0

    def choose(self, message: Contract) -> Load:
        """The least loaded offer."""
        loads = self._loads
        count = len(loads)
        if count > SCANNED_MAX:
            return self._choose_of_two()
        self._state = first = (self._state + 1) % count
        best = loads[first]
        least = best.outstanding * best.share
        if least:
            # Starting with the next in turn, so that equal ones take turns.
            for offset in range(1 - count + first, first):
                load = loads[offset]
                taken = load.outstanding * load.share
                if taken < least:
                    best, least = load, taken
        return best

    def _choose_of_two(self) -> Load:
        count = len(self._loads)
        self._state = state = (self._state * _MULTIPLIER + 1_442_695_040_888_963_407) & _MASK
        one = self._loads[(state >> 33) % count]
        other = self._loads[(state >> 11) % count]
        return other if other.outstanding * other.share < one.outstanding * one.share else one


class ConsistentHash:
    """Equal keys go to equal offers; an offer more or less moves only its own share of the keys."""

    __slots__ = ("_addresses", "_field", "_owners", "_points")

    def __init__(self, addresses: Sequence[Address], field: str) -> None:
        self._field = field
        self._addresses = addresses
        self._points: list[int] | None = None
        self._owners: list[Address] = []

    def choose(self, message: Contract) -> Address:
        """The offer that the key in the message belongs to."""
        return self.owner(key_text(message, self._field))

    def owner(self, key: str) -> Address:
        """The offer that a key belongs to."""
        if self._points is None:  # Made at first use: most copies of a directory never need it.
            ring = sorted(
                (text_hash(f"{address}#{number}"), address)
                for address in self._addresses
                for number in range(POINTS_EACH)
            )
            self._points = [point for point, _ in ring]
            self._owners = [address for _, address in ring]
        place = bisect.bisect(self._points, text_hash(key))
        return self._owners[place if place < len(self._owners) else 0]


class Shares:
    """Keys in shares, and the place that owns each share for now."""

    __slots__ = ("_before", "_field", "_owners")

    def __init__(self, routing: Routing) -> None:
        places = [Address(*place) for place in routing.places]
        self._field = routing.field
        self._owners = [places[owner] for owner in routing.owners]
        self._before = [places[owner] for owner in routing.before or routing.owners]

    def choose(self, message: Contract) -> Address:
        """The place that owns the key in the message."""
        return self.owner(key_text(message, self._field))

    def owner(self, key: str) -> Address:
        """The place that owns a key."""
        return self._owners[self.share_of(key)]

    def before(self, key: str) -> Address:
        """The place that had a key before, and has to release it; its owner if it is no other."""
        return self._before[self.share_of(key)]

    def share_of(self, key: str) -> int:
        """The share of a key."""
        return share_of(key, len(self._owners))

    def __len__(self) -> int:
        return len(self._owners)


def share_of(key: str, shares: int) -> int:
    """The share of a key: a whole number names its own, so that a few of them spread evenly."""
    is_number = len(key) <= DIGITS_MAX and key.isascii() and key.isdigit()
    return (int(key) if is_number else text_hash(key)) % shares


def router_of(
    routing: Routing, addresses: Sequence[Address], loads: Mapping[Address, Load]
) -> Router:
    """The router over the offers of one contract."""
    match routing.kind:
        case RoutingKind.ROUND_ROBIN:
            return RoundRobin(addresses)
        case RoutingKind.LEAST_LOADED:
            return LeastLoaded([loads[address] for address in addresses])
        case RoutingKind.CONSISTENT_HASH:
            return ConsistentHash(addresses, routing.field)
        case RoutingKind.KEYED if routing.owners:
            return Shares(routing)
        case RoutingKind.KEYED:
            return ConsistentHash([Address(*place) for place in routing.places], routing.field)


def key_text(message: Contract, field: str) -> str:
    """The key in a message as text; raises `InvalidMessage` when its type is not allowed."""
    key = getattr(message, field, None)
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, bytes):
        return key.hex()
    if isinstance(key, str | int | UUID):
        return str(key)
    raise InvalidMessage(
        f"the key {field!r} of a {type(message).contract_name} is a {type(key).__qualname__}.",
        advice="A key is a str, an int, bytes, a UUID, or an Enum of those.",
        contract=type(message).contract_name,
    )


def key_hash(message: Contract, field: str) -> int:
    """The key in a message as a number of 64 bits; raises `InvalidMessage` like `key_text`."""
    return text_hash(key_text(message, field))


def text_hash(text: str) -> int:
    """A text as a number of 64 bits, the same in every process."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
