"""Slots: the places of hosts, and the top-level actors that belong to each. Pure.

What is written here outlives a host: whoever takes over a slot starts these actors again
under the same numbers, so that references to them stay good. What an actor is stays bytes:
only a host reads them.
"""

from collections.abc import Iterator
from typing import Any

from callboard.messages.errors import ActorNotFound, NameTaken, UsageError
from callboard.messages.ref import Address
from callboard.messages.spawning import SpawnPart

__all__ = ["Batch", "Slot", "SlotTable"]


class Batch:
    """Births that were pickled together, and which of them still have an actor."""

    __slots__ = ("births", "cells", "comes_back", "first", "numbers_each")

    def __init__(self, part: SpawnPart, first: int) -> None:
        self.births = part.births
        self.first = first
        self.numbers_each = part.numbers_each
        self.comes_back = part.comes_back
        self.cells = [first + i * part.numbers_each for i in range(part.count)]
        """The first number of each birth, in order; 0 once its actor has ended for good."""

    def forget(self, cell: int) -> None:
        """An actor ended for good."""
        self.cells[(cell - self.first) // self.numbers_each] = 0


class Slot:
    """One host's place."""

    __slots__ = ("births", "dead_epoch", "epoch", "is_up", "name", "number", "process")

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.epoch = 0
        """How often a process has taken it over."""
        self.dead_epoch = 0
        """The newest epoch whose process is known to be dead."""
        self.is_up = False
        self.process: Any = None
        self.births: dict[int, Batch] = {}
        """The living top-level actors by their first number."""

    def add(self, batch: Batch) -> None:
        """Write down what belongs to this slot now."""
        self.births.update(dict.fromkeys(batch.cells, batch))

    def batches(self) -> list[Batch]:
        """What is to be started when another process takes over."""
        return list(dict.fromkeys(self.births.values()))


class SlotTable:
    """All slots, names and offers."""

    def __init__(self) -> None:
        self.slots: dict[int, Slot] = {}
        self.names: dict[str, Address] = {}
        self.offers: dict[str, list[Address]] = {}
        self.sizes: dict[Address, int] = {}
        """How many agents stand behind an offer."""
        self._found: dict[Address, tuple[list[str], list[str]]] = {}
        """The names and the contracts by which an actor is found."""
        self.next_cell = 1

    def add_slot(self, name: str) -> Slot:
        """One more place for a host."""
        number = len(self.slots) + 1
        slot = self.slots[number] = Slot(number, name)
        return slot

    def take_cells(self, count: int) -> int:
        """Numbers for actors, unique in the system: gives the first of so many."""
        first = self.next_cell
        self.next_cell += count
        return first

    def shared(self) -> tuple[int, ...]:
        """The numbers of the hosts that take actors of any kind, up or not."""
        return tuple(self.slots)

    def least_loaded(self) -> Slot:
        """The slot for the next actor: the one with the fewest; up before down."""
        return min(
            self.slots.values(), key=lambda slot: (not slot.is_up, len(slot.births), slot.number)
        )

    def slot(self, number: int) -> Slot:
        """The slot of that number; raises `UsageError`."""
        found = self.slots.get(number)
        if found is None:
            raise UsageError(
                f"there is no host {number}.",
                advice=f"Hosts are numbered from 1 to {len(self.slots)}.",
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

    def offer(self, contracts: tuple[str, ...], address: Address, size: int) -> None:
        """Let an address be found by the contracts it handles."""
        self.sizes[address] = size
        self._found.setdefault(address, ([], []))[1].extend(contracts)
        for contract in contracts:
            self.offers.setdefault(contract, []).append(address)

    def forget(self, address: Address) -> bool:
        """An actor ended for good; True when the directory has changed by that."""
        slot = self.slots.get(address.slot)
        batch = None if slot is None else slot.births.pop(address.cell, None)
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
        return True

    def slot_of(self, address: Address) -> Slot:
        """The slot of an address; raises `ActorNotFound`."""
        slot = self.slots.get(address.slot)
        if slot is None or address.cell not in slot.births:
            raise ActorNotFound(
                f"there is no top-level actor at {address}.",
                advice="Stop a child from its parent.",
                may_have_run=False,
            )
        return slot

    def living(self) -> Iterator[Slot]:
        """Slots that have a running host."""
        return (slot for slot in self.slots.values() if slot.is_up)
