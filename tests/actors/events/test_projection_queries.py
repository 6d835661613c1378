"""The query side: its cache, the time to live of rows, and reading your own writes."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.events.projection.figures import ProjectorLimits
from callboard.actors.events.projection.projection import Projection, Rows, projects
from callboard.actors.events.projection.projector import Projector
from callboard.actors.events.projection.queries import Queries
from callboard.actors.journal.journal import Journal
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import DeadlineExceeded, UsageError
from callboard.messages.storage.stores import ReadModelStore
from callboard.runtime.cache.local import LocalCache
from callboard.runtime.stores.choose import read_model_store

from .accounts import DEADLINE_S, Accounts, Deposited, append, folded, open_journal, some_events

SMALL = ProjectorLimits(page_events=20, idle_s=0.05)


@pytest.fixture(params=["memory", "sqlite"])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReadModelStore]:
    url = {"memory": "memory:", "sqlite": str(tmp_path / "models.db")}[request.param]
    store = read_model_store(url, durability="off")
    store.open()
    yield store
    store.close()


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    async with open_journal() as opened:
        yield opened


async def test_rows_come_from_the_cache_until_they_change(
    models: ReadModelStore, journal: Journal
) -> None:
    queries = Queries(Accounts, models, cache=LocalCache())
    async with Projector(Accounts(), journal, models, queries=[queries]) as projector:
        await append(journal, [Deposited(account=name, amount=5) for name in "abc"])
        # Not `queries.wait_for`: it may read the store's position before the notification, and
        # then serves no older row.
        await projector.wait_for(3, DEADLINE_S)
        assert await queries.get_many(["a", "b", "nobody", "a"]) == [5, 5, None, 5]
        assert (queries.from_cache, queries.from_store) == (0, 3)
        assert await queries.get_many(["a", "b"]) == [5, 5]
        assert (queries.from_cache, queries.from_store) == (2, 3)
        await append(journal, [Deposited(account="a", amount=1)])
        await projector.wait_for(4, DEADLINE_S)
        assert await queries.get_many(["a", "b"]) == [6, 5]
        assert (queries.from_cache, queries.from_store) == (3, 4)
    await queries.close()


async def test_keys_by_prefix_in_pages(models: ReadModelStore, journal: Journal) -> None:
    queries = Queries(Accounts, models)
    async with Projector(Accounts(), journal, models) as projector:
        names = [f"{kind}/{number}" for kind in ("gold", "iron") for number in range(5)]
        await append(journal, [Deposited(account=name, amount=1) for name in names])
        await projector.wait_for(10, DEADLINE_S)
        assert [key for key, _ in await queries.items("iron/")] == names[5:]
        assert await queries.items("iron/", after="iron/2", limit=1) == [("iron/3", 1)]
        found: list[str] = []
        while page := await queries.items(after=found[-1] if found else "", limit=3):
            assert len(page) == min(3, 10 - len(found))
            found += [key for key, _ in page]
        assert found == names
    await queries.close()


@pytest.mark.parametrize("newest_wins", [False, True])
@pytest.mark.parametrize("is_notified", [True, False], ids=["notified", "by the store"])
async def test_one_reads_what_one_has_written(
    models: ReadModelStore, journal: Journal, *, is_notified: bool, newest_wins: bool
) -> None:
    """After `wait_for` a read never gives an older row, whatever other reads happen."""
    queries = Queries(Accounts, models, cache=LocalCache(newest_wins=newest_wins))
    followers = [queries] if is_notified else []
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            await queries.get_many([f"a{number}" for number in range(5)])
            await asyncio.sleep(0)

    async def write(account: str, seed: int) -> None:
        chance = random.Random(seed)
        balance = 0
        for _ in range(30):
            amount = chance.randrange(1, 10)
            balance += amount
            event = Deposited(account=account, amount=amount)
            position = await append(journal, [event])
            await queries.wait_for(position, DEADLINE_S)
            assert await queries.get(account) == balance

    async with Projector(Accounts(), journal, models, limits=SMALL, queries=followers):
        reading = [asyncio.create_task(read()) for _ in range(2)]
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(write(f"a{number}", number))
        done.set()
        await asyncio.gather(*reading)
    await queries.close()


class Slow:
    """A store whose reads are held up between the read and the answer, once."""

    def __init__(self, store: ReadModelStore) -> None:
        self._store = store
        self.loop = asyncio.get_running_loop()
        self.has_read = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.is_slow = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get_many(self, model: str, keys: Sequence[str]) -> list[bytes | None]:
        found = self._store.get_many(model, keys)
        if self.is_slow and "a" in keys:
            self.is_slow = False
            self.loop.call_soon_threadsafe(self.has_read.set)
            waiting = asyncio.run_coroutine_threadsafe(self.may_answer.wait(), self.loop)
            waiting.result(DEADLINE_S)
        return found


async def test_a_row_that_was_read_before_a_change_does_not_enter_the_cache_after_it(
    models: ReadModelStore, journal: Journal
) -> None:
    slow: Any = Slow(models)
    queries = Queries(Accounts, slow, cache=LocalCache())
    async with Projector(Accounts(), journal, models, queries=[queries]):
        await append(journal, [Deposited(account="a", amount=1)])
        await queries.wait_for(1, DEADLINE_S)
        slow.is_slow = True
        late = asyncio.create_task(queries.get("a"))
        async with asyncio.timeout(DEADLINE_S):
            await slow.has_read.wait()
        await append(journal, [Deposited(account="a", amount=1)])
        await queries.wait_for(2, DEADLINE_S)
        slow.may_answer.set()
        assert await late == 1
        assert await queries.get("a") == 2
        assert queries.from_cache == 0
    await queries.close()


async def test_another_process_that_takes_over_is_noticed(
    models: ReadModelStore, journal: Journal
) -> None:
    queries = Queries(Accounts, models, cache=LocalCache())
    async with Projector(Accounts(), journal, models, queries=[queries]):
        await append(journal, [Deposited(account="a", amount=1)])
        await queries.wait_for(1, DEADLINE_S)
        assert await queries.get("a") == 1
    async with Projector(Accounts(), journal, models):
        position = await append(journal, [Deposited(account="a", amount=1)])
        await queries.wait_for(position, DEADLINE_S)
        assert await queries.get("a") == 2
    await queries.close()


async def test_it_waits_no_longer_than_it_may_and_refuses_the_empty_key(
    models: ReadModelStore,
) -> None:
    queries = Queries(Accounts, models)
    with pytest.raises(DeadlineExceeded, match="position 1 "):
        await queries.wait_for(1, 0.01)
    with pytest.raises(UsageError, match="a key of a row is empty"):
        await queries.get("")
    await queries.close()


class Account(Contract, name="accounts.row"):
    balance: int
    deposits: int


class Books(Projection[Account]):
    name = "books"
    row = Account

    @projects
    def deposited(self, rows: Rows[Account], event: Deposited) -> None:
        before = rows.get(event.account, Account(balance=0, deposits=0))
        rows[event.account] = Account(
            balance=before.balance + event.amount, deposits=before.deposits + 1
        )


async def test_rows_may_be_contracts(models: ReadModelStore, journal: Journal) -> None:
    events = [event for event in some_events(1, 100) if isinstance(event, Deposited)]
    queries = Queries(Books, models, cache=LocalCache())
    async with Projector(Books(), journal, models, limits=SMALL, queries=[queries]):
        position = await append(journal, events)
        await queries.wait_for(position, DEADLINE_S)
        rows: Mapping[str, Account] = dict(await queries.items())
    assert {key: row.balance for key, row in rows.items()} == folded(events)
    assert sum(row.deposits for row in rows.values()) == len(events)
    await queries.close()
