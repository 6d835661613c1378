"""The journal over a store that fails: one outcome each, in order, never before it is durable."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from callboard.actors.journal.core import JournalLimits
from callboard.actors.journal.journal import Journal
from callboard.messages.core.errors import (
    ActorStopped,
    CallboardError,
    DeadlineExceeded,
    InternalError,
    MailboxFull,
)
from callboard.messages.storage.errors import (
    CommitUnknown,
    StoreFull,
    StoreUnavailable,
    WriterFenced,
    WrongExpectedVersion,
)
from callboard.messages.storage.events import Append, Appended
from callboard.runtime.stores.memory import MemoryEventStore

from .faulty import FaultyStore, events

WAIT_S = 20.0
QUICK = JournalLimits(patience_s=10.0, retry_first_s=0.001, retry_max_s=0.002)
IMPATIENT = JournalLimits(patience_s=0.0)
Make = Callable[..., Any]


@pytest_asyncio.fixture
async def store() -> AsyncIterator[FaultyStore]:
    made = FaultyStore()
    yield made
    made.gate.set()


@pytest_asyncio.fixture
async def opened(store: FaultyStore) -> AsyncIterator[Make]:
    """Makes journals over the store, which are closed at the end."""
    made: list[Journal] = []

    async def open_one(limits: JournalLimits = QUICK, **options: Any) -> Journal:
        journal = Journal(store, owner="test", limits=limits, **options)
        made.append(journal)
        await journal.open()
        return journal

    yield open_one
    store.gate.set()
    for journal in made:
        await journal.close(timeout_s=5.0)


async def entered(store: FaultyStore) -> None:
    assert await asyncio.to_thread(store.entered.wait, WAIT_S), "no commit has begun"


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreFull("full")])
async def test_an_outage_is_waited_out(
    store: FaultyStore, opened: Make, error: CallboardError
) -> None:
    journal = await opened()
    store.faults.extend([error] * 5)
    assert await journal.append("a", events()) == Appended(1, 1, 1)
    assert journal.statistics().retries == 5
    assert len(store.groups) == 6
    assert all(group == store.groups[0] for group in store.groups)


async def test_a_commit_that_may_have_happened_happens_once(
    store: FaultyStore, opened: Make
) -> None:
    journal = await opened()
    store.faults.append(CommitUnknown("the connection broke"))
    assert await journal.append("a", events(2)) == Appended(1, 2, 2, is_repeat=True)
    assert (journal.head, store.head()) == (2, 2)


async def test_without_patience_each_append_fails_and_the_next_works(
    store: FaultyStore, opened: Make
) -> None:
    journal = await opened(IMPATIENT)
    store.faults.append(StoreFull("full"))
    outcomes = await asyncio.gather(
        *(journal.append("a", events()) for _ in range(5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [StoreFull] * 5
    assert journal.statistics().failed == 5
    assert store.head() == 0
    assert await journal.append("a", events()) == Appended(1, 1, 1)


async def test_what_waits_behind_a_commit_is_one_group_in_its_order(
    store: FaultyStore, opened: Make
) -> None:
    journal = await opened()
    store.gate.clear()
    first = asyncio.create_task(journal.append("a", events()))
    await entered(store)
    rest = [asyncio.create_task(journal.append(f"s{n}", events())) for n in range(50)]
    await asyncio.sleep(0)
    store.gate.set()
    async with asyncio.timeout(WAIT_S):
        found = [await task for task in (first, *rest)]
    assert [outcome.first for outcome in found] == list(range(1, 52))
    assert [len(group) for group in store.groups] == [1, 50]
    assert journal.statistics().groups == 2


async def test_outcomes_come_after_the_commit_is_durable(store: FaultyStore, opened: Make) -> None:
    journal = await opened()
    calls: list[str] = []
    heads: list[int] = []
    journal.on_commit(lambda _head: calls.append("head"))
    journal.on_commit(heads.append)
    end = journal.on_commit(lambda _head: calls.append("ended"))
    store.gate.clear()
    journal.submit(Append("a", tuple(events(3))), lambda _outcome: calls.append("done"))
    await entered(store)
    assert (calls, journal.head) == ([], 0)
    end()
    store.gate.set()
    await journal.flush(WAIT_S)
    assert (calls, heads, journal.head) == (["done", "head"], [3], 3)


async def test_heads_only_grow(opened: Make) -> None:
    journal = await opened(JournalLimits(group_events=3))
    heads: list[int] = []
    journal.on_commit(heads.append)
    same = events()
    for number in range(20):
        journal.submit(Append(f"s{number % 3}", tuple(events(2))), lambda _outcome: None)
        journal.submit(Append("same", tuple(same)), lambda _outcome: None)
    await journal.flush(WAIT_S)
    assert heads == sorted(set(heads))
    assert heads[-1] == journal.head == 41


async def test_a_refusal_is_for_one_append_only(opened: Make) -> None:
    journal = await opened()
    outcomes = await asyncio.gather(
        journal.append("a", events(), 0),
        journal.append("a", events(), 0),
        journal.append("b", events(), 0),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes] == [Appended, WrongExpectedVersion, Appended]
    assert journal.statistics().refused == 1


async def test_too_much_is_refused_or_waits(store: FaultyStore, opened: Make) -> None:
    journal = await opened(JournalLimits(waiting_events=3))
    store.gate.clear()
    under_way = asyncio.create_task(journal.append("a", events()))
    await entered(store)
    waiting = [asyncio.create_task(journal.append("a", events())) for _ in range(8)]
    await asyncio.sleep(0)
    assert (journal.waiting_events, journal.has_room) == (3, False)
    with pytest.raises(MailboxFull) as caught:
        journal.submit(Append("a", tuple(events())), lambda _outcome: None)
    assert caught.value.may_have_run is False
    store.gate.set()
    async with asyncio.timeout(WAIT_S):
        found = await asyncio.gather(under_way, *waiting)
    assert sorted(outcome.first for outcome in found) == list(range(1, 10))


async def test_a_fenced_writer_ends_once_and_for_all(store: FaultyStore, opened: Make) -> None:
    broken: list[CallboardError] = []
    journal = await opened(on_broken=broken.append)
    store.second_handle().take_over("another")
    outcomes = await asyncio.gather(
        *(journal.append("a", events()) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in outcomes] == [WriterFenced] * 3
    with pytest.raises(WriterFenced):
        await journal.append("a", events())
    assert [type(error) for error in broken] == [WriterFenced]


async def test_an_unknown_error_ends_the_writer_as_well(store: FaultyStore, opened: Make) -> None:
    broken: list[CallboardError] = []
    journal = await opened(on_broken=broken.append)
    store.faults.append(ZeroDivisionError("a bug"))
    with pytest.raises(InternalError, match="a bug"):
        await journal.append("a", events())
    assert [type(error) for error in broken] == [InternalError]


async def test_who_waits_for_room_hears_that_the_writer_has_ended(
    store: FaultyStore, opened: Make
) -> None:
    journal = await opened(JournalLimits(waiting_events=1))
    store.gate.clear()
    store.faults.append(WriterFenced("another"))
    tasks = [asyncio.create_task(journal.append("a", events())) for _ in range(6)]
    await entered(store)
    store.gate.set()
    async with asyncio.timeout(WAIT_S):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in outcomes] == [WriterFenced] * 6


async def test_being_cancelled_takes_nothing_back(store: FaultyStore, opened: Make) -> None:
    journal = await opened()
    store.gate.clear()
    task = asyncio.create_task(journal.append("a", events()))
    await entered(store)
    task.cancel()
    store.gate.set()
    await journal.flush(WAIT_S)
    assert task.cancelled()
    assert (journal.head, store.head()) == (1, 1)


async def test_close_writes_what_waits_and_takes_nothing_more(
    store: FaultyStore, opened: Make
) -> None:
    journal = await opened()
    store.faults.extend([StoreUnavailable("away")] * 3)
    done: list[Appended | CallboardError] = []
    for _ in range(3):
        journal.submit(Append("a", tuple(events())), done.append)
    await journal.close(WAIT_S)
    assert done == [Appended(n, n, n) for n in (1, 2, 3)]
    with pytest.raises(ActorStopped):
        await journal.append("a", events())
    await journal.close(WAIT_S)


async def test_close_in_an_outage_ends_at_its_deadline(store: FaultyStore, opened: Make) -> None:
    journal = await opened(JournalLimits(patience_s=1e6, retry_first_s=0.01))
    store.fails_always = StoreUnavailable("away for ever")
    done: list[Appended | CallboardError] = []
    journal.submit(Append("a", tuple(events())), done.append)
    await journal.close(0.1)
    assert [type(outcome) for outcome in done] == [DeadlineExceeded]


async def test_close_does_not_wait_for_a_store_that_hangs(store: FaultyStore, opened: Make) -> None:
    journal = await opened()
    store.gate.clear()
    done: list[Appended | CallboardError] = []
    journal.submit(Append("a", tuple(events())), done.append)
    await entered(store)
    async with asyncio.timeout(WAIT_S):
        await journal.close(0.1)
    assert [type(outcome) for outcome in done] == [DeadlineExceeded]
    store.gate.set()


async def test_statistics_count_what_was_done(store: FaultyStore, opened: Make) -> None:
    journal = await opened()
    nothing = journal.statistics()
    assert (nothing.appends, nothing.groups, nothing.commit_s) == (0, 0, 0.0)
    await journal.append("a", events(3, size=7), 0)
    store.entered.clear()
    store.gate.clear()
    first = asyncio.create_task(journal.append("b", events(2, size=5)))
    await entered(store)
    rest = [asyncio.create_task(journal.append("c", events(), 0)) for _ in range(3)]
    await asyncio.sleep(0)
    assert journal.statistics().waiting_events == 3
    assert journal.statistics().waiting_bytes == 30
    store.gate.set()
    await asyncio.gather(first, *rest, return_exceptions=True)
    found = journal.statistics()
    # Of the last group, one append was kept and two had the wrong version.
    assert (found.appends, found.events, found.bytes) == (3, 6, 3 * 7 + 2 * 5 + 10)
    assert (found.groups, found.refused, found.failed, found.retries) == (3, 2, 0, 0)
    assert (found.group_events_last, found.group_events_max) == (3, 3)
    assert (found.head, found.waiting_events, found.waiting_bytes) == (6, 0, 0)
    assert 0.0 < found.commit_s_last < found.commit_s
    assert nothing.appends == 0, "a value of its own"


class Taken(MemoryEventStore):
    """A store whose lock another writer holds."""

    is_closed = False

    def take_over(self, owner: str, fence: int = 0) -> int:
        raise StoreUnavailable("taken")

    def close(self) -> None:
        self.is_closed = True


async def test_a_journal_for_a_block_closes_its_store_at_the_end_and_when_it_cannot_open() -> None:
    async with Journal(MemoryEventStore(), owner="test") as journal:
        assert await journal.append("a", events()) == Appended(1, 1, 1)
    with pytest.raises(CallboardError, match="closed"):
        await journal.append("a", events())
    store = Taken()
    with pytest.raises(StoreUnavailable, match="taken"):
        async with Journal(store, owner="test"):
            raise AssertionError("it is not open")
    assert store.is_closed
