"""Projectors: exactly once after any interruption, alone and two at once; failures; lag."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.events.codec import EventCodec, Unknown
from callboard.actors.events.errors import ProjectionChanged, ProjectionFailed
from callboard.actors.events.log import EventLog
from callboard.actors.events.projection.figures import ProjectorLimits, ProjectorState
from callboard.actors.events.projection.projection import Projection, Rows, projects
from callboard.actors.events.projection.projector import Projector
from callboard.actors.events.subscription.reader import Follower
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    ActorRestarted,
    CallboardError,
    DeadlineExceeded,
    InternalError,
    SpecError,
    UsageError,
)
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable, UnknownEvent
from callboard.messages.storage.events import RecordedEvent
from callboard.messages.storage.stores import ReadModelStore
from callboard.runtime.stores.choose import read_model_store

from .accounts import (
    DEADLINE_S,
    Accounts,
    AccountsInCents,
    Closed,
    Deposited,
    Renamed,
    append,
    balances,
    checked,
    open_journal,
    some_events,
    until,
)

SMALL = ProjectorLimits(page_events=7, idle_s=0.05)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReadModelStore]:
    url = {"memory": "memory:", "sqlite": str(tmp_path / "models.db")}.get(request.param)
    store = read_model_store(url or request.getfixturevalue("postgres_url"), durability="off")
    store.open()
    yield store
    store.close()


@pytest.fixture
def memory() -> ReadModelStore:
    return read_model_store("memory:")


class Crash(Exception):
    """Stands for the end of the process: the projector that meets it does nothing more."""


class Failing:
    """A store that fails before or after it has applied changes, on request."""

    def __init__(self, store: ReadModelStore, next_fault: Callable[[], Exception | None]) -> None:
        self._store = store
        self._next_fault = next_fault
        self.applies = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def apply(
        self, model: str, before: int, after: int, changes: Mapping[str, bytes | None]
    ) -> bool:
        self.applies += 1
        fault = self._next_fault()
        if fault is None:
            return self._store.apply(model, before, after, changes)
        if fault.args[0] == "after":
            self._store.apply(model, before, after, changes)
        raise fault


class Moving:
    """A log whose first reads fail."""

    def __init__(self, log: EventLog, errors: list[CallboardError]) -> None:
        self._log = log
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, after: int, limit: int, *, kinds: Any = None) -> list[RecordedEvent]:
        if self._errors:
            raise self._errors.pop(0)
        return await self._log.read(after, limit, kinds=kinds)


def failing(store: ReadModelStore, next_fault: Callable[[], Exception | None]) -> Any:
    return Failing(store, next_fault)


async def test_the_model_is_the_fold_of_the_log_and_goes_on_with_it(
    models: ReadModelStore,
) -> None:
    events = some_events(1, 500)
    async with open_journal() as journal:
        await append(journal, events[:300])
        async with Projector(Accounts(), journal, models) as projector:
            await projector.wait_for(300, DEADLINE_S)
            assert checked(models, "accounts", events) == 300
            last = await append(journal, events[300:])
            await projector.wait_for(last, DEADLINE_S)
            assert checked(models, "accounts", events) == 500
        assert projector.statistics().events == 500
        # A new projector finds it as it is, and has nothing to do.
        async with Projector(Accounts(), journal, models) as projector:
            await projector.wait_for(500, DEADLINE_S)
            assert projector.statistics().pages == 0


async def test_rows_that_do_not_fit_into_memory_are_fetched(models: ReadModelStore) -> None:
    events = some_events(2, 400)
    async with open_journal() as journal:
        await append(journal, events)
        limits = ProjectorLimits(page_events=9, rows_cached=3)
        async with Projector(Accounts(), journal, models, limits=limits) as projector:
            await projector.wait_for(400, DEADLINE_S)
    assert checked(models, "accounts", events) == 400


async def crash_again_and_again(models: ReadModelStore, seed: int) -> None:
    """Each projector ends in the middle of a write, or right behind it, or the store fails."""
    chance = random.Random(seed)
    events = some_events(seed, 200)
    crashes = 0

    def next_fault() -> Exception | None:
        if chance.random() < 0.6:
            return None
        when = chance.choice(("before", "after"))
        return Crash(when) if chance.random() < 0.95 else CommitUnknown(when)

    async with open_journal() as journal:
        await append(journal, events)
        store = failing(models, next_fault)
        while checked(models, "accounts", events) < len(events):
            limits = ProjectorLimits(page_events=chance.randrange(1, 12))
            projector = Projector(Accounts(), journal, store, limits=limits)
            try:
                await projector.start()
                await projector.wait_for(len(events), DEADLINE_S)
            except InternalError as error:
                if not isinstance(error.__cause__, Crash):
                    raise
                crashes += 1
            finally:
                await projector.close()
    assert crashes
    assert checked(models, "accounts", events) == len(events)


@pytest.mark.parametrize("seed", range(20))
async def test_crashes_between_and_in_batches_lose_and_repeat_nothing(
    memory: ReadModelStore, seed: int
) -> None:
    await crash_again_and_again(memory, seed)


async def test_the_same_on_every_store(models: ReadModelStore) -> None:
    await crash_again_and_again(models, 100)


async def test_two_projectors_at_once_apply_each_event_once(models: ReadModelStore) -> None:
    events = some_events(3, 600)
    async with open_journal() as journal:
        both = [Projector(Accounts(), journal, models, limits=SMALL) for _ in range(2)]
        for projector in both:
            await projector.start()
        await append(journal, events, size=5)
        for projector in both:
            await projector.wait_for(600, DEADLINE_S)
            await projector.close()
        figures = [projector.statistics() for projector in both]
    assert checked(models, "accounts", events) == 600
    assert sum(each.events for each in figures) == 600
    assert sum(each.overtaken for each in figures) > 0


async def test_several_projections_stand_side_by_side(memory: ReadModelStore) -> None:
    class Closings(Projection[int]):
        name = "closings"

        @projects
        def closed(self, rows: Rows[int], event: Closed) -> None:
            rows["count"] = rows.get("count", 0) + 1

    # A class in a function: its annotation is resolved where it was made.
    events = some_events(4, 100)
    known = EventCodec((Deposited, Closed))
    async with (
        open_journal() as journal,
        Projector(Accounts(), journal, memory) as accounts,
        Projector(Closings(), journal, memory, known) as closings,
    ):
        await append(journal, events)
        await accounts.wait_for(100, DEADLINE_S)
        await closings.wait_for(100, DEADLINE_S)
    assert checked(memory, "accounts", events) == 100
    closed = sum(isinstance(event, Closed) for event in events)
    assert balances(memory, "closings") == {"count": closed}


class TestFailures:
    """An event that cannot be folded: earlier events are applied, and the error names it."""

    async def test_it_stops_right_before_the_event_and_names_it(
        self, models: ReadModelStore
    ) -> None:
        events: list[Contract] = [*some_events(5, 30), Deposited(account="bad", amount=1)]
        events += some_events(6, 10)
        stopped: list[CallboardError] = []
        async with open_journal() as journal:
            await append(journal, events)
            projector = Projector(Picky(), journal, models, on_stopped=stopped.append)
            await projector.start()
            with pytest.raises(ProjectionFailed, match="position 31") as failed:
                await projector.wait_for(31, DEADLINE_S)
            assert failed.value.details["kind"] == "accounts.deposited"
            assert isinstance(failed.value.__cause__, KeyError)
            assert stopped == [failed.value]
            assert projector.statistics().state is ProjectorState.FAILED
            assert checked(models, "accounts", events) == 30
            await projector.close()

    async def test_a_method_that_raises_is_retried_as_often_as_configured(
        self, memory: ReadModelStore
    ) -> None:
        events: list[Contract] = [*some_events(5, 30), Deposited(account="bad", amount=1)]
        async with open_journal() as journal:
            await append(journal, events)
            heals = Picky(failures=2)
            async with Projector(heals, journal, memory, retries=2, limits=SMALL) as projector:
                await projector.wait_for(31, DEADLINE_S)
                assert projector.statistics().failures == 2
        assert checked(memory, "accounts", events) == 31

    async def test_a_row_without_an_encoding_is_the_fault_of_its_event(
        self, memory: ReadModelStore
    ) -> None:
        class Odd(Accounts):
            @projects
            def deposited(self, rows: Rows[Any], event: Deposited) -> None:
                rows[event.account] = object() if event.amount == 7 else event.amount

        events = [Deposited(account=f"a{number}", amount=number) for number in range(1, 20)]
        async with open_journal() as journal:
            await append(journal, events)
            async with Projector(Odd(), journal, memory) as projector:
                with pytest.raises(ProjectionFailed, match="position 7 "):
                    await projector.wait_for(19, DEADLINE_S)
        assert memory.position("accounts") == 6
        assert balances(memory, "accounts") == {f"a{n}": n for n in range(1, 7)}

    async def test_a_store_that_fails_for_a_while_is_waited_for(
        self, memory: ReadModelStore
    ) -> None:
        faults: list[Exception | None] = [StoreUnavailable("before"), CommitUnknown("after")]
        store = failing(memory, lambda: faults.pop(0) if faults else None)
        events = some_events(7, 60)
        async with open_journal() as journal:
            await append(journal, events)
            async with Projector(Accounts(), journal, store, limits=SMALL) as projector:
                await projector.wait_for(60, DEADLINE_S)
                assert projector.statistics().store_failures == 2
        assert checked(memory, "accounts", events) == 60

    async def test_a_log_that_does_not_answer_is_waited_for(self, memory: ReadModelStore) -> None:
        """As one that is an actor, on its way to another host."""
        events = some_events(10, 60)
        errors: list[CallboardError] = [ActorRestarted("gone"), StoreUnavailable("locked")]
        async with open_journal() as journal:
            await append(journal, events)
            log: Any = Moving(journal, errors)
            async with Projector(Accounts(), log, memory, limits=SMALL) as projector:
                await projector.wait_for(60, DEADLINE_S)
                assert projector.statistics().store_failures == 2
        assert checked(memory, "accounts", events) == 60

    async def test_another_version_is_refused(self, models: ReadModelStore) -> None:
        async with open_journal() as journal:
            await append(journal, some_events(8, 20))
            async with Projector(Accounts(), journal, models) as projector:
                await projector.wait_for(20, DEADLINE_S)
            with pytest.raises(ProjectionChanged, match=r"version 1 .* version 2"):
                await Projector(AccountsInCents(), journal, models).start()
            assert models.position("accounts") == 20


class Picky(Accounts):
    """Fails at the account `bad`: `failures` times, or always."""

    def __init__(self, failures: int | None = None) -> None:
        super().__init__()
        self.left = failures
        self.is_first = True

    @projects
    def deposited(self, rows: Rows[int], event: Deposited) -> None:
        rows[event.account] = rows.get(event.account, 0) + event.amount
        if event.account != "bad" or self.left == 0:
            return
        # A page with a failure is folded twice before it counts as one.
        if self.left is not None and not self.is_first:
            self.left -= 1
        self.is_first = not self.is_first
        raise KeyError(event.account)


class TestUnknownEvents:
    """The policy of the codec holds."""

    EVENTS: Sequence[Contract] = (
        Deposited(account="a", amount=1),
        Renamed(account="a"),
        Deposited(account="a", amount=2),
    )

    async def test_stop(self, memory: ReadModelStore) -> None:
        async with open_journal() as journal:
            await append(journal, self.EVENTS)
            # Retries without end, but none for an unknown event, which stays unknown.
            async with Projector(Accounts(), journal, memory, retries=None) as projector:
                with pytest.raises(ProjectionFailed, match="position 2 ") as failed:
                    await projector.wait_for(3, DEADLINE_S)
        assert isinstance(failed.value.__cause__, UnknownEvent)
        assert balances(memory, "accounts") == {"a": 1}

    async def test_skip(self, memory: ReadModelStore) -> None:
        codec = EventCodec((Deposited, Closed), unknown=Unknown.SKIP)
        async with open_journal() as journal:
            await append(journal, self.EVENTS)
            async with Projector(Accounts(), journal, memory, codec) as projector:
                await projector.wait_for(3, DEADLINE_S)
                assert projector.statistics().skipped == 1
        assert balances(memory, "accounts") == {"a": 3}

    async def test_keep(self, memory: ReadModelStore) -> None:
        class Counting(Accounts):
            def on_unknown(self, rows: Rows[int], event: Any) -> None:
                rows["unknown"] = rows.get("unknown", 0) + 1

        codec = EventCodec((Deposited, Closed), unknown=Unknown.KEEP)
        async with open_journal() as journal:
            await append(journal, self.EVENTS)
            async with Projector(Counting(), journal, memory, codec) as projector:
                await projector.wait_for(3, DEADLINE_S)
        assert balances(memory, "accounts") == {"a": 3, "unknown": 1}

    async def test_kinds_that_are_not_read_are_no_question(self, models: ReadModelStore) -> None:
        class Narrow(Accounts):
            reads_all = False

        events = [*self.EVENTS, *(Renamed(account="b") for _ in range(30))]
        async with open_journal() as journal:
            await append(journal, events)
            async with Projector(Narrow(), journal, models, limits=SMALL) as projector:
                await projector.wait_for(33, DEADLINE_S)
                await append(journal, [Deposited(account="c", amount=5)])
                await projector.wait_for(34, DEADLINE_S)
        assert balances(models, "accounts") == {"a": 3, "c": 5}


async def test_lag_is_reported_in_positions_and_seconds(memory: ReadModelStore) -> None:
    faults: list[Exception] = [StoreUnavailable("before")] * 2
    store = failing(memory, lambda: faults.pop(0) if faults else None)
    late_s = 1_000.0
    async with open_journal() as journal:
        projector = Projector(Accounts(), journal, store, wall_time=lambda: time.time() + late_s)
        await projector.start()
        assert (projector.statistics().lag_positions, projector.statistics().lag_s) == (0, 0.0)
        await append(journal, some_events(9, 10))
        await until(lambda: projector.statistics().store_failures > 0, "a failure")
        behind = projector.statistics()
        assert behind.lag_positions == 10
        assert late_s <= behind.lag_s < late_s + DEADLINE_S
        await projector.wait_for(10, DEADLINE_S)
        assert (projector.statistics().lag_positions, projector.statistics().lag_s) == (0, 0.0)
        await projector.close()


class Counting:
    """A log that counts its reads."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, after: int, limit: int, *, kinds: Any = None) -> list[RecordedEvent]:
        self.reads += 1
        return await self._log.read(after, limit, kinds=kinds)


async def test_projectors_that_share_a_follower_read_each_commit_once() -> None:
    events = some_events(12, 40)
    stores = [read_model_store("memory:") for _ in range(10)]
    async with open_journal() as journal, contextlib.AsyncExitStack() as stack:
        log: Any = Counting(journal)
        follower = await stack.enter_async_context(Follower(log))
        projectors = [Projector(Accounts(), follower, store) for store in stores]
        for each in projectors:
            await stack.enter_async_context(each)
        for number, event in enumerate(events, start=1):
            await append(journal, [event])
            await asyncio.gather(*(each.wait_for(number, DEADLINE_S) for each in projectors))
        assert log.reads == len(events)
        await projectors[0].close()
        more = some_events(13, 5)
        last = await append(journal, more)
        await asyncio.gather(*(each.wait_for(last, DEADLINE_S) for each in projectors[1:]))
    assert {checked(store, "accounts", [*events, *more]) for store in stores[1:]} == {45}


class Silent:
    """A log that does not answer behind a position, as one whose host is gone."""

    def __init__(self, log: EventLog, behind: int) -> None:
        self._log = log
        self._behind = behind
        self.asked = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, after: int, limit: int, *, kinds: Any = None) -> list[RecordedEvent]:
        if after >= self._behind:
            self.asked.set()
            await asyncio.get_running_loop().create_future()
        return await self._log.read(after, min(limit, self._behind - after), kinds=kinds)


@pytest.mark.parametrize("behind", [0, 7])
async def test_it_closes_though_its_log_does_not_answer(
    memory: ReadModelStore, behind: int
) -> None:
    limits = ProjectorLimits(page_events=7, read_timeout_s=3_600.0)
    events = some_events(10, 20)
    async with open_journal() as journal:
        await append(journal, events)
        log: Any = Silent(journal, behind)
        projector = Projector(Accounts(), log, memory, limits=limits)
        await projector.start()
        async with asyncio.timeout(DEADLINE_S):
            await log.asked.wait()
            await projector.close()
    # The page that was being written meanwhile is in the model, and known to be.
    assert projector.statistics().position == checked(memory, "accounts", events) == behind
    assert projector.statistics().store_failures == 0


async def test_wait_for_ends_at_its_deadline_and_with_the_projector(
    memory: ReadModelStore,
) -> None:
    async with open_journal() as journal:
        projector = Projector(Accounts(), journal, memory)
        await projector.start()
        with pytest.raises(DeadlineExceeded, match=r"is at position 0 after .* not at 1"):
            await projector.wait_for(1, 0.01)
        await projector.close()
        with pytest.raises(UsageError, match="closed"):
            await projector.wait_for(1, DEADLINE_S)
        with pytest.raises(UsageError, match="already"):
            await projector.start()
        await projector.close()


@pytest.mark.parametrize("name", ["", "accounts@2", None])
def test_a_name_that_cannot_be_one_is_refused(name: Any) -> None:
    with pytest.raises(SpecError, match="name is"):
        type("Wrong", (Accounts,), {"name": name})()
