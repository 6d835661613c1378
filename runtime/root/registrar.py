"""The registrar: which top-level actors there are, where, and how they are found.

It writes down what is to run before it has it started, so that whoever takes over a slot
meanwhile starts it; and it tells every host of each change of names and offers.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Final

from callboard.actors.host.host import Host
from callboard.messages.control import (
    CONTROL_CELL,
    DirectoryChanged,
    StartActors,
    StopActors,
)
from callboard.messages.errors import CallboardError, HostLost, error_from_data
from callboard.messages.placement import ANYWHERE, Placement
from callboard.messages.ref import Address
from callboard.messages.spawning import Offer, Spawn, Spawned, SpawnPart

from .slots import Batch, Slot, SlotTable

__all__ = ["Registrar"]

LOGGER: Final = logging.getLogger("callboard.root")
START_ACTORS_TIMEOUT_S: Final = 60.0
"""How long the start hooks of a batch of actors may take."""

Placed = tuple[Slot, Batch]
Failures = dict[int, dict[str, Any]]


class Registrar:
    """The top-level actors of a system."""

    def __init__(self, control: Host, table: SlotTable) -> None:
        self.table: Final = table
        self._control = control
        self._directory_version = 0
        self._directory_scheduled = False

    # --- starting and stopping actors ---------------------------------------------------

    async def spawn(self, request: Spawn) -> Spawned:
        """Start top-level actors; see `Spawn`.

        Raises `UsageError` for a host that is not there, `NameTaken`, and what the host
        answers; none of the actors is to run then.
        """
        placed = [self._place(part) for part in request.parts]
        self._take_names(request.offers, placed)
        for slot, batch in placed:
            slot.add(batch)
        failures: Failures = {}
        try:
            for outcome in await asyncio.gather(*(self._start(*place) for place in placed)):
                failures |= outcome
        except BaseException:
            self._give_up(placed)
            raise
        if failures and request.all_or_none:
            self._give_up(placed)
        for slot, batch in placed:
            for cell in [cell for cell in batch.cells if cell in failures]:
                self.forget(Address(slot.number, cell))
        if request.offers and not failures:
            for offer in request.offers:
                slot, batch = placed[offer.part]
                address = Address(slot.number, batch.first + offer.offset)
                self.table.offer(offer.contracts, address, offer.size)
            self.directory_changed()
            await self.published()
        return Spawned(
            parts=tuple((slot.number, batch.first) for slot, batch in placed), failures=failures
        )

    def _place(self, part: SpawnPart) -> Placed:
        wanted = ANYWHERE if part.placement is None else Placement.from_data(part.placement)
        table = self.table
        slot = table.least_loaded() if wanted.host is None else table.slot(wanted.host)
        return slot, Batch(part, table.take_cells(part.count * part.numbers_each))

    def _take_names(self, offers: Sequence[Offer], placed: Sequence[Placed]) -> None:
        taken: list[Address] = []
        try:
            for offer in offers:
                if offer.name is not None:
                    slot, batch = placed[offer.part]
                    address = Address(slot.number, batch.first + offer.offset)
                    self.table.take_name(offer.name, address)
                    taken.append(address)
        except CallboardError:
            for address in taken:
                self.table.forget_entries(address)
            raise

    async def _start(self, slot: Slot, batch: Batch) -> Failures:
        try:
            return await self._start_batch(slot, batch)
        except HostLost:
            # The slot's next host starts them: they are written down.
            return await self._start_batch(slot, batch)

    async def _start_batch(self, slot: Slot, batch: Batch) -> Failures:
        command = StartActors(births=batch.births, cells=tuple(batch.cells))
        answer = await self._control.ask(
            Address(slot.number, CONTROL_CELL), command, START_ACTORS_TIMEOUT_S
        )
        return answer.failures

    def _give_up(self, placed: Sequence[Placed]) -> None:
        for slot, batch in placed:
            cells = tuple(cell for cell in batch.cells if cell)
            for cell in cells:
                self.forget(Address(slot.number, cell))
            with contextlib.suppress(CallboardError):
                # Some may have started all the same.
                self._control.tell(Address(slot.number, CONTROL_CELL), StopActors(cells=cells))

    async def populate(self, slot: Slot) -> None:
        """Start the actors that belong to a slot, on the process that has taken it over."""
        batches = [batch for batch in slot.batches() if batch.comes_back]
        outcomes = await asyncio.gather(*(self._start_batch(slot, batch) for batch in batches))
        for failures in outcomes:
            for cell, data in failures.items():
                failure = error_from_data(data)
                LOGGER.warning("actor %d/%d did not come back: %s", slot.number, cell, failure)
                self.forget(Address(slot.number, cell))

    def host_lost(self, slot: Slot) -> None:
        """A host is gone, and with it for good what is not to come back with its slot."""
        for batch in slot.batches():
            if not batch.comes_back:
                for cell in [cell for cell in batch.cells if cell]:
                    self.forget(Address(slot.number, cell))

    async def stop_actor(self, address: Address) -> None:
        """Stop a top-level actor in order; it does not come back. Raises `ActorNotFound`."""
        slot = self.table.slot_of(address)
        self.forget(address)
        await self._control.ask(
            Address(slot.number, CONTROL_CELL), StopActors(cells=(address.cell,)), None
        )

    def forget(self, address: Address) -> None:
        """An actor has ended for good."""
        if self.table.forget(address):
            self.directory_changed()

    # --- the directory ----------------------------------------------------------------

    def directory_changed(self) -> None:
        """Tell all hosts, once for all changes of this moment."""
        if not self._directory_scheduled:
            self._directory_scheduled = True
            self._control.loop.call_soon(self._publish)

    def _publish(self) -> None:
        self._directory_scheduled = False
        self._directory_version += 1
        change = self.directory()
        table = self.table
        self._control.directory.replace(
            change.version, table.names, table.offers, table.sizes, table.shared()
        )
        for slot in table.living():
            self._control.tell(Address(slot.number, CONTROL_CELL), change)

    async def published(self) -> None:
        """Wait until this host's own copy is up to date, and all others are on their way."""
        if self._directory_scheduled:
            await asyncio.sleep(0)  # `_publish` was scheduled before this.

    def directory(self) -> DirectoryChanged:
        """The whole directory, as hosts are told of it."""
        return DirectoryChanged(
            version=self._directory_version,
            hosts=self.table.shared(),
            names={name: (where.slot, where.cell) for name, where in self.table.names.items()},
            offers={
                name: tuple((where.slot, where.cell) for where in places)
                for name, places in self.table.offers.items()
            },
            sizes={str(where): size for where, size in self.table.sizes.items()},
        )
