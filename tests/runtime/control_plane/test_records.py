"""The records of a root, and their reading by its next incarnation."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.spawning import Offer, Spawn, Spawned, SpawnPart
from callboard.messages.core.errors import ClusterError
from callboard.messages.core.ref import Address
from callboard.runtime.control_plane import records as module
from callboard.runtime.control_plane.records import Records, Remembered
from callboard.runtime.control_plane.slots import Batch, Slot
from callboard.runtime.engines.inline import InlineLargeValues
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.hosting.wiring import make_host


class Memory:
    """A ledger that may fail."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.writes: list[list[str]] = []
        self.refuses = 0

    async def write(self, entries: Mapping[str, bytes | None]) -> None:
        await asyncio.sleep(0)
        if self.refuses:
            self.refuses -= 1
            raise ClusterError("no head.")
        self.writes.append(list(entries))
        for key, value in entries.items():
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value

    async def read(self) -> dict[str, bytes]:
        return self.entries

    @property
    def remembered(self) -> Remembered:
        return Remembered.from_entries(self.entries)


class Office:
    """Records with a host, a ledger and a slot."""

    def __init__(self) -> None:
        self.ledger = Memory()
        self.records = Records(self.ledger)
        self.host: Host
        self.host, self._watchdog = make_host(
            slot=0,
            epoch=1,
            name="root",
            settings=Settings(engine="inline"),
            large_values=InlineLargeValues(),
        )
        self.records.attach(self.host)
        self.slot = Slot(1, "host-1", None, is_isolated=False)
        self.slot.epoch = 3

    async def record(self, token: str, *, first: int = 10, count: int = 3) -> Batch:
        part = SpawnPart(entries=b"entries", count=count)
        batch = Batch(part, first)
        offer = Offer(part=0, offset=1, name="second", contracts=("ask",), size=2)
        request = Spawn(parts=(part,), offers=(offer,), token=token)
        answer = Spawned(parts=((1, first),), failures={})
        await self.records.record_spawn(request, [(self.slot, batch)], answer)
        return batch

    async def close(self) -> None:
        self._watchdog.stop()
        await self.host.close()


def office(case: Callable[[Office], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a case with an office."""

    def run() -> None:
        async def whole() -> None:
            here = Office()
            try:
                await case(here)
            finally:
                await here.close()

        asyncio.run(whole())

    run.__name__ = case.__name__
    return run


@office
async def test_an_unacknowledged_batch_is_not_remembered(here: Office) -> None:
    await here.record("answered")
    await here.record("unanswered", first=20)
    del here.ledger.entries["kept/unanswered"]
    (batch,) = here.ledger.remembered.batches
    assert (batch.slot, batch.first, batch.token, batch.living) == (1, 10, "answered", b"\1\1\1")
    assert batch.part == SpawnPart(entries=b"entries", count=3)
    assert batch.offers[0].name == "second"
    assert here.ledger.remembered.answers == {"answered": Spawned(parts=((1, 10),), failures={})}


@office
async def test_acknowledgement_is_written_after_what_it_acknowledges(here: Office) -> None:
    await here.record("answered")
    assert [keys[-1] for keys in here.ledger.writes if "batch/10" in keys] == ["kept/answered"]


@office
async def test_ended_actors_are_not_remembered(here: Office) -> None:
    batch = await here.record("answered")
    batch.forget(11)
    here.records.ended(batch)
    await here.records.started()
    assert here.ledger.remembered.batches[0].living == b"\1\0\1"


@office
async def test_a_batch_whose_actors_have_all_ended_leaves_no_entry(here: Office) -> None:
    batch = await here.record("answered")
    assert set(here.records.answers) == {"answered"}
    for cell in (10, 11, 12):
        batch.forget(cell)
        here.records.ended(batch)
    await here.records.started()
    assert set(here.ledger.entries) == {"started"}
    assert not here.records.answers


@office
async def test_slots_and_numbers_are_remembered(here: Office) -> None:
    records = here.records
    await records.epoch("it-1", 7)
    await records.reserve(1_000, 4, 7)
    await records.slot(here.slot, is_populated=True)
    await records.process("it-1-host-1")
    await records.dead_letters([Address(5, 6)])
    found = here.ledger.remembered
    assert (found.system, found.epoch, found.was_started) == ("it-1", 7, False)
    assert (found.next_cell, found.newest_slot) == (1_000 + module.CELLS_AHEAD, 4)
    assert (found.slots[0].number, found.slots[0].epoch, found.slots[0].process) == (1, 3, "")
    assert found.slots[0].is_populated
    assert (found.processes, found.dead_letters) == (["it-1-host-1"], [Address(5, 6)])


@office
async def test_numbers_are_reserved_ahead_and_not_one_by_one(here: Office) -> None:
    await here.records.reserve(1, 1, 1)
    before = len(here.ledger.writes)
    for number in range(2, 1_000):
        await here.records.reserve(number, 1, 1)
    assert len(here.ledger.writes) == before


def test_a_ledger_that_refuses_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_RETRY_S", 0.0)

    @office
    async def case(here: Office) -> None:
        here.ledger.refuses = 2
        await here.records.started()
        assert here.ledger.remembered.was_started

    case()


def test_without_a_ledger_nothing_waits() -> None:
    async def case() -> None:
        records = Records(None)
        await records.epoch("it-1", 1)
        await records.reserve(10, 1, 1)
        await records.slot(Slot(1, "host-1", None, is_isolated=False), is_populated=True)

    running = case()
    with pytest.raises(StopIteration):
        running.send(None)  # It ends in its first step.


@office
async def test_an_unanswered_batch_is_not_restored(
    here: Office,
) -> None:
    """Restoring both batches of one request would take a name twice and fail every next root."""
    await here.record("token", first=10)
    died_over = here.ledger.entries["batch/10"]
    await here.record("token", first=20)
    here.ledger.entries["batch/10"] = died_over
    remembered = here.ledger.remembered
    assert [batch.first for batch in remembered.batches] == [20]
    assert remembered.orphans == [10]
    here.records.forget_batch(10)
    await here.records.close()
    assert "batch/10" not in here.ledger.entries


@office
async def test_attached_drivers_are_remembered_until_they_leave(here: Office) -> None:
    row = (1 << 32, 1, "driver", ("node", "name", b"token"), "job", None)
    await here.records.attached_driver(1 << 32, row)
    assert here.ledger.remembered.attached_drivers.keys() == {1 << 32}
    here.records.driver_gone(1 << 32)
    await here.records.close()
    assert here.ledger.remembered.attached_drivers == {}


@office
async def test_nothing_is_written_after_the_end(here: Office) -> None:
    await here.records.process("two")
    await here.records.close()
    await here.records.process("three")
    assert set(here.ledger.entries) == {"process/two"}
