"""Slots: the places of hosts, and the top-level actors that belong to each. Pure.

What is written here outlives a host: whoever takes over a slot starts these actors again
under the same numbers, so that references to them stay good. What an actor is stays bytes:
only a host reads them.
"""

from collections.abc import Iterator
from typing import Any

from callboard.messages.control.placement import Resources
from callboard.messages.control.routing import Routing, RoutingKind
from callboard.messages.control.spawning import SpawnPart
from callboard.messages.core.errors import ActorNotFound, NameTaken, SpecError, UsageError
from callboard.messages.core.ref import Address

__all__ = ["Batch", "Slot", "SlotTable"]


class Batch:
    """Births that were pickled together, and which of them still have an actor."""

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
    )

    def __init__(self, part: SpawnPart, first: int) -> None:
        self.entries = part.entries
        self.first = first
        self.numbers_each = part.numbers_each
        self.comes_back = part.comes_back
        self.host = part.host
        """The host of its own, as data, if it has one."""
        self.field = part.field
        """What errors about its placement name."""
        self.is_remote_child_holder = part.is_remote_child_holder
        """Whether it holds a placed child of a tree elsewhere."""
        self.places = part.places
        """Slot and cell of what holds the placed children of its tree."""
        self.cells = [first + i * part.numbers_each for i in range(part.count)]
        """The first number of each birth, in order; 0 once its actor has ended for good."""

    def forget(self, cell: int) -> None:
        """An actor ended for good."""
        self.cells[(cell - self.first) // self.numbers_each] = 0


class Slot:
    """One host's place."""

    __slots__ = (
        "dead_epoch",
        "entries",
        "epoch",
        "final_epoch",
        "is_isolated",
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
        """What its processes reserve; None: whatever a standby has, which is nothing."""
        self.is_isolated = is_isolated
        """Whether it belongs to one actor alone, and ends with it."""
        self.problem = ""
        """Why it is not up; for people."""
        self.final_epoch = 0
        """The epoch whose host ended and is not to come back by itself; 0 while one is."""
        self.epoch = 0
        """How often a process has taken it over."""
        self.dead_epoch = 0
        """The newest epoch whose process is known to be dead."""
        self.is_up = False
        self.process: Any = None
        self.entries: dict[int, Batch] = {}
        """The living top-level actors by their first number."""

    def add(self, batch: Batch) -> None:
        """Write down what belongs to this slot now."""
        self.entries.update(dict.fromkeys(batch.cells, batch))

    def batches(self) -> list[Batch]:
        """What is to be started when another process takes over."""
        return list(dict.fromkeys(self.entries.values()))


class SlotTable:
    """All slots, names and offers."""

    def __init__(self) -> None:
        self.slots: dict[int, Slot] = {}
        self.newest_slot = 0
        """The highest number ever given: numbers are not used again."""
        self.attached_drivers: dict[int, Slot] = {}
        """Drivers that have attached: told of everything, and no place for actors."""
        self.names: dict[str, Address] = {}
        self.offers: dict[str, list[Address]] = {}
        self.sizes: dict[Address, int] = {}
        """How many agents stand behind an offer."""
        self.routings: dict[str, str] = {}
        """How a contract is routed, as text, where somebody has said so."""
        self._found: dict[Address, tuple[list[str], list[str]]] = {}
        """The names and the contracts by which an actor is found."""
        self.next_cell = 1

    def add_slot(
        self, name: str, resources: Resources | None = None, *, is_isolated: bool = False
    ) -> Slot:
        """One more place for a host."""
        self.newest_slot += 1
        number = self.newest_slot
        slot = self.slots[number] = Slot(number, name, resources, is_isolated=is_isolated)
        return slot

    def add_driver(self, number: int, name: str, epoch: int, process: Any) -> None:
        """One more driver."""
        attached_driver = self.attached_drivers[number] = Slot(number, name, None, is_isolated=True)
        attached_driver.epoch = epoch
        attached_driver.process = process
        attached_driver.is_up = True

    def remove_slot(self, slot: Slot) -> None:
        """A place that no host takes any more; its actors are forgotten already."""
        assert not slot.entries, "whoever removes a slot forgets its actors first"
        self.slots.pop(slot.number, None)

    def places(self) -> dict[int, int]:
        """All slots, each with the epoch it rests after; 0 for those that do not rest."""
        return {slot.number: slot.final_epoch for slot in self.slots.values()}

    def take_cells(self, count: int) -> int:
        """Numbers for actors, unique in the system: gives the first of so many."""
        first = self.next_cell
        self.next_cell += count
        return first

    def shared(self) -> tuple[int, ...]:
        """The numbers of the hosts that take actors of any kind, up or not."""
        return tuple(slot.number for slot in self._shared())

    def _shared(self) -> Iterator[Slot]:
        return (slot for slot in self.slots.values() if _takes_actors(slot))

    def least_loaded(self) -> Slot:
        """The slot for the next actor: the one with the fewest; up before down.

        Raises `UsageError` when every host has ended for good.
        """
        found = min(
            self._shared(),
            key=lambda slot: (not slot.is_up, len(slot.entries), slot.number),
            default=None,
        )
        if found is None:
            raise UsageError(
                "no host is left that takes actors.",
                advice="Those there were have ended, and their restart kinds keep them down.",
            )
        return found

    def slot(self, host: int | str) -> Slot:
        """The slot of that number or name, where actors may be placed; raises `UsageError`."""
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
        """Reserve a name; raises `NameTaken`."""
        if name in self.names:
            raise NameTaken(
                f"an actor named {name!r} lives already, at {self.names[name]}.",
                advice="Choose another name, or stop that one first.",
            )
        self.names[name] = address
        self._found.setdefault(address, ([], []))[0].append(name)

    def check_routing(self, contracts: tuple[str, ...], routing: str | None) -> None:
        """Raises `SpecError` when a contract is routed in another way already.

        Keyed actors share their contracts with nobody: each key has its place for ever.
        """
        for contract in contracts:
            before = self.routings.get(contract)
            if contract in self.offers and (_is_keyed(before) or _is_keyed(routing)):
                raise SpecError(
                    f"{contract} is handled already (routing {before or 'round_robin'}).",
                    advice="Keyed actors share their contracts with nobody: stop the others first.",
                    field="routing",
                )
            if routing is not None and before not in {None, routing}:
                raise SpecError(
                    f"{contract} is routed by {before} already, not by {routing}.",
                    advice="All that offer one contract share its routing.",
                    field="routing",
                )

    def offer(
        self,
        contracts: tuple[str, ...],
        address: Address,
        size: int,
        routing: str | None = None,
    ) -> None:
        """Let an address be found by the contracts it handles."""
        if routing is not None:
            self.routings.update(dict.fromkeys(contracts, routing))
        self.sizes[address] = size
        self._found.setdefault(address, ([], []))[1].extend(contracts)
        for contract in contracts:
            self.offers.setdefault(contract, []).append(address)

    def resize(self, address: Address, size: int) -> None:
        """So many agents stand behind an offer now. One that was withdrawn stays so."""
        if address in self.sizes:
            self.sizes[address] = size

    def forget(self, address: Address) -> bool:
        """An actor ended for good; True when the directory has changed by that."""
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
        """Nobody finds the actor any more; True when somebody could."""
        found = self._found.pop(address, None)
        if found is None:
            return False
        self.sizes.pop(address, None)
        names, contracts = found
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
        """The slot of an address; raises `ActorNotFound`."""
        slot = self.slots.get(address.slot)
        if slot is None or address.cell not in slot.entries:
            raise ActorNotFound(
                f"there is no top-level actor at {address}.",
                advice="Stop a child from its parent.",
                may_have_run=False,
            )
        return slot

    def living(self) -> Iterator[Slot]:
        """Slots that have a running host."""
        return (slot for slot in self.slots.values() if slot.is_up)

    def everybody(self) -> Iterator[Slot]:
        """All slots, up or not, and the drivers that have attached."""
        yield from self.slots.values()
        yield from self.attached_drivers.values()

    def reached(self) -> Iterator[Slot]:
        """Those, and the drivers that have attached: who is to know of the others."""
        yield from self.living()
        yield from self.attached_drivers.values()


def _is_keyed(routing: str | None) -> bool:
    return routing is not None and Routing.from_text(routing).kind is RoutingKind.KEYED


def _takes_actors(slot: Slot) -> bool:
    return not slot.is_isolated and not slot.final_epoch
