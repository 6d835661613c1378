"""States fed from a journal: each event once, despite kills, refusals and outages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.executions.history.events import Kind, pack, stream_of
from callboard.actors.executions.history.fold import fold
from callboard.actors.executions.history.states import KINDS, advanced, of_history
from callboard.actors.journal.journal import Journal
from callboard.actors.state.feed import StateFeed
from callboard.actors.state.states import AgentStateManager
from callboard.messages.core.errors import DeadlineExceeded
from callboard.messages.jobs.execution import ExecutionStatus, StateTransitionTrigger
from callboard.messages.jobs.updates import ExecutionPhase
from callboard.messages.storage.errors import StoreUnavailable
from callboard.messages.storage.events import Append, EventStore, NewEvent
from callboard.messages.storage.states import AgentExecutionState, AgentStateChanged
from callboard.messages.storage.stores import StateRow
from callboard.runtime.cache.local import LocalCache
from callboard.runtime.stores.memory import MemoryEventStore, MemoryReadModelStore, MemoryStateStore
from tests.actors.executions.driver_restarts import (
    ID,
    WAIT_S,
    events_of,
    opened,
    random_job,
    resume,
)
from tests.actors.executions.execution_fixture import World, turns
from tests.actors.executions.test_snapshots import every_kind, store_of


def kept(state: AgentExecutionState | None) -> dict[str, Any]:
    """All that a state says, but for how often it was stored."""
    assert state is not None
    return state.model_dump() | {"version": 0}


def of_store(store: EventStore, execution_id: str = ID) -> AgentExecutionState:
    """The state of the whole history."""
    events = store.read_stream(stream_of(execution_id), limit=10_000)
    return of_history(fold(execution_id, events))


def test_a_state_tells_what_a_history_tells() -> None:
    state = of_store(store_of(every_kind()))
    assert (state.agent_id, state.task_id) == ("me/2", "j")
    assert state.status is ExecutionStatus.FAILED
    assert state.current_phase is ExecutionPhase.RUNNING
    assert [str(change.to) for change in state.transitions] == ["running", "failed"]
    assert state.transitions[0].metadata == {"k": 1}
    assert state.error == {"code": "ask", "message": "m"}
    assert state.end_time is not None
    assert state.end_time.timestamp() == 9.0
    assert state.start_time.timestamp() == 1.0
    assert state.metrics is not None
    counts = state.metrics.model_dump(exclude={"elapsed_s"})
    assert counts == {
        "sub_tasks": 9, "done": 4, "failed": 1, "attempts": 7, "retries": 3, "timeouts": 0,
        "host_losses": 2, "running": 0,
    }  # fmt: skip
    assert state.journal_version == 16


def test_events_one_after_the_other_lead_to_the_same_however_they_are_cut() -> None:
    store = store_of([event for event in every_kind() if event[0] != Kind.RESUMED])
    events = [event for event in events_of(store) if event.kind in KINDS]
    whole = of_store(store)
    for cut in range(len(events) + 1):
        state = advanced(advanced(None, events[:cut]), events[cut:])
        assert kept(state) == kept(whole)
        assert state is not None
        again = advanced(state, events)
        assert again is state, "what it shows already changes nothing"


def test_without_its_beginning_there_is_no_state() -> None:
    events = events_of(store_of(every_kind()))
    assert advanced(None, events[3:]) is None
    assert advanced(None, []) is None


class World5:
    """Stores that outlive a feed, and the published changes."""

    def __init__(self, store: MemoryEventStore) -> None:
        self.events = store
        self.states = FailingStates()
        self.models = MemoryReadModelStore()
        self.published: list[AgentStateChanged] = []

    async def publish(self, changes: Sequence[AgentStateChanged]) -> None:
        self.published += changes

    def manager(self) -> AgentStateManager:
        return AgentStateManager(self.states, LocalCache(newest_wins=True), self.publish)

    @contextlib.asynccontextmanager
    async def feeding(
        self, journal: Journal, *, is_killed: bool = False
    ) -> AsyncIterator[tuple[StateFeed, AgentStateManager]]:
        manager = self.manager()
        await manager.open()
        feed = StateFeed(journal, manager, self.models, source="j", every_s=0.0)
        await feed.start()
        yield feed, manager
        self.states.fails = 0
        if is_killed:
            assert feed._task is not None
            feed._task.cancel()
            await asyncio.wait((feed._task,))
        else:
            await feed.close()
        await manager.close()


class FailingStates(MemoryStateStore):
    """Raises as often as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = 0

    def upsert(self, table: str, rows: Sequence[StateRow]) -> list[bool]:
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("away")
        return super().upsert(table, rows)


@given(
    plan=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=10),
    steps=st.lists(st.tuples(st.integers(0, 80), st.booleans()), max_size=3),
    fails=st.integers(0, 3),
)
@settings(max_examples=25)
def test_over_restarts_failures_and_kills_the_state_is_that_of_the_history(
    plan: list[tuple[bool, bool]], steps: list[tuple[int, bool]], fails: int
) -> None:
    asyncio.run(_runs(plan, steps, fails))


async def _runs(plan: list[tuple[bool, bool]], steps: list[tuple[int, bool]], fails: int) -> None:
    job, here = random_job(plan), World5(MemoryEventStore())
    here.states.fails = fails
    for limit, is_killed in (*steps, (None, False)):
        world = World()
        await world.add_pool(1, 4)
        journal = await opened(here.events.second_handle())  # type: ignore[arg-type] # of the same class
        async with here.feeding(journal, is_killed=is_killed) as (feed, manager):
            handle = await resume(world, journal, job)
            if limit is not None:
                await turns(limit)
                here.events.take_over("the next driver")
            else:
                await handle.result(WAIT_S)
                await feed.wait_for(journal.head, WAIT_S)
                (state,) = await manager.synchronise([ID])
                assert kept(state) == kept(of_store(here.events))
                assert state is not None
                assert state.status is ExecutionStatus.COMPLETED
                versions = [change.version for change in here.published]
                assert versions == sorted(set(versions)), "each change is published once"
                assert here.published[-1].version == state.version
                assert feed.statistics().unreadable == 0
                assert feed.statistics().lag_positions == 0
        await world.close()
        await journal.close()


async def test_a_fork_begins_with_what_its_origin_had_done() -> None:
    store = store_of(every_kind()[:8])
    fields = {"of": ID, "version": 8, "from": "c", "at": 9.0, "by": "me"}
    store.commit([Append(stream_of("fork"), (NewEvent(bytes(16), Kind.FORKED, pack(fields)),))])
    here = World5(store)
    journal = await opened(store)
    async with here.feeding(journal) as (feed, manager):
        await feed.wait_for(journal.head, WAIT_S)
        (state,) = await manager.synchronise(["fork"])
        assert state is not None
        assert state.metrics is not None
        assert (state.metrics.sub_tasks, state.metrics.done) == (6, 3)
        assert state.status is ExecutionStatus.RUNNING
    await journal.close()


async def test_a_change_of_another_process_is_kept_and_the_journal_wins() -> None:
    here = World5(store_of(every_kind()[:-1]))
    journal = await opened(here.events)
    async with here.feeding(journal) as (feed, manager):
        await feed.wait_for(journal.head, WAIT_S)
        other = here.manager()
        await other.open()
        theirs = await other.transition(
            ID, ExecutionStatus.CANCELLED, StateTransitionTrigger.CANCEL_REQUESTED
        )
        last = every_kind()[-1]
        event = NewEvent(b"l" * 16, last[0], pack(last[1]))
        await journal.append(stream_of(ID), [event])
        await feed.wait_for(journal.head, WAIT_S)
        (state,) = await manager.newest([ID])
        assert state is not None
        assert state.version == theirs.version + 1
        assert kept(state) == kept(of_store(here.events))
        await other.close()
    await journal.close()


async def test_an_execution_that_cannot_be_read_holds_up_no_other() -> None:
    store = store_of(every_kind())
    bad = NewEvent(b"b" * 16, Kind.SUBMITTED, b"\xc1")
    store.commit([Append(stream_of("bad"), (bad,))])
    submitted = every_kind()[0][1] | {"id": "good"}
    good = NewEvent(b"g" * 16, Kind.SUBMITTED, pack(submitted))
    store.commit([Append(stream_of("good"), (good,))])
    here, journal = World5(store), await opened(store)
    async with here.feeding(journal) as (feed, manager):
        await feed.wait_for(journal.head, WAIT_S)
        found = await manager.synchronise([ID, "bad", "good"])
        assert [state is None for state in found] == [False, True, False]
        assert feed.statistics().unreadable == 1
    await journal.close()


async def test_a_store_that_stays_away_is_counted_and_executions_go_on() -> None:
    here = World5(store_of(every_kind()))
    here.states.fails = 1_000_000
    journal = await opened(here.events)
    async with here.feeding(journal) as (feed, _):
        with pytest.raises(DeadlineExceeded, match=r"is at position 0 after .* not at 16"):
            await feed.wait_for(journal.head, 0.2)
        assert feed.statistics().failures >= 1
        assert feed.statistics().lag_positions == journal.head
        here.states.fails = 0
        await feed.wait_for(journal.head, WAIT_S)
    await journal.close()


async def test_many_executions_are_stored_in_few_transactions() -> None:
    store = MemoryEventStore()
    store.take_over("test")
    for number in range(300):
        name = f"e-{number}"
        fields = every_kind()[0][1] | {"id": name}
        new = NewEvent(number.to_bytes(16, "big"), Kind.SUBMITTED, pack(fields))
        store.commit([Append(stream_of(name), (new,))])
    here, journal = World5(store), await opened(store)
    async with here.feeding(journal) as (feed, manager):
        await feed.wait_for(journal.head, WAIT_S)
        found = await manager.synchronise([f"e-{number}" for number in range(300)])
        assert all(state is not None and state.journal_version == 1 for state in found)
        assert manager.statistics().stored == 300
        # How many states are together in one depends on the machine.
        assert manager.statistics().groups <= 300 // 10
    await journal.close()
