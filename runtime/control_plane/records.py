"""The records from which the next incarnation of a root continues.

Facts that only the root knows are written before they count: which process has taken a slot over,
which actors a driver has references to, which numbers may be in use. Facts that hosts know too
(which of their actors have ended) are written a little later, in case such a host dies together
with the root.

Without a ledger nothing is written, and nothing waits.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgpack

from callboard.messages.control.spawning import Offer, PartSize, Spawn, Spawned, SpawnPart
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Address
from callboard.messages.ports import Ledger

from .authority import UNLIMITED, Authority
from .slots import Batch, Slot

if TYPE_CHECKING:
    from callboard.actors.kernel.host.host import Host

__all__ = ["CLAIM", "BatchRecord", "Records", "Remembered", "SlotRecord"]

LOGGER: Final = logging.getLogger("callboard.root")
WRITE_RETRY_S: Final = 0.5
CLOSE_TIMEOUT_S: Final = 2.0
"""How long a silent head of the cluster may delay the end of a root."""
CELLS_AHEAD: Final = 1 << 20
"""Actor numbers that are reserved at once; a new root starts after them."""
TERMS_AHEAD: Final = 60_000
"""Terms of fencing tokens that are reserved at once; a new root starts after them."""

EPOCH: Final = "epoch"
STARTED: Final = "started"
CELLS: Final = "cells"
DEAD_LETTERS: Final = "letters"
SLOT: Final = "slot/"
PROCESS: Final = "process/"
BATCH: Final = "batch/"
ENDED: Final = "ended/"
ANSWER: Final = "kept/"
DRIVER: Final = "driver/"
CLAIM: Final = "root/"
"""The claim of a root, by its epoch."""


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """The record of one slot."""

    number: int
    name: str
    epoch: int
    final_epoch: int
    process: str
    """The name of its process; empty when it had none."""
    is_populated: bool
    """Whether all its actors had started there."""
    is_isolated: bool
    resources: dict[str, Any] | None
    mark: tuple[Any, ...] = ()
    """The mark of its process (`HostProcess.mark`); empty without one."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """The record of actors that a driver has references to."""

    slot: int
    first: int
    token: str
    part: SpawnPart
    offers: tuple[Offer, ...]
    """The offers of this part; `part` is 0 in each."""
    living: bytes
    """For each start whether its actor still belonged to the slot, as 0 or 1."""


@dataclass(slots=True)
class Remembered:
    """Everything that a root has written."""

    system: str = ""
    """The identity of the system; two systems of one name, one after the other, differ."""
    epoch: int = 0
    """The newest control epoch in use."""
    was_started: bool = False
    next_cell: int = 1
    claims: list[int] = field(default_factory=list)
    """The epochs that roots have claimed."""
    newest_slot: int = 0
    newest_term: int = 0
    """The newest term of fencing tokens that may be in use."""
    dead_letters: list[Address] = field(default_factory=list)
    slots: list[SlotRecord] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    batches: list[BatchRecord] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    """The first numbers of batches without an answer: the root died, and the driver asks again."""
    answers: dict[str, Spawned] = field(default_factory=dict)
    attached_drivers: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    """The attached drivers by their slots; see `Records.attached_driver`."""

    @classmethod
    def from_entries(cls, entries: Mapping[str, bytes]) -> "Remembered":
        """Read the entries of a ledger, without batches that no driver has an answer for."""
        claims = [int(key.removeprefix(CLAIM)) for key in entries if key.startswith(CLAIM)]
        found = cls(claims=sorted(claims))
        ended: dict[int, bytes] = {}
        batches: list[tuple[int, Any]] = []
        for key, value in sorted(entries.items()):
            kind, slash, name = key.partition("/")
            if key == EPOCH:
                found.system, found.epoch = msgpack.unpackb(value)
            elif key == STARTED:
                found.was_started = True
            elif key == CELLS:
                # An earlier release has written no terms.
                found.next_cell, found.newest_slot, *terms = msgpack.unpackb(value)
                found.newest_term = terms[0] if terms else 0
            elif key == DEAD_LETTERS:
                found.dead_letters = [Address(*row) for row in msgpack.unpackb(value)]
            elif kind + slash == SLOT:
                found.slots.append(SlotRecord(*msgpack.unpackb(value, use_list=False)))
            elif kind + slash == PROCESS:
                found.processes.append(name)
            elif kind + slash == ENDED:
                ended[int(name)] = value
            elif kind + slash == DRIVER:
                found.attached_drivers[int(name)] = tuple(msgpack.unpackb(value))
            elif kind + slash == ANSWER:
                found.answers[name] = Spawned.model_validate(_unpacked(value))
            elif kind + slash == BATCH:
                batches.append((int(name), _unpacked(value)))
        found.slots.sort(key=lambda slot: slot.number)
        for first, data in sorted(batches, key=lambda row: row[0]):
            answer = found.answers.get(data["token"])
            if answer is None or (data["slot"], first) not in answer.parts:
                found.orphans.append(first)
            else:
                part = SpawnPart.model_validate(data["part"])
                offers = tuple(Offer.model_validate(offer) for offer in data["offers"])
                living = ended.get(first, b"\1" * part.count)
                found.batches.append(
                    BatchRecord(data["slot"], first, data["token"], part, offers, living)
                )
        return found


class Records:
    """Writes the records to the ledger; its coroutines return when the records are safe."""

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger
        self._host: Host | None = None
        self.authority: Authority = UNLIMITED
        """Nothing is written without it: the records may be those of a newer root."""
        self._changes: dict[str, Callable[[], bytes | None]] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._is_writing = False
        self._reserved = (1, 0, 0)
        self._tokens: dict[int, str] = {}
        """The token of the request of each batch."""
        self._living: dict[str, int] = {}
        """How many batches of a request have a living actor."""
        self.answers: Final[dict[str, Spawned]] = {}
        """The answers to requests whose actors live, by the request's token."""

    def attach(self, host: "Host") -> None:
        """Set the control host, which runs the writing as a task."""
        self._host = host

    # --- facts --------------------------------------------------------------------------

    async def epoch(self, system: str, epoch: int) -> None:
        """Record that this control epoch is in use from now on."""
        self._note(EPOCH, lambda: msgpack.packb((system, epoch)))
        await self.written()

    def claims_gone(self, epochs: Sequence[int]) -> None:
        """Remove the claims of earlier roots: if one of them still runs, it ends itself."""
        for epoch in epochs:
            self._note(f"{CLAIM}{epoch}", lambda: None)

    async def started(self) -> None:
        """Record that the system is up; a new root of a system that never was starts afresh."""
        self._note(STARTED, lambda: b"")
        await self.written()

    async def reserve(self, next_cell: int, newest_slot: int, newest_term: int) -> None:
        """Reserve the numbers of actors below `next_cell`, and slots and terms up to the newest."""
        cells, slots, terms = self._reserved
        if next_cell > cells or newest_slot != slots or newest_term > terms:
            mark = self._reserved = (
                max(cells, next_cell + CELLS_AHEAD),
                newest_slot,
                max(terms, newest_term + TERMS_AHEAD),
            )
            self._note(CELLS, lambda: msgpack.packb(mark))
            await self.written()

    async def process(self, name: str) -> None:
        """Record the name of a process before its start."""
        self._note(PROCESS + name, lambda: b"")
        await self.written()

    def process_gone(self, name: str) -> None:
        """Remove the record of a process that has ended."""
        self._note(PROCESS + name, lambda: None)

    async def slot(self, slot: Slot, *, is_populated: bool) -> None:
        """Record that a process takes a slot over, or that all its actors have started there."""
        if self._ledger is not None:
            self.slot_changed(slot, is_populated=is_populated)
            await self.written()

    def slot_changed(self, slot: Slot, *, is_populated: bool) -> None:
        """The same, for callers that need not wait."""
        row = (
            slot.number,
            slot.name,
            slot.epoch,
            slot.final_epoch,
            "" if slot.process is None else slot.process.name,
            is_populated,
            slot.is_isolated,
            None if slot.resources is None else slot.resources.to_data(),
            () if slot.process is None else slot.process.mark,
        )
        self._note(f"{SLOT}{slot.number}", lambda: msgpack.packb(row))

    def slot_gone(self, number: int) -> None:
        """Remove the record of a slot that is never used again."""
        self._note(f"{SLOT}{number}", lambda: None)

    async def record_spawn(
        self, request: Spawn, placed: Sequence[tuple[Slot, Batch]], answer: Spawned
    ) -> None:
        """Record these actors before their driver gets the answer."""
        if self._ledger is None:
            return
        token = request.token
        for number, (slot, batch) in enumerate(placed):
            own = [offer for offer in request.offers if offer.part == number]
            self._note_batch(slot.number, token, batch.first, request.parts[number], own)
            if not all(batch.cells):
                self._note_ended(batch)
        self.remember(token, [batch.first for _, batch in placed], answer)
        # Last: the batches count only with the answer.
        self._note(ANSWER + token, lambda: msgpack.packb(answer.model_dump()))
        await self.written()

    async def resized(self, part: PartSize) -> None:
        """Record the size of a part of a pool before it changes."""
        token = self._tokens.get(part.cell)
        if token is not None:
            self._note_batch(part.slot, token, part.cell, part.part, [part.offer])
            await self.written()

    def offers_changed(
        self, slot: Slot, batch: Batch, part: SpawnPart, offers: Sequence[Offer]
    ) -> None:
        """Record other offers of actors; wait for `written` before they count."""
        token = self._tokens.get(batch.first)
        if token is not None:
            self._note_batch(slot.number, token, batch.first, part, offers)

    def _note_batch(
        self, slot: int, token: str, first: int, part: SpawnPart, offers: Sequence[Offer]
    ) -> None:
        data = {
            "slot": slot,
            "token": token,
            "part": part.model_dump(),
            "offers": [{**offer.model_dump(), "part": 0} for offer in offers],
        }
        self._note(f"{BATCH}{first}", partial(msgpack.packb, data))

    def remember(self, token: str, firsts: Sequence[int], answer: Spawned) -> None:
        """Keep an answer of this root, or of an earlier one."""
        self.answers[token] = answer
        self._living[token] = len(firsts)
        self._tokens.update(dict.fromkeys(firsts, token))

    def forget_batch(self, first: int) -> None:
        """Remove the record of a batch that no driver uses, or that another root must not offer."""
        self._note(f"{BATCH}{first}", lambda: None)
        self._note(f"{ENDED}{first}", lambda: None)

    def ended(self, batch: Batch) -> None:
        """Record that an actor of a batch has ended for good."""
        token = self._tokens.get(batch.first)
        if token is None:
            return
        if any(batch.cells):
            self._note_ended(batch)
            return
        del self._tokens[batch.first]
        self._note(f"{BATCH}{batch.first}", lambda: None)
        self._note(f"{ENDED}{batch.first}", lambda: None)
        self._living[token] -= 1
        if not self._living[token]:
            del self._living[token]
            del self.answers[token]
            self._note(ANSWER + token, lambda: None)

    def _note_ended(self, batch: Batch) -> None:
        self._note(f"{ENDED}{batch.first}", lambda: bytes(map(bool, batch.cells)))

    async def dead_letters(self, subscribers: Sequence[Address]) -> None:
        """Record the subscribers of all dead letters."""
        rows = [tuple(subscriber) for subscriber in subscribers]
        self._note(DEAD_LETTERS, lambda: msgpack.packb(rows))
        await self.written()

    async def close(self) -> None:
        """Accept no more records, and wait until the last write has ended."""
        self._ledger = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.written()

    async def attached_driver(self, slot: int, row: Sequence[Any]) -> None:
        """Record a driver before it joins; `row` is plain data."""
        self._note(f"{DRIVER}{slot}", lambda: msgpack.packb(row))
        await self.written()

    def driver_gone(self, slot: int) -> None:
        """Remove the record of a driver that has left or was dropped; it never joins again."""
        self._note(f"{DRIVER}{slot}", lambda: None)

    # --- writing ------------------------------------------------------------------------

    def _note(self, key: str, value: Callable[[], bytes | None]) -> None:
        if self._ledger is None:
            return
        self._changes.pop(key, None)  # To the end: records are written in the order of their facts.
        self._changes[key] = value
        if not self._is_writing:
            assert self._host is not None, "attach comes first"
            self._is_writing = True
            self._host.run_task(self._write(self._ledger))

    async def written(self) -> None:
        """Wait until all records so far are safe."""
        if self._is_writing:
            assert self._host is not None
            done = self._host.loop.create_future()
            self._waiting.append(done)
            await done

    async def _write(self, ledger: Ledger) -> None:
        while self._changes:
            changes, self._changes = self._changes, {}
            waiting, self._waiting = self._waiting, []
            entries = {key: value() for key, value in changes.items()}
            while True:
                await self.authority.held()
                try:
                    await ledger.write(entries)
                    break
                except CallboardError as error:
                    # Callers have deadlines of their own; the records must not be lost.
                    LOGGER.warning("the records are written again: %s", error)
                    await asyncio.sleep(WRITE_RETRY_S)
            _wake(waiting)
        self._is_writing = False
        _wake(self._waiting)  # Those that wait for the end of the writing itself.
        self._waiting.clear()


def _wake(waiting: Sequence["asyncio.Future[None]"]) -> None:
    for done in waiting:
        if not done.done():
            done.set_result(None)


def _unpacked(value: bytes) -> Any:
    return msgpack.unpackb(value, strict_map_key=False)
