"""Slots: the places of hosts, and the top-level actors that belong to each. Pure.

What is written here outlives a host: whoever takes over a slot starts these actors again
under the same numbers, so that references to them stay good.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from callboard.actors.host.warden import Birth
from callboard.messages.errors import ActorNotFound, NameTaken
from callboard.messages.ref import Address

__all__ = ["Slot", "SlotTable"]


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
        self.births: dict[int, Birth] = {}


class SlotTable:
    """All slots, names and offers."""

    def __init__(self) -> None:
        self.slots: dict[int, Slot] = {}
        self.names: dict[str, Address] = {}
        self.offers: dict[str, list[Address]] = {}
        self.sizes: dict[Address, int] = {}
        """How many agents stand behind an offer."""
        self._next_cell = 0

    def add_slot(self, name: str) -> Slot:
        """One more place for a host."""
        number = len(self.slots) + 1
        slot = self.slots[number] = Slot(number, name)
        return slot

    def next_cell(self) -> int:
        """A number for a top-level actor, unique in the system."""
        self._next_cell += 1
        return self._next_cell

    def least_loaded(self) -> Slot:
        """The slot for the next actor: the one with the fewest; up before down."""
        return min(
            self.slots.values(), key=lambda slot: (not slot.is_up, len(slot.births), slot.number)
        )

    def take_name(self, name: str, address: Address) -> None:
        """Reserve a name; raises `NameTaken`."""
        if name in self.names:
            raise NameTaken(
                f"an actor named {name!r} lives already, at {self.names[name]}.",
                advice="Choose another name, or stop that one first.",
            )
        self.names[name] = address

    def offer(self, contracts: Sequence[str], address: Address, size: int) -> None:
        """Let an address be found by the contracts it handles."""
        self.sizes[address] = size
        for contract in contracts:
            self.offers.setdefault(contract, []).append(address)

    def forget(self, address: Address) -> bool:
        """An actor ended for good; True when the directory has changed by that."""
        slot = self.slots.get(address.slot)
        if slot is not None:
            slot.births.pop(address.cell, None)
        self.sizes.pop(address, None)
        names = [name for name, where in self.names.items() if where == address]
        for name in names:
            del self.names[name]
        changed = bool(names)
        for contract in list(self.offers):
            addresses = self.offers[contract]
            if address in addresses:
                addresses.remove(address)
                changed = True
                if not addresses:
                    del self.offers[contract]
        return changed

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
