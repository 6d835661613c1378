"""Slots: the places of hosts, and the top-level actors of each. Pure.

The entries of a slot outlive its host: the next process in the slot starts these actors again under
the same numbers, so references to them stay valid. Classes and arguments of actors stay bytes;
only a host reads them.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from callboard.messages.control.placement import Resources
from callboard.messages.control.routing import Routing, RoutingKind
from callboard.messages.control.spawning import Offer, SpawnPart
from callboard.messages.core.errors import ActorNotFound, NameTaken, SpecError, UsageError
from callboard.messages.core.fences import TERM_SHIFT
from callboard.messages.core.names import check_name
from callboard.messages.core.ref import Address

__all__ = ["Batch", "Changed", "Slot", "SlotTable", "has_keys"]

TERMS_BEGAN_S: Final = 1_704_067_200.0
"""The start of 2024, in seconds since 1970. A term is about the milliseconds since then, so that
the next system of a name has higher ones; within a system nothing depends on the clock."""
TERM_MAX: Final = (1 << (63 - TERM_SHIFT)) - 1


class Batch:
    """Actors that were pickled together for one start, and which of them still run."""

    __slots__ = (
        "cells",
        "comes_back",
        "entries",
        "field",
        "first",
        "host",
        "is_remote_child_holder",
        "numbers_each",
        "places",
        "spreads",
    )

    def __init__(self, part: SpawnPart, first: int) -> None:
        self.entries = part.entries
        self.first = first
        self.numbers_each = part.numbers_each
        self.comes_back = part.comes_back
        self.host = part.host
        """The isolated host of the batch, as data; None without one."""
        self.field = part.field
        """The field that errors about the placement name."""
        self.is_remote_child_holder = part.is_remote_child_holder
        """Whether it holds a placed child of a tree on another host."""
        self.places = part.places
        """Slot and cell of each holder of a placed child of its tree."""
        self.spreads = part.spreads
        """Whether it has shares of keys, which may move to other hosts."""
        self.cells = [first + i * part.numbers_each for i in range(part.count)]
        """The first number of each actor, in order; 0 once the actor has ended for good."""

    def forget(self, cell: int) -> None:
        """Note that an actor has ended for good."""
        self.cells[(cell - self.first) // self.numbers_each] = 0


class Slot:
    """The place of one host."""

    __slots__ = (
        "dead_epoch",
        "entries",
        "epoch",
        "final_epoch",
        "is_isolated",
        "is_leaving",
        "is_silent",
        "is_up",
        "name",
        "number",
        "problem",
        "process",
        "resources",
    )

    def __init__(
        self, number: int, name: str, resources: Resources | None, *, is_isolated: bool
    ) -> None:
        self.number = number
        self.name = name
        self.resources = resources
        """What its processes reserve; None for nothing, so that a standby may take it over."""
        self.is_isolated = is_isolated
        """Whether its host runs one actor alone, and ends with it."""
        self.problem = ""
        """Why it is not up, for people."""
        self.final_epoch = 0
        """The epoch of the last host when none comes back by itself; otherwise 0."""
        self.epoch = 0
        """How often a process has taken the slot over."""
        self.dead_epoch = 0
        """The newest epoch whose process is known to be dead."""
        self.is_up = False
        self.is_leaving = False
        """Whether its host ends for good, and takes no more actors."""
        self.is_silent = False
        """Whether its host misses heartbeats: new work goes to others."""
        self.process: Any = None
        self.entries: dict[int, Batch] = {}
        """The living top-level actors by their first number."""

    def add(self, batch: Batch) -> None:
        """Add the actors of a batch to this slot."""
        self.entries.update(dict.fromkeys(batch.cells, batch))

    @property
    def is_idle(self) -> bool:
        """Whether it has no actors but those that move away when its host ends."""
        return all(batch.spreads for batch in self.entries.values())

    def batches(self) -> list[Batch]:
        """The batches to start when another process takes over."""
        return list(dict.fromkeys(self.entries.values()))


class Changed:
    """The entries of the directory that have changed since the hosts got the last version."""

    __slots__ = ("contracts", "names", "sizes")

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.contracts: dict[str, None] = {}
        """Contracts with other offers or another routing."""
        self.sizes: dict[Address, None] = {}


class SlotTable:
    """All slots, names and offers."""

    def __init__(self) -> None:
        self.slots: dict[int, Slot] = {}
        self.newest_slot = 0
        """The highest number so far; numbers are never used twice."""
        self.attached_drivers: dict[int, Slot] = {}
        """Attached drivers: they get the directory and take no actors."""
        self.names: dict[str, Address] = {}
        self.offers: dict[str, list[Address]] = {}
        self.sizes: dict[Address, int] = {}
        """The number of agents behind an offer."""
        self.routings: dict[str, str] = {}
        """The routing of a contract, as text, where an offer names one."""
        self._found: dict[Address, tuple[list[str], list[str]]] = {}
        """The names and the offered contracts of an actor."""
        self.changed = Changed()
        self.next_cell = 1
        self.newest_term = 0
        """The newest term of fencing tokens; 0 before the first."""

    def add_slot(
        self, name: str, resources: Resources | None = None, *, is_isolated: bool = False
    ) -> Slot:
        """Add a slot for a host."""
        self.newest_slot += 1
        number = self.newest_slot
        slot = self.slots[number] = Slot(number, name, resources, is_isolated=is_isolated)
        return slot

    def add_driver(self, number: int, name: str, epoch: int, process: Any) -> None:
        """Add an attached driver."""
        attached_driver = self.attached_drivers[number] = Slot(number, name, None, is_isolated=True)
        attached_driver.epoch = epoch
        attached_driver.process = process
        attached_driver.is_up = True

    def remove_slot(self, slot: Slot) -> None:
        """Remove a slot without actors."""
        assert not slot.entries, "forget the actors of a slot before the slot"
        self.slots.pop(slot.number, None)

    def places(self) -> dict[int, int]:
        """The final epoch of each slot; 0 while its host runs or comes back."""
        return {slot.number: slot.final_epoch for slot in self.slots.values()}

    def take_cells(self, count: int) -> int:
        """Reserve `count` numbers for actors, unique in the system; returns the first."""
        first = self.next_cell
        self.next_cell += count
        return first

    def take_term(self, wall_s: float) -> int:
        """A term for fencing tokens, above all earlier ones; returns the floor of its tokens.

        `wall_s` is the time in seconds since 1970.
        """
        clock = min(max(1, int((wall_s - TERMS_BEGAN_S) * 1_000)), TERM_MAX)
        self.newest_term = max(self.newest_term + 1, clock)
        return self.fence_floor()

    def fence_floor(self) -> int:
        """The floor of the tokens of the newest term."""
        return self.newest_term << TERM_SHIFT

    def shared(self) -> tuple[int, ...]:
        """The numbers of the hosts that take actors of any kind, up or not."""
        return tuple(slot.number for slot in self._shared())

    def _shared(self) -> Iterator[Slot]:
        return (slot for slot in self.slots.values() if _takes_actors(slot))

    def least_loaded(self) -> Slot:
        """The slot with the fewest actors, preferably one that is up and answers.

        Raises `UsageError` when every host has ended for good.
        """
        found = min(
            self._shared(),
            key=lambda slot: (
                not slot.is_up,
                slot.is_silent,
                len(slot.entries),
                slot.number,
            ),
            default=None,
        )
        if found is None:
            raise UsageError(
                "no host takes actors: all hosts have ended for good.",
                advice="Start a new system; `Restart.PERMANENT` hosts come back.",
            )
        return found

    def slot(self, host: int | str) -> Slot:
        """The slot of that number or name. Raises `UsageError` when it takes no actors."""
        found = (
            self.slots.get(host)
            if isinstance(host, int)
            else next((slot for slot in self._shared() if slot.name == host), None)
        )
        if found is None or not _takes_actors(found):
            takers = ", ".join(f"{slot.number} ({slot.name})" for slot in self._shared())
            raise UsageError(
                f"there is no host {host!r} that takes actors.",
                advice=f"Hosts that do: {takers or 'none'}.",
            )
        return found

    def take_name(self, name: str, address: Address) -> None:
        """Reserve a name. Raises `NameTaken`, and `SpecError` for a text that is no name."""
        check_name("the actor's name", name, field="name")
        if name in self.names:
            raise NameTaken(
                f"the name {name!r} is taken by the actor at {self.names[name]}.",
                advice="Choose another name, or stop that actor first.",
            )
        self.names[name] = address
        self.changed.names[name] = None
        self._found.setdefault(address, ([], []))[0].append(name)

    def check_routing(self, contracts: tuple[str, ...], routing: str | None) -> None:
        """Raise `SpecError` when a contract has another routing already.

        Keyed actors share their contracts with no other actors: the place of a key never changes.
        """
        for contract in contracts:
            before = self.routings.get(contract)
            if contract in self.offers and (_is_keyed(before) or _is_keyed(routing)):
                raise SpecError(
                    f"{contract} is handled already (routing {before or 'round_robin'}).",
                    advice="Stop the other actors first: keyed actors share no contract.",
                    field="routing",
                )
            if routing is not None and before not in {None, routing}:
                raise SpecError(
                    f"{contract} is routed by {before} already, not by {routing}.",
                    advice="Use one routing for all actors that offer a contract.",
                    field="routing",
                )

    def offer(
        self,
        contracts: tuple[str, ...],
        address: Address,
        size: int,
        routing: str | None = None,
    ) -> None:
        """Offer an address under the contracts that it handles."""
        if routing is not None:
            self.routings.update(dict.fromkeys(contracts, routing))
        self.sizes[address] = size
        self.changed.contracts.update(dict.fromkeys(contracts))
        self.changed.sizes[address] = None
        self._found.setdefault(address, ([], []))[1].extend(contracts)
        for contract in contracts:
            self.offers.setdefault(contract, []).append(address)

    def route(self, contracts: tuple[str, ...], routing: str) -> None:
        """Replace the routing of contracts."""
        self.routings.update(dict.fromkeys(contracts, routing))
        self.changed.contracts.update(dict.fromkeys(contracts))

    def resize(self, address: Address, size: int) -> None:
        """Set the number of agents behind an offer; a withdrawn offer stays withdrawn."""
        if address in self.sizes:
            self.sizes[address] = size
            self.changed.sizes[address] = None

    def forget(self, address: Address) -> bool:
        """Forget an actor that has ended for good; True when the directory has changed."""
        slot = self.slots.get(address.slot)
        batch = None if slot is None else slot.entries.pop(address.cell, None)
        numbers = 1
        if batch is not None:
            batch.forget(address.cell)
            numbers = batch.numbers_each
        changed = False
        for cell in range(address.cell, address.cell + numbers):
            changed |= self.forget_entries(Address(address.slot, cell))
        return changed

    def forget_entries(self, address: Address) -> bool:
        """Withdraw the names and offers of an actor; True when it had some."""
        found = self._found.pop(address, None)
        if found is None:
            return False
        self.sizes.pop(address, None)
        names, contracts = found
        self.changed.sizes[address] = None
        self.changed.names.update(dict.fromkeys(names))
        self.changed.contracts.update(dict.fromkeys(contracts))
        for name in names:
            del self.names[name]
        for contract in contracts:
            addresses = self.offers[contract]
            addresses.remove(address)
            if not addresses:
                del self.offers[contract]
                self.routings.pop(contract, None)
        return True

    def slot_of(self, address: Address) -> Slot:
        """The slot of an address. Raises `ActorNotFound`."""
        slot = self.slots.get(address.slot)
        if slot is None or address.cell not in slot.entries:
            raise ActorNotFound(
                f"there is no top-level actor at {address}.",
                advice="Use the reference of a running top-level actor; a parent stops its child.",
                may_have_run=False,
            )
        return slot

    def living(self) -> Iterator[Slot]:
        """The slots with a running host."""
        return (slot for slot in self.slots.values() if slot.is_up)

    def all_peers(self) -> Iterator[Slot]:
        """All slots, up or not, and the attached drivers."""
        yield from self.slots.values()
        yield from self.attached_drivers.values()

    def reached(self) -> Iterator[Slot]:
        """The slots with a running host, and the attached drivers."""
        yield from self.living()
        yield from self.attached_drivers.values()


def has_keys(offers: Sequence[Offer]) -> bool:
    """Whether these offers are of keyed actors."""
    return any(_is_keyed(offer.routing) for offer in offers)


def _is_keyed(routing: str | None) -> bool:
    return routing is not None and Routing.from_text(routing).kind is RoutingKind.KEYED


def _takes_actors(slot: Slot) -> bool:
    return not (slot.is_isolated or slot.is_leaving or slot.final_epoch)
