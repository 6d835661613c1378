"""The history of an execution: recorded, folded, and gone on with from wherever its driver died."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.executions.collector import Collector
from callboard.actors.executions.handle import execution_of
from callboard.actors.executions.history.changes import doubts
from callboard.actors.executions.history.events import Kind, pack, stream_of
from callboard.actors.executions.history.fold import fold
from callboard.actors.executions.history.replay import Replay
from callboard.actors.scheduler.core import SchedulerCore
from callboard.messages.core.errors import CallboardError, MailboxFull, PayloadTooLarge
from callboard.messages.jobs.execution import TaskStatus
from callboard.messages.jobs.job import Job, Route
from callboard.messages.jobs.plan import Plan, SubTask
from callboard.messages.storage.errors import StoreDamaged, UnknownEvent, WrongExpectedVersion
from callboard.messages.storage.events import Append, NewEvent
from callboard.runtime.stores.memory import MemoryEventStore
from tests.actors.executions.driver_restarts import (
    ID,
    WAIT_S,
    events_of,
    opened,
    random_job,
    recorder_of,
    resume,
    submit,
    undisturbed,
)
from tests.actors.executions.execution_fixture import Linger, Square, Squared, World, squares, turns
from tests.thoroughness import examples


@given(
    plan=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12),
    steps=st.lists(st.integers(0, 60), max_size=3),
)
@settings(max_examples=examples(60))
def test_an_abandoned_execution_goes_on_to_the_same_result(
    plan: list[tuple[bool, bool]], steps: list[int]
) -> None:
    asyncio.run(_abandon_and_resume(plan, steps))


async def _abandon_and_resume(plan: list[tuple[bool, bool]], steps: list[int]) -> None:
    job, store = random_job(plan), MemoryEventStore()
    for limit in (*steps, None):
        # A world of its own for each driver: nothing of the one before it is there.
        world = World()
        await world.add_pool(1, 4)
        journal = await opened(store.second_handle())  # type: ignore[arg-type] # of the same class
        done = _done(store)
        handle = await resume(world, journal, job)
        if limit is not None:
            await turns(limit)
            # The driver is gone: from here on it is another's log.
            store.take_over("the next driver")
        else:
            result = await asyncio.wait_for(handle.result(), WAIT_S)
            found = [-1 if value.number == 2 and stumbled else value.number
                     for value, stumbled in zip(result, _stumbled(plan), strict=True)]  # fmt: skip
            assert found == undisturbed(plan)
            history = fold(ID, events_of(store))
            history.validate_state()
            assert set(history.statuses) == {TaskStatus.DONE}
            core = execution_of(handle).record.run.core  # type: ignore[attr-defined] # the core's own view
            assert [core.status_of(id_) for id_ in history.ids] == history.statuses
        ran = {f"t{n}" if n < 100 else f"g{n - 100}" for n in world.ticks.handled}
        assert not (ran | set(world.ticks.begun)) & done
        await world.close()
        await journal.close()


def _stumbled(plan: list[tuple[bool, bool]]) -> list[bool]:
    return [number == -1 for number in undisturbed(plan)]


def _done(store: MemoryEventStore) -> set[str]:
    history = fold(ID, events_of(store))
    history.validate_state()
    return {history.ids[index] for index in history.results}


async def test_what_was_submitted_comes_back(world: World) -> None:
    store, job = MemoryEventStore(), Job[Any, Any](name="j", threads=frozenset())
    journal = await opened(store)
    handle = submit(world, journal, job, who="me", count=3)
    await handle.result(timeout_s=WAIT_S)
    replay = Replay(fold(ID, events_of(store)), world.driver.codec, world.driver.contracts)
    assert replay.request() == Square(number=7)
    assert replay.attributes() == {"who": "me", "count": 3}
    again = await resume(world, journal, job)
    assert await again.result(timeout_s=WAIT_S) == [Squared(number=7, square=49)]
    assert world.ticks.handled == [7]
    await journal.close()


async def test_a_result_that_is_too_large_fails_at_once(world: World) -> None:
    store = MemoryEventStore()
    journal = await opened(store)
    job = Job[Any, Any](
        name="j", decompose=lambda _: squares(1), result_bytes_max=1, threads=frozenset()
    )
    with pytest.raises(CallboardError) as caught:
        await submit(world, journal, job).result(timeout_s=WAIT_S)
    assert isinstance(caught.value, PayloadTooLarge) or PayloadTooLarge.code in str(
        caught.value.to_data()
    )
    assert "s0" in str(caught.value)
    assert world.ticks.handled == [0]
    history = fold(ID, events_of(store))
    assert history.statuses == [TaskStatus.FAILED]
    assert not history.results
    await journal.close()


@pytest.mark.parametrize("end", ["refused", "cancelled", "none"])
async def test_only_a_non_idempotent_attempt_without_a_known_end_is_in_doubt_after_a_resume(
    world: World, end: str
) -> None:
    store, job = MemoryEventStore(), Job[Any, Any](name="j")
    journal = await opened(store)
    recorder = recorder_of(world, journal, job)
    recorder.submitted("j", Square(number=1), {}, {})
    await recorder.planned(Route(), [SubTask("pay", Square(number=1), non_idempotent=True)])
    recorder.began("pay", 1, "1/100", 0.0)
    recorder.began_non_idempotent(0, 1)
    recorder.flush()
    if end == "refused":
        refused = MailboxFull("the mailbox is full.", may_have_run=False)
        recorder.troubled(0, "pay", 1, refused, 1.0, loss=False)
    elif end == "cancelled":
        recorder.cancelled([0])
    recorder.flush()
    await recorder.settled()
    history = fold(ID, events_of(store))
    history.validate_state()
    assert [doubt.step for doubt in doubts(history, is_gone=True)] == ["pay"] * (end == "none")
    replay = Replay(history, world.driver.codec, world.driver.contracts)
    core = SchedulerCore(Plan(replay.plan()))
    replay.apply(core, Collector(job), 0.0)
    replay.leave_doubts(core)
    after = {"refused": TaskStatus.READY, "cancelled": TaskStatus.CANCELLED}
    assert core.status_of("pay") is after.get(end, TaskStatus.IN_DOUBT)
    await journal.close()


async def test_an_owner_that_was_superseded_fails_and_delivers_nothing(world: World) -> None:
    store, delivered = MemoryEventStore(), list[str]()
    journal = await opened(store)

    def job_of(owner: str) -> Job[Any, Any]:
        return Job(
            name="j",
            decompose=lambda _: (*squares(20), SubTask("slow", Linger())),
            deliver=lambda _result: delivered.append(owner),
            threads=frozenset(),
        )

    first = submit(world, journal, job_of("first"))
    async with asyncio.timeout(WAIT_S):
        await world.ticks.lingering.wait()
    await execution_of(first)._recorder.supersede()  # type: ignore[attr-defined] # as `Executions` does
    second = await resume(world, journal, job_of("second"))
    world.ticks.release.set()
    with pytest.raises(WrongExpectedVersion, match="was resumed elsewhere"):
        await first.result(timeout_s=WAIT_S)
    assert len(await second.result(timeout_s=WAIT_S)) == 21
    assert delivered == ["second"]
    await journal.close()


async def test_nothing_is_appended_behind_a_first_event_that_was_refused(world: World) -> None:
    store, job = MemoryEventStore(), Job[Any, Any](name="j")
    journal = await opened(store)
    await journal.append(stream_of(ID), [NewEvent(bytes(16), "somebody", b"")])
    recorder = recorder_of(world, journal, job)
    recorder.submitted("j", Square(number=1), {}, {})
    recorder.resumed()  # Expects the stream's version 1, but follows a refused append.
    with pytest.raises(WrongExpectedVersion):
        await recorder.settled()
    await journal.flush(WAIT_S)
    assert len(events_of(store)) == 1
    await journal.close()


@pytest.mark.parametrize(
    ("kind", "data", "error"),
    [
        ("callboard.execution.dreamt", pack({}), UnknownEvent),
        (str(Kind.STEPPED), b"\xc1", StoreDamaged),
        (str(Kind.STEPPED), pack({"to": "nowhere"}), StoreDamaged),
        (str(Kind.MOVED), b"", StoreDamaged),
    ],
)
def test_unreadable_events_raise_their_errors(
    kind: str, data: bytes, error: type[CallboardError]
) -> None:
    store = MemoryEventStore()
    store.take_over("test")
    store.commit([Append(stream_of(ID), (NewEvent(bytes(16), kind, data),))])
    with pytest.raises(error):
        fold(ID, events_of(store))
