"""Adoption: a root that comes back takes over the hosts of its predecessor.

Living hosts keep working meanwhile. Each learns of the new root and answers with its top-level
actors. An actor that a host no longer has has ended; an actor that no driver has a reference to
is stopped. The root kills a host that cannot be adopted and replaces it like a dead one.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.lifecycle.spawner import FIRST_LOCAL_CELL
from callboard.messages.control.control_plane import CONTROL_CELL, StopActors
from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.placement import Resources
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Address
from callboard.messages.ports import FrameCarrier, HostProcess

from .records import BatchRecord, Remembered, SlotRecord
from .root import Root
from .slots import Batch, Slot

__all__ = ["DetachedProcess", "FindProcess", "Found", "adopt"]

LOGGER: Final = logging.getLogger("callboard.root")
SETTLE_TIMEOUT_S: Final = 10.0
"""How long the stop of half-started actors may delay adoption: longer than the repeat of a lost
frame and the usual stop timeout."""
PROOF_S: Final = 0.5
"""How long adoption waits for the proofs that lost hosts have ended; others come later."""


class Found(Protocol):
    """A host's answer to the root that adopts it."""

    @property
    def slot(self) -> int:
        """The host's slot."""

    @property
    def epoch(self) -> int:
        """The epoch of the slot."""

    @property
    def cells(self) -> tuple[int, ...]:
        """The numbers of its top-level actors."""

    @property
    def attached_drivers(self) -> tuple[int, ...]:
        """The slots of the drivers that it knows."""


class DetachedProcess(HostProcess, Protocol):
    """A process that outlives the root."""

    async def ping(self) -> Any:
        """Return when it answers. Raises `HostLost`."""

    async def adopt(self, control_epoch: int) -> Found | None:
        """Belong to this root from now on; None when it is not a host. Raises `HostLost`."""

    async def carrier(self) -> FrameCarrier:
        """The carrier of frames to it."""


class FindProcess(Protocol):
    """Finds a process that an earlier root started."""

    async def __call__(self, name: str) -> DetachedProcess | None:
        """The process of that name; None when it is gone, which is no proof of its end."""


class UntilEnded(Protocol):
    """Waits for the proof that a process has ended which an earlier root started."""

    async def __call__(self, mark: Sequence[Any]) -> None:
        """Return when the process with that `HostProcess.mark` has surely ended."""


class _Adopted(NamedTuple):
    """An adopted host."""

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
        until_ended: UntilEnded,
        remembered: Remembered,
        specs: Sequence[HostSpec],
    ) -> None:
        self._root = root
        self._control = control
        self._find = find
        self._until_ended = until_ended
        self._remembered = remembered
        self._specs = {spec.name: spec for spec in specs}
        self._idle: list[DetachedProcess] = []

    async def perform(self, answer_s: float) -> tuple[int, ...]:
        root, remembered, table = self._root, self._remembered, self._root.table
        table.next_cell = remembered.next_cell
        table.newest_slot = remembered.newest_slot
        table.newest_term = remembered.newest_term
        dead_letters = [self._control.ref(address) for address in remembered.dead_letters]
        root.hosting.dead_letter_subscribers[:] = dead_letters
        for record in remembered.slots:
            table.slots[record.number] = _slot_of(record)
            table.newest_slot = max(table.newest_slot, record.number)
        for batch in remembered.batches:
            self._restore(batch)
        for first in remembered.orphans:
            root.registrar.records.forget_batch(first)
        for token, answer in remembered.answers.items():
            firsts = [batch.first for batch in remembered.batches if batch.token == token]
            root.registrar.records.remember(token, firsts, answer)
        root.isolated.start()
        root.hosts.start()
        homes = {record.process: record for record in remembered.slots if record.process}
        taken = await asyncio.gather(
            *(self._take(name, homes.get(name), answer_s) for name in remembered.processes)
        )
        living = {one.slot.number: one for one in taken if one is not None}
        ends = await self._ends_of(living)
        # No await up to the last slot: a supervisor decides on an end only when it knows all.
        for process in self._idle:
            root.standbys.keep(process)
        for slot, incarnation in self._adopt_slots(living):
            children = root.supervised_by(slot)
            if slot.number in living:
                one = living[slot.number]
                children.resume(slot, incarnation, one.process, one.carrier)
            else:
                children.report_death(slot, incarnation, ends.get(slot.number))
        root.registrar.directory_changed()
        await asyncio.gather(
            root.hosting.introduce([one.slot for one in living.values()]),
            *(self._reconcile(one) for one in living.values()),
        )
        await root.registrar.published()
        root.registrar.spreading.hosts_changed()
        self._control.run_task(root.standbys.start_one())
        return tuple(
            dict.fromkeys(s for one in living.values() for s in one.found.attached_drivers)
        )

    async def _ends_of(self, living: Mapping[int, _Adopted]) -> "dict[int, asyncio.Task[None]]":
        """The ends of the processes of all other slots, as far as they are not proven at once."""
        ends = {
            record.number: self._root.hosting.expect_end(
                self._root.table.slots[record.number], self._until_ended(record.mark)
            )
            for record in self._remembered.slots
            if record.mark and record.number not in living
        }
        if ends:
            await asyncio.wait(ends.values(), timeout=PROOF_S)
        return {number: end for number, end in ends.items() if not end.done()}

    def _restore(self, record: BatchRecord) -> None:
        """Restore a batch in the slot table, with its names and offers."""
        table = self._root.table
        slot = table.slots.get(record.slot)
        if slot is None:
            return
        batch = Batch(record.part, record.first)
        batch.cells = [
            cell if is_living else 0
            for cell, is_living in zip(batch.cells, record.living, strict=True)
        ]
        slot.entries.update((cell, batch) for cell in batch.cells if cell)
        for offer in record.offers:
            if batch.cells[offer.offset // record.part.numbers_each]:
                address = Address(slot.number, record.first + offer.offset)
                if offer.name is not None:
                    table.take_name(offer.name, address)
                if offer.contracts:
                    table.offer(offer.contracts, address, offer.size, offer.routing)

    async def _take(self, name: str, record: SlotRecord | None, answer_s: float) -> _Adopted | None:
        """Adopt a process, or kill it when that is not possible."""
        records = self._root.registrar.records
        process = await self._find(name)
        if process is None:
            records.process_gone(name)
            return None
        found = None
        try:
            async with asyncio.timeout(answer_s):
                found = await process.adopt(self._control.epoch)
                if found is None and record is None:
                    await process.ping()
                    self._idle.append(process)
                    return None
        except (CallboardError, TimeoutError) as error:
            LOGGER.warning("%s cannot be adopted and is replaced: %s", name, error)
        slot = None if record is None else self._root.table.slots[record.number]
        if (
            found is not None
            and record is not None
            and slot is not None
            and record.is_populated
            and (found.slot, found.epoch) == (slot.number, slot.epoch)
            and (slot.entries or not slot.is_isolated)
        ):
            return _Adopted(slot, process, found, await process.carrier())
        await process.kill()
        return None

    def _adopt_slots(self, living: Mapping[int, _Adopted]) -> list[tuple[Slot, int]]:
        """Let the supervisors adopt all slots; gives the slots, the living first."""
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

    async def _reconcile(self, one: _Adopted) -> None:
        """Make the actors of a host and the entries of its slot the same."""
        slot, there = one.slot, dict.fromkeys(one.found.cells)
        for cell in [cell for cell in slot.entries if cell not in there]:
            self._root.registrar.forget(Address(slot.number, cell))
        unknown = tuple(c for c in there if c < FIRST_LOCAL_CELL and c not in slot.entries)
        if unknown:
            # The root died during their start, and no driver got the answer. The driver asks
            # again, and the new start must find the name free.
            control_actor, command = Address(slot.number, CONTROL_CELL), StopActors(cells=unknown)
            try:
                await self._control.ask(control_actor, command, SETTLE_TIMEOUT_S)
            except CallboardError:
                # The ask may have timed out; a tell has no deadline.
                with contextlib.suppress(CallboardError):
                    self._control.tell(control_actor, command)

    def _spec(self, slot: Slot) -> HostSpec:
        if slot.is_isolated:
            for batch in slot.batches():
                if batch.host is not None:
                    return HostSpec.from_data(batch.host)
        return self._specs.get(slot.name, HostSpec(slot.name, resources=slot.resources))


def _slot_of(record: SlotRecord) -> Slot:
    resources = None if record.resources is None else Resources.from_data(record.resources)
    slot = Slot(record.number, record.name, resources, is_isolated=record.is_isolated)
    slot.epoch = record.epoch
    slot.final_epoch = record.final_epoch
    return slot


async def adopt(
    root: Root,
    control: Host,
    find: FindProcess,
    until_ended: UntilEnded,
    remembered: Remembered,
    specs: Sequence[HostSpec],
    *,
    answer_s: float,
) -> tuple[int, ...]:
    """Adopt what an earlier root left; returns the slots of drivers that may join again.

    `specs` are the hosts of a system that starts. A process that does not answer within
    `answer_s` is killed.
    """
    return await _Adoption(root, control, find, until_ended, remembered, specs).perform(answer_s)
