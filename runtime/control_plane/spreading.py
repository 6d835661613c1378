"""Spreading: keyed actors with shares get to hosts that come, and leave hosts that go.

Some time after the last change of hosts, when all of them are up, each kind gets a key region on
every host, and its shares are dealt out evenly (`messages.control.routing.deal`): the fewest move.
The root records the new owners, and publishes them in one directory with a floor for fencing
tokens that nobody has yet. So no host draws such a token before it knows the new owners, and an
owner's tokens are higher than those of the owner before. The new owners ask the earlier ones for
their shares (`actors/keyed/handover.py`).

A host that is down and comes back keeps its shares: its next process has them.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.placement import Placement
from callboard.messages.control.routing import Routing, deal
from callboard.messages.control.spawning import Offer, Spawn, Spawned, SpawnPart
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Address

from .authority import Authority
from .records import Records
from .slots import Batch, Slot, SlotTable

__all__ = ["SPREAD_AFTER_S", "Spreading", "with_places"]

LOGGER: Final = logging.getLogger("callboard.root")
AGAIN: Final = Backoff(min_s=1.0, max_s=30.0)
SPREAD_AFTER_S: Final = 1.0
"""How long the hosts must not have changed: a host that comes is often not alone."""


class StartsParts(Protocol):
    """The registrar, for what spreads its actors."""

    @property
    def table(self) -> SlotTable:
        """All slots, names and offers."""

    @property
    def records(self) -> Records:
        """What the next root goes on from."""

    @property
    def authority(self) -> Authority:
        """Whether the root may act."""

    async def start_part(self, part: SpawnPart) -> Batch | None:
        """Start actors that no driver asked for; None when they do not start."""

    def give_up(self, placed: Sequence[tuple[Slot, Batch]]) -> None:
        """Stop actors that may have started, and forget them."""

    async def until_unsent(self, address: Address) -> None:
        """Wait until all that was sent to an actor by an older directory has arrived there."""

    async def stop_actor(self, address: Address) -> None:
        """Stop a top-level actor in order; it does not come back. Raises `ActorNotFound`."""

    def publish(self) -> None:
        """Send the directory to all hosts now."""


class Spreading:
    """Spreads the keyed actors of one system."""

    def __init__(self, control: Host, registrar: StartsParts) -> None:
        self._control = control
        self._registrar = registrar
        self._changing = asyncio.Lock()
        self._changes = 0

    def hosts_changed(self) -> None:
        """Spread the keys again, a while after the last change."""
        self._changes += 1
        if self._groups():
            self._control.run_task(self._spread_later(self._changes))

    async def _spread_later(self, change: int) -> None:
        """Spread them, as often as needed until no share waits or the hosts change again."""
        tries, wait_s = 0, SPREAD_AFTER_S
        while True:
            await asyncio.sleep(wait_s)
            if change != self._changes:
                return
            try:
                if await self.spread():
                    return
            except CallboardError as error:
                LOGGER.warning("keyed actors are not spread over the hosts of now: %s", error)
            tries += 1
            wait_s = AGAIN.delay_s(tries)

    def _groups(self) -> list[str]:
        """The routings of keyed actors with shares."""
        texts = dict.fromkeys(self._registrar.table.routings.values())
        return [text for text in texts if Routing.from_text(text).owners]

    async def spread(self) -> bool:
        """Spread all keyed actors with shares over the hosts of now, if these are all up.

        False while a host is down, or does not start its part. Raises the errors of the records,
        and `ClusterError` when the root may not act.
        """
        async with self._changing:
            hosts = [self._registrar.table.slots[n] for n in self._registrar.table.shared()]
            if not hosts or not all(slot.is_up and not slot.is_silent for slot in hosts):
                return False
            await self._registrar.authority.check()
            return all([await self._spread_kind(text, hosts) for text in self._groups()])

    async def leave(self, slot: Slot) -> None:
        """Move the shares of a host that is about to end, and end its key regions in order."""
        await self.spread()
        for cell, batch in list(slot.entries.items()):
            if batch.spreads:
                address = Address(slot.number, cell)
                await self._registrar.until_unsent(address)
                await self._registrar.stop_actor(address)

    async def _spread_kind(self, text: str, hosts: Sequence[Slot]) -> bool:
        table, before = self._registrar.table, Routing.from_text(text)
        contracts = tuple(name for name, known in table.routings.items() if known == text)
        living = self._living(before)
        if not living:
            return True
        size = table.sizes.get(living[0][0], 1)
        lacking = [each for each in hosts if each not in _slots(living)]
        added = await self._add(lacking, living)
        living = [*self._living(before), *added]
        wanted = {slot.number for slot in hosts}
        after = with_places(before, [where for where, _, _ in living], wanted)
        if after is not None and (added or after.owners != before.owners):
            offer = Offer(part=0, contracts=contracts, size=size, routing=after.to_text())
            await self._record(living, added, offer)
            term = await self._reserve_term()
            # From here on without a pause: whoever gets the floor of this term knows the owners.
            if all(table.routings.get(name) == text for name in contracts):
                table.newest_term = term
                for where, _, _ in added:
                    table.offer(contracts, where, size)
                table.route(contracts, after.to_text())
                self._registrar.publish()
                return len(added) == len(lacking)
        # All of the kind was stopped meanwhile.
        self._registrar.give_up([(slot, batch) for _, slot, batch in added])
        return len(added) == len(lacking)

    def _living(self, routing: Routing) -> list[tuple[Address, Slot, Batch]]:
        found = []
        for number, cell in routing.places:
            slot = self._registrar.table.slots.get(number)
            batch = None if slot is None else slot.entries.get(cell)
            if slot is not None and batch is not None:
                found.append((Address(number, cell), slot, batch))
        return found

    async def _add(
        self, slots: Sequence[Slot], living: Sequence[tuple[Address, Slot, Batch]]
    ) -> list[tuple[Address, Slot, Batch]]:
        """Start a key region on each of these hosts, like the living ones."""
        part = _part_of(living[0][2])
        added = []
        for slot in slots:
            batch = await self._registrar.start_part(
                part.model_copy(update={"placement": Placement(slot.number).to_data()})
            )
            if batch is not None:
                added.append((Address(slot.number, batch.first), slot, batch))
        return added

    async def _record(
        self,
        living: Sequence[tuple[Address, Slot, Batch]],
        added: Sequence[tuple[Address, Slot, Batch]],
        offer: Offer,
    ) -> None:
        records = self._registrar.records
        for _, slot, batch in living:
            records.offers_changed(slot, batch, _part_of(batch), (offer,))
        for where, slot, batch in added:
            request = Spawn(parts=(_part_of(batch),), offers=(offer,), token=f"spread-{where}")
            answer = Spawned(parts=((where.slot, where.cell),), failures={})
            await records.record_spawn(request, [(slot, batch)], answer)
        await records.written()

    async def _reserve_term(self) -> int:
        """A term that no command has used yet, and no other root will."""
        table = self._registrar.table
        while True:
            term = table.newest_term + 1
            await self._registrar.records.reserve(table.next_cell, table.newest_slot, term)
            if table.newest_term < term:
                return term


def with_places(routing: Routing, places: Sequence[Address], wanted: set[int]) -> Routing | None:
    """The routing over these places, with the shares at those on the wanted hosts; None without.

    A place of an earlier owner stays as long as it lives, though it has no share any more.
    """
    numbers = {place: number for number, place in enumerate(places)}
    takers = [number for place, number in numbers.items() if place.slot in wanted]
    if not takers:
        return None
    had = [numbers.get(Address(*routing.places[owner])) for owner in routing.owners]
    owners = deal([number if number in takers else None for number in had], takers)
    old = [
        numbers.get(Address(*routing.places[owner])) for owner in routing.before or routing.owners
    ]
    # A share that stays may not have been taken over yet.
    before = tuple(
        next(each for each in (number if number != owner else earlier, owner) if each is not None)
        for number, earlier, owner in zip(had, old, owners, strict=True)
    )
    rows = tuple((place.slot, place.cell) for place in places)
    return replace(routing, places=rows, owners=owners, before=before)


def _slots(living: Sequence[tuple[Address, Slot, Batch]]) -> list[Slot]:
    return [slot for _, slot, _ in living]


def _part_of(batch: Batch) -> SpawnPart:
    return SpawnPart(
        entries=batch.entries,
        count=len(batch.cells),
        numbers_each=batch.numbers_each,
        comes_back=batch.comes_back,
        spreads=True,
    )
