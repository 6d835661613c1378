"""Snapshots save time and nothing else: used when they fit, left aside when they do not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.events.commands import Commands
from callboard.actors.journal.snapshots import Snapshots
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import SpecError
from callboard.messages.storage.errors import StoreDamaged, StoreUnavailable
from callboard.messages.storage.events import EventStore, Snapshot
from callboard.runtime.stores.memory import MemoryEventStore
from callboard.runtime.stores.sqlite import SqliteEventStore

from ..events.ledger import Account, Balance, Deposit, codec_of, journal


class OtherBalance(Contract, name="tests.events.balance"):
    """The state, as a later release has it."""

    amount: int = 0
    currency: str = "EUR"


class Large(Contract, name="tests.events.large"):
    text: str = ""


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStore]:
    made: EventStore = MemoryEventStore()
    if request.param == "sqlite":
        made = SqliteEventStore(tmp_path / "log.db", durability="off")
    made.open()
    yield made
    made.close()


async def test_what_is_saved_is_loaded(store: EventStore) -> None:
    snapshots = Snapshots(store, Balance, schema=1)
    assert await snapshots.load("a") is None
    assert await snapshots.save("a", 7, Balance(amount=5), ["x"])
    assert await snapshots.load("a") == (Balance(amount=5), 7, ["x"])
    assert await snapshots.load("b") is None
    await snapshots.drop("a")
    assert await snapshots.load("a") is None
    found = snapshots.statistics
    assert (found.saved, found.used, found.missing) == (1, 1, 3)
    snapshots.close()


async def test_another_schema_is_left_aside(store: EventStore) -> None:
    await Snapshots(store, Balance, schema=1).save("a", 7, Balance(amount=5))
    for other in (
        Snapshots(store, Balance, schema=2),
        Snapshots(store, OtherBalance, schema=1),
    ):
        assert await other.load("a") is None
        assert other.statistics.other_schema == 1
        assert other.statistics.damaged == 0


async def test_every_damaged_byte_is_noticed(store: EventStore) -> None:
    snapshots = Snapshots(store, Balance, schema=1)
    await snapshots.save("a", 7, Balance(amount=5))
    good = store.load_snapshot("a")
    assert good is not None
    wrong = [good.data[:at] + bytes([good.data[at] ^ 1]) + good.data[at + 1 :]
             for at in range(len(good.data))]  # fmt: skip
    wrong += [b"", good.data[:20], good.data + b"x"]
    for data in wrong:
        store.save_snapshot(good._replace(data=data))
        assert await snapshots.load("a") is None
    store.save_snapshot(good._replace(version=8))
    assert await snapshots.load("a") is None
    store.save_snapshot(good._replace(stream="b"))
    assert await snapshots.load("b") is None
    assert snapshots.statistics.damaged == len(wrong) + 2
    store.save_snapshot(good)
    assert await snapshots.load("a") is not None


class Failing(MemoryEventStore):
    """Its snapshots cannot be reached."""

    fault: Exception = StoreUnavailable("gone")

    def load_snapshot(self, stream: str) -> Snapshot | None:
        raise self.fault

    def save_snapshot(self, snapshot: Snapshot) -> None:
        raise self.fault


async def test_a_store_that_fails_costs_time_only() -> None:
    store = Failing()
    snapshots = Snapshots(store, Balance, schema=1, every=2)
    async with journal(store) as log:
        commands = Commands(log, Account(), codec_of(), snapshots=snapshots)
        for _ in range(5):
            await commands.execute("a", Deposit(amount=1))
        assert (await commands.load("a")).state == Balance(amount=5)
    assert snapshots.statistics.failures == 3
    store.fault = StoreDamaged("broken")
    assert await snapshots.load("a") is None
    assert snapshots.statistics.damaged == 1


async def test_a_state_that_cannot_be_kept_is_no_error(store: EventStore) -> None:
    snapshots = Snapshots(store, Large, schema=1)
    assert not await snapshots.save("a", 1, Large(text="x" * 200_000_000))
    assert not await snapshots.save("a", 1, Large(), extra=object())
    assert snapshots.statistics.failures == 2


async def test_aggregates_begin_with_a_snapshot_and_do_without(store: EventStore) -> None:
    snapshots = Snapshots(store, Balance, schema=1, every=10)
    async with journal(store) as log:
        first = Commands(log, Account(), codec_of(), snapshots=snapshots)
        for number in range(25):
            await first.execute("a", Deposit(amount=number), command_id=f"c{number}")
        assert snapshots.statistics.saved == 2
        second = Commands(log, Account(), codec_of(), snapshots=snapshots)
        loaded = await second.load("a")
        assert (loaded.state, loaded.version) == (Balance(amount=300), 25)
        assert loaded.recent == tuple(f"c{number}" for number in range(25))
        assert second.statistics.events_read == 5
        again = await second.execute("a", Deposit(amount=3), command_id="c3")
        assert again.is_repeat
        await snapshots.drop("a")
        third = Commands(log, Account(), codec_of(), snapshots=snapshots)
        assert await third.load("a") == loaded
        assert third.statistics.events_read == 25
        assert store.load_snapshot("a") is not None, "written again"


def test_how_often() -> None:
    snapshots = Snapshots(MemoryEventStore(), Balance, schema=1, every=10)
    due = [after for after in range(1, 31) if snapshots.is_due(after - 1, after)]
    assert due == [10, 20, 30]
    assert snapshots.is_due(5, 25)
    with pytest.raises(SpecError):
        Snapshots(MemoryEventStore(), Balance, schema=1, every=0)
