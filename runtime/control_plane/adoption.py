"""Adoption: a root that comes back takes over what its predecessor has left.

Living hosts go on working meanwhile: they are told of the new root and asked what runs on
them. What they no longer have has ended; what nobody was told of is stopped. A host that
cannot be taken over is ended and replaced, as one that died.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.lifecycle.spawner import FIRST_LOCAL_CELL
from callboard.messages.control.control_plane import CONTROL_CELL, StopActors
from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.placement import Resources
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Address
from callboard.messages.ports import FrameCarrier, HostProcess

from .records import KeptBatch, KeptSlot, Remembered
from .root import Root
from .slots import Batch, Slot

__all__ = ["DetachedProcess", "FindProcess", "Found", "adopt"]

LOGGER: Final = logging.getLogger("callboard.root")
SETTLE_TIMEOUT_S: Final = 10.0
"""How long the stop of what was half started may keep others waiting: over a frame that is lost
and sent again, and the usual stop timeout."""


class Found(Protocol):
    """What a host tells the root that takes it over."""

    @property
    def slot(self) -> int:
        """Its slot."""

    @property
    def epoch(self) -> int:
        """Which incarnation of the slot it is."""

    @property
    def cells(self) -> tuple[int, ...]:
        """The numbers of its top-level actors."""

    @property
    def attached_drivers(self) -> tuple[int, ...]:
        """The slots of the drivers that it knows."""


class DetachedProcess(HostProcess, Protocol):
    """A process that outlives the root."""

    async def adopt(self, control_epoch: int) -> Found | None:
        """Belong to this root from now on; None when it is no host. Raises `HostLost`."""

    async def carrier(self) -> FrameCarrier:
        """The way to it."""


class FindProcess(Protocol):
    """Finds what was left."""

    async def __call__(self, name: str) -> DetachedProcess | None:
        """The process of that name; None when it is gone."""


class _Taken(NamedTuple):
    """A host that was taken over."""

    slot: Slot
    process: DetachedProcess
    found: Found
    carrier: FrameCarrier


class _Adoption:
    def __init__(
        self,
        root: Root,
        control: Host,
        find: FindProcess,
        remembered: Remembered,
        specs: Sequence[HostSpec],
    ) -> None:
        self._root = root
        self._control = control
        self._find = find
        self._remembered = remembered
        self._specs = {spec.name: spec for spec in specs}
        self._idle: list[DetachedProcess] = []

    async def perform(self, answer_s: float) -> tuple[int, ...]:
        root, remembered, table = self._root, self._remembered, self._root.table
        table.next_cell = remembered.next_cell
        table.newest_slot = remembered.newest_slot
        dead_letters = [self._control.ref(address) for address in remembered.dead_letters]
        root.hosting.dead_letter_subscribers[:] = dead_letters
        for kept in remembered.slots:
            table.slots[kept.number] = _slot_of(kept)
            table.newest_slot = max(table.newest_slot, kept.number)
        for batch in remembered.batches:
            self._restore(batch)
        for first in remembered.orphans:
            root.registrar.records.orphaned(first)
        for token, answer in remembered.kept.items():
            firsts = [batch.first for batch in remembered.batches if batch.token == token]
            root.registrar.records.remember(token, firsts, answer)
        root.isolated.start()
        root.hosts.start()
        homes = {kept.process: kept for kept in remembered.slots if kept.process}
        taken = await asyncio.gather(
            *(self._take(name, homes.get(name), answer_s) for name in remembered.processes)
        )
        living = {one.slot.number: one for one in taken if one is not None}
        # Without a pause: an end is decided on when all are known again, as any other end.
        for process in self._idle:
            root.standbys.keep(process)
        for slot, incarnation in self._known_again(living):
            children = root.supervised_by(slot)
            if slot.number in living:
                one = living[slot.number]
                children.go_on(slot, incarnation, one.process, one.carrier)
            else:
                root.registrar.host_lost(slot)
                children.has_died(slot, incarnation)
        root.registrar.directory_changed()
        await asyncio.gather(
            root.hosting.introduce([one.slot for one in living.values()]),
            *(self._settle(one) for one in living.values()),
        )
        await root.registrar.published()
        self._control.run_task(root.standbys.start_one())
        return tuple(
            dict.fromkeys(s for one in living.values() for s in one.found.attached_drivers)
        )

    def _restore(self, kept: KeptBatch) -> None:
        """Write down again what was to run, and how it is found."""
        table = self._root.table
        slot = table.slots.get(kept.slot)
        if slot is None:
            return
        batch = Batch(kept.part, kept.first)
        batch.cells = [
            cell if lives else 0 for cell, lives in zip(batch.cells, kept.living, strict=True)
        ]
        slot.entries.update((cell, batch) for cell in batch.cells if cell)
        for offer in kept.offers:
            if batch.cells[offer.offset // kept.part.numbers_each]:
                address = Address(slot.number, kept.first + offer.offset)
                if offer.name is not None:
                    table.take_name(offer.name, address)
                if offer.contracts:
                    table.offer(offer.contracts, address, offer.size, offer.routing)

    async def _take(self, name: str, kept: KeptSlot | None, answer_s: float) -> _Taken | None:
        """Take a process over; what cannot be is ended."""
        records = self._root.registrar.records
        process = await self._find(name)
        if process is None:
            records.process_gone(name)
            return None
        found = None
        try:
            async with asyncio.timeout(answer_s):
                found = await process.adopt(self._control.epoch)
                if found is None and kept is None:
                    await process.ping()
                    self._idle.append(process)
                    return None
        except (CallboardError, TimeoutError) as error:
            LOGGER.warning("%s cannot be taken over: %s", name, error)
        slot = None if kept is None else self._root.table.slots[kept.number]
        if (
            found is not None
            and kept is not None
            and slot is not None
            and kept.is_populated
            and (found.slot, found.epoch) == (slot.number, slot.epoch)
            and (slot.entries or not slot.is_isolated)
        ):
            return _Taken(slot, process, found, await process.carrier())
        await process.kill()
        return None

    def _known_again(self, living: Mapping[int, _Taken]) -> list[tuple[Slot, int]]:
        """Make all slots known to their supervisors, the living first; with incarnations."""
        root, known = self._root, list[tuple[Slot, int]]()
        for slot in list(root.table.slots.values()):
            if slot.number not in living:
                if slot.final_epoch:
                    continue
                if slot.is_isolated and not slot.entries:
                    root.registrar.remove_slot(slot)
                    continue
            known.append((slot, root.supervised_by(slot).adopt(slot, self._spec(slot))))
        return sorted(known, key=lambda row: row[0].number not in living)

    async def _settle(self, one: _Taken) -> None:
        """What runs on a host and what is to run there become the same."""
        slot, there = one.slot, dict.fromkeys(one.found.cells)
        for cell in [cell for cell in slot.entries if cell not in there]:
            self._root.registrar.forget(Address(slot.number, cell))
        unknown = tuple(c for c in there if c < FIRST_LOCAL_CELL and c not in slot.entries)
        if unknown:
            # Its start was under way when the root died, and nobody was told of it. Whoever
            # asked for it asks again, and that one must find the name free.
            control_actor, command = Address(slot.number, CONTROL_CELL), StopActors(cells=unknown)
            try:
                await self._control.ask(control_actor, command, SETTLE_TIMEOUT_S)
            except CallboardError:
                # Whoever gave up waiting, a tell has no deadline.
                with contextlib.suppress(CallboardError):
                    self._control.tell(control_actor, command)

    def _spec(self, slot: Slot) -> HostSpec:
        if slot.is_isolated:
            for batch in slot.batches():
                if batch.host is not None:
                    return HostSpec.from_data(batch.host)
        return self._specs.get(slot.name, HostSpec(slot.name, resources=slot.resources))


def _slot_of(kept: KeptSlot) -> Slot:
    resources = None if kept.resources is None else Resources.from_data(kept.resources)
    slot = Slot(kept.number, kept.name, resources, is_isolated=kept.is_isolated)
    slot.epoch = kept.epoch
    slot.final_epoch = kept.final_epoch
    return slot


async def adopt(
    root: Root,
    control: Host,
    find: FindProcess,
    remembered: Remembered,
    specs: Sequence[HostSpec],
    *,
    answer_s: float,
) -> tuple[int, ...]:
    """Take over; gives the drivers that hosts know, which may come again.

    `specs` are the hosts of a system that starts. One that does not answer within
    `answer_s` is ended.
    """
    return await _Adoption(root, control, find, remembered, specs).perform(answer_s)
