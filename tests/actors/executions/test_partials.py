"""Partial results of sub-tasks: in order, by attempt, and never in the way of the work."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.executions.history.events import (
    Kind,
    Packed,
    Streamed,
    StreamedPartial,
    read,
)
from callboard.messages.core.contract import Contract, ContractKey
from callboard.messages.core.errors import CallboardError, ExecutionFailed
from callboard.messages.core.frame import STEP_WINDOW
from callboard.messages.core.limits import DEFAULT_LIMITS
from callboard.messages.core.ref import Address
from callboard.messages.jobs.job import Job, Streams
from callboard.messages.jobs.plan import SubTask
from callboard.messages.jobs.retry import RETRY_DEFAULT, RetryPolicy
from callboard.messages.jobs.updates import PARTIALS_KEPT, PartialResult, SubTaskPartial
from callboard.runtime.stores.memory import MemoryEventStore
from tests.actors.executions.driver_restarts import events_of, opened, resume, submit
from tests.actors.executions.execution_fixture import Line, Recite, Recited, World, turns
from tests.thoroughness import examples

AT_ONCE = RetryPolicy(attempts_max=3, backoff_min_s=0.0, backoff_max_s=0.0)


def reciting(*labels: str, retry: RetryPolicy = RETRY_DEFAULT, **fields: Any) -> Job[Any, Any]:
    parts = tuple(SubTask(one, Recite(label=one, **fields), retry=retry) for one in labels)
    return Job(decompose=lambda _: parts)


async def partials_of(handle: ExecutionHandle[Any]) -> list[SubTaskPartial]:
    return [one async for one in handle.updates() if isinstance(one, SubTaskPartial)]


@pytest.mark.parametrize("slot", [0, 1])
async def test_a_reader_gets_the_partial_results_in_their_order(
    empty_world: World, slot: int
) -> None:
    await empty_world.add_pool(slot, 2)
    handle = empty_world.submit(reciting("a", "b", lines=40))
    found = await partials_of(handle)
    assert await handle.result(5) == [Recited(lines=40), Recited(lines=40)]
    for label in "ab":
        own = [one for one in found if one.task_id == label]
        assert [one.number for one in own] == list(range(1, 41))
        assert [one.value for one in own] == [Line(label=label, number=n) for n in range(40)]
        assert {(one.attempt, one.contract, one.skipped) for one in own} == {(1, "test.line", 0)}


async def test_an_ordinary_ask_gets_the_result_alone(world: World) -> None:
    ref = world.driver.ref(Address(1, 100))
    assert await ref.ask(Recite(lines=1_000), timeout_s=5.0) == Recited(lines=1_000)


async def test_a_retry_begins_again_under_its_own_attempt(world: World) -> None:
    handle = world.submit(reciting("a", lines=6, times=1, retry=AT_ONCE))
    found = await partials_of(handle)
    assert await handle.result(5) == [Recited(lines=6)]
    assert [(one.attempt, one.number) for one in found] == [
        *((1, number) for number in range(1, 5)),
        *((2, number) for number in range(1, 7)),
    ]


async def test_an_agent_that_raises_midway_fails_its_sub_task(world: World) -> None:
    once = RetryPolicy(attempts_max=1)
    handle = world.submit(reciting("a", lines=6, times=9, retry=once))
    assert [one.number for one in await partials_of(handle)] == [1, 2, 3, 4]
    with pytest.raises(ExecutionFailed, match="ValueError"):
        await handle.result(5)
    assert world.ticks.stopped == ["a"]


@pytest.mark.parametrize("slot", [0, 1])
async def test_a_cancellation_closes_the_generator(empty_world: World, slot: int) -> None:
    await empty_world.add_pool(slot, 1)
    handle = empty_world.submit(reciting("a", lines=3, lingers=True))
    await empty_world.ticks.lingering.wait()
    handle.cancel()
    with pytest.raises(CallboardError):
        await handle.result(5)
    await turns()
    assert empty_world.ticks.stopped == ["a"]


async def test_the_limit_of_an_attempt_closes_the_generator(world: World) -> None:
    parts = (SubTask("a", Recite(label="a", lingers=True), timeout_s=0.05, retry=AT_ONCE),)
    handle = world.submit(Job(decompose=lambda _: parts))
    with pytest.raises(ExecutionFailed):
        await handle.result(5)
    await turns()
    assert world.ticks.stopped == ["a"] * 3


async def test_another_host_begins_again_when_the_first_one_dies(world: World) -> None:
    handle = world.submit(reciting("a", lines=5, lingers=True))
    await world.ticks.lingering.wait()
    while handle.statistics().scheduler is None:
        await turns(1)
    reader = asyncio.create_task(partials_of(handle))
    await turns(50)
    world.kill(1)
    world.ticks.lingering.clear()
    await world.revive(1, 1)
    await world.ticks.lingering.wait()
    world.ticks.release.set()
    assert await handle.result(5) == [Recited(lines=5)]
    found = [(one.attempt, one.number) for one in await reader]
    assert found == [*((1, n) for n in range(1, 6)), *((2, n) for n in range(1, 6))]


async def test_a_slow_reader_slows_nothing_and_learns_what_it_missed(world: World) -> None:
    handle = world.submit(reciting("a", "b", lines=1_000))
    assert await handle.result(20) == [Recited(lines=1_000)] * 2
    found = await partials_of(handle)
    assert len(found) == PARTIALS_KEPT
    assert sum(1 + one.skipped for one in found) == 2_000


async def test_one_that_fits_in_no_envelope_fails_its_sub_task(world: World) -> None:
    handle = world.submit(reciting("a", size=DEFAULT_LIMITS.partial_bytes_max))
    with pytest.raises(ExecutionFailed, match=r"test\.line has .* bytes"):
        await handle.result(5)


# --- reducers that fold them -----------------------------------------------------------------


class Lines:
    """Counts lines, those of running sub-tasks included, in partial results only."""

    commutative = True

    def initial(self) -> Any:
        return 0

    def add(self, accumulator: Any, value: Any, key: int) -> Any:
        return accumulator + value.lines

    def finish(self, accumulator: Any) -> Any:
        return accumulator

    def fold_partial(self, before: Any, partial: Any) -> Any:
        return (before or 0) + 1

    def finish_partial(self, accumulator: Any, partials: Mapping[str, Any]) -> Any:
        return accumulator + sum(partials.values())


async def test_a_reducer_may_show_them_and_the_result_does_not_depend_on_them(
    world: World,
) -> None:
    parts = (
        SubTask("a", Recite(label="a", lines=2)),
        SubTask("b", Recite(label="b", lines=5, times=1, lingers=True), retry=AT_ONCE),
    )
    handle = world.submit(Job(decompose=lambda _: parts, reducer=Lines()))
    seen: list[int] = []
    async for update in handle.updates():
        if isinstance(update, PartialResult):
            seen.append(update.value)
            if update.value == 7:
                world.ticks.release.set()
    assert await handle.result(5) == 7
    assert max(seen) == 7, "lines of the first attempt of b count no more"


# --- the journal -----------------------------------------------------------------------------


def streamed(store: MemoryEventStore) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    for event in events_of(store):
        if event.kind == Kind.STREAMED:
            data = read(event.kind, event.data)
            assert isinstance(data, Streamed)
            found += [(one.task, one.attempt, one.number) for one in data.partials]
    return found


async def test_they_are_live_only_unless_the_job_says_otherwise(world: World) -> None:
    store = MemoryEventStore()
    handle = submit(world, await opened(store), reciting("a", lines=4))
    assert len(await partials_of(handle)) == 4
    assert streamed(store) == []


async def test_a_journal_has_them_before_anybody_else(world: World) -> None:
    store = MemoryEventStore()
    parts = tuple(SubTask(label, Recite(label=label, lines=50)) for label in "ab")
    job: Job[Any, Any] = Job(decompose=lambda _: parts, streams=Streams.JOURNAL)
    handle = submit(world, await opened(store), job)
    async for update in handle.updates():
        if isinstance(update, SubTaskPartial):
            place = ("ab".index(update.task_id), update.attempt, update.number)
            assert place in streamed(store)
    assert await handle.result(5) == [Recited(lines=50)] * 2
    assert len(streamed(store)) == 100


async def test_a_resume_repeats_neither_results_nor_their_partial_results(world: World) -> None:
    store = MemoryEventStore()
    parts = (
        SubTask("a", Recite(label="a", lines=3)),
        SubTask("b", Recite(label="b", lines=3, lingers=True), needs=("a",)),
    )
    job: Job[Any, Any] = Job(decompose=lambda _: parts, streams=Streams.JOURNAL)
    journal = await opened(store.second_handle())  # type: ignore[arg-type] # of the same class
    submit(world, journal, job)
    await world.ticks.lingering.wait()
    while len(streamed(store)) < 6:
        await turns(1)
    other = World()
    await other.add_pool(1, 1)
    other.ticks.release.set()
    handle = await resume(other, await opened(store), job)
    assert [one.task_id for one in await partials_of(handle)] == ["b"] * 3
    assert await handle.result(5) == [Recited(lines=3)] * 2
    assert other.ticks.begun == {"b": 1}
    await other.close()


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(1, 9), st.binary(max_size=9)),
        max_size=20,
    )
)
@settings(max_examples=examples(100))
def test_the_event_has_all_of_them(rows: Sequence[tuple[int, int, int, bytes]]) -> None:
    keys = [ContractKey("a", 1, 2), ContractKey("b", 3, 4)]
    partials = [
        StreamedPartial(task, attempt, number, Packed(keys[task % 2], body))
        for task, attempt, number, body in rows
    ]
    event = Streamed(1.5, partials)
    assert read(Kind.STREAMED, event.write()) == event


# --- back-pressure ---------------------------------------------------------------------------


class Taker:
    """An asker that grants room when the test says so; see `Call`."""

    def __init__(self, window: int, slot: int) -> None:
        self.window, self.slot = window, slot
        self.correlation = 0
        self.local: Any = None
        self.sent = False
        self.step = ""
        self.trace = b""
        self.taken: list[Contract] = []
        self.outcome: Any = None

    def done(self) -> bool:
        return self.outcome is not None

    def partial(self, correlation: int, message: Contract) -> None:
        assert self.outcome is None, "a partial result came after the outcome"
        self.taken.append(message)

    def reply(self, correlation: int, message: Contract | None) -> None:
        self.outcome = message

    def fail(self, correlation: int, error: CallboardError) -> None:
        self.outcome = error


@given(
    slot=st.integers(0, 1),
    lines=st.integers(0, 60),
    window=st.integers(1, 20),
    grants=st.lists(st.integers(1, 9), max_size=12),
)
@settings(max_examples=examples(60))
def test_a_handler_is_never_further_ahead_than_its_window(
    slot: int, lines: int, window: int, grants: list[int]
) -> None:
    async def main() -> None:
        world = World()
        await world.add_pool(slot, 1)
        taker = Taker(window, slot)
        deadline_s = world.driver.now() + 60.0
        request = Recite(label="a", lines=lines)
        world.driver.call(Address(slot, 100), request, deadline_s, taker)
        room = window
        await turns(30)
        for count in (*grants, lines):
            assert len(taker.taken) == min(room, lines)
            # One more is made, and waits.
            assert len(world.ticks.handled) == min(room + 1, lines)
            assert taker.done() == (room >= lines)
            world.driver.grant(taker, count)
            room += count
            await turns(30)
        assert [one.number for one in taker.taken if isinstance(one, Line)] == list(range(lines))
        assert taker.outcome == Recited(lines=lines)
        await world.close()

    asyncio.run(main())


async def test_thousands_of_attempts_stream_at_once_within_their_windows(world: World) -> None:
    labels = tuple(f"t{number}" for number in range(200))
    handle = world.submit(reciting(*labels, lines=3 * STEP_WINDOW))
    assert await handle.result(30) == [Recited(lines=3 * STEP_WINDOW)] * 200
