"""An execution service and its drivers, which follow what it runs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from callboard import ExecutionHandle, Job, SubTask
from callboard.actors.executions.handle import execution_of
from callboard.actors.executions.history.events import Kind
from callboard.messages.control.lifecycle import ExitReason
from callboard.messages.core.errors import (
    Cancelled,
    DeadlineExceeded,
    ExecutionFailed,
    ExecutionIdTaken,
    HostLost,
    ResultRejected,
    SpecError,
    UsageError,
)
from callboard.messages.jobs.execution import ExecutionStatus
from callboard.messages.jobs.job import Decision
from callboard.messages.jobs.updates import (
    ExecutionPhase,
    ExecutionUpdate,
    Finished,
    PartialResult,
    PhaseChanged,
    Progressed,
    StateChanged,
    TaskTroubled,
)
from callboard.messages.storage.errors import StoreUnavailable, WriterFenced
from callboard.runtime.executions.service import execution_service as execution_services
from callboard.runtime.executions.service.jobs import pack_job
from tests.runtime.executions.service.service_fixture import (
    JOB,
    WITHIN_S,
    Done,
    Order,
    Stage,
    Step,
    Worker,
    plan,
    staged,
    until,
)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


async def read_all(handle: ExecutionHandle[Any]) -> list[ExecutionUpdate]:
    async with asyncio.timeout(WITHIN_S):
        return [update async for update in handle.updates()]


def numbers(results: list[Done]) -> list[int]:
    return [done.n for done in results]


# --- followed ------------------------------------------------------------------------------------


async def test_a_result_and_every_update_come_as_from_an_execution_here(stage: Stage) -> None:
    driver = stage.driver()
    here = stage.system.submit(JOB, Order(count=100))
    there = driver.submit(JOB, Order(count=100), {"who": "me"}, None)
    followed, said = await read_all(there), await read_all(here)
    assert await there.result(WITHIN_S) == await here.result(WITHIN_S)

    def comparable(updates: list[ExecutionUpdate]) -> list[Any]:
        return [
            (type(update), getattr(update, "phase", None) or getattr(update, "to", None))
            for update in updates
            if isinstance(update, StateChanged | PhaseChanged | Finished)
        ]

    assert comparable(followed) == comparable(said)
    assert [update.phase for update in followed if isinstance(update, PhaseChanged)] == list(
        ExecutionPhase
    )
    progress = [update for update in followed if isinstance(update, Progressed)]
    assert (progress[-1].done, progress[-1].total) == (100, 100)
    state = there.state()
    assert (state.status, state.job) == (ExecutionStatus.COMPLETED, "steps")
    assert state.context == {"who": "me"}
    figures = there.statistics().scheduler
    assert figures is not None
    assert figures.progress.done == 100


async def test_partial_results_are_made_for_readers_only(stage: Stage) -> None:
    Worker.held = {7}
    handle = stage.driver().submit(JOB, Order(count=8), None, None)
    async with asyncio.timeout(WITHIN_S):
        async for update in handle.updates():
            if isinstance(update, PartialResult) and update.results == 7:
                assert numbers(update.value) == list(range(7))
                break
    assert Worker.gate is not None
    Worker.gate.set()
    assert numbers(await handle.result(WITHIN_S)) == list(range(8))


async def test_a_failure_comes_with_its_code_and_its_troubles(stage: Stage) -> None:
    Worker.fails = {0}
    job = Job[Order, Any](
        name="failing", decompose=lambda _: [SubTask("s0", Step(n=0), non_idempotent=True)],
        in_doubt=lambda _task, _error: Decision.FAIL,
    )  # fmt: skip
    handle = stage.driver().submit(job, Order(), None, None)
    updates = await read_all(handle)
    assert any(isinstance(update, TaskTroubled) for update in updates)
    with pytest.raises(ExecutionFailed) as caught:
        await handle.result(WITHIN_S)
    assert caught.value.details["failed_task"] == "s0"


async def test_values_of_any_type_come_whole(stage: Stage) -> None:
    job = Job[Order, Any](
        name="odd", decompose=plan, transform=lambda merged: ({1, 2}, tuple(merged), b"x", 1j)
    )
    result = await stage.driver().submit(job, Order(count=2), None, None).result(WITHIN_S)
    assert result == ({1, 2}, (Done(n=0), Done(n=1)), b"x", 1j)
    assert type(result[1][0]) is Done


# --- what cannot travel --------------------------------------------------------------------------


async def test_a_job_that_cannot_be_sent_names_its_part(stage: Stage) -> None:
    steps = (SubTask(f"s{n}", Step(n=n)) for n in range(3))
    job = Job[Order, Any](name="local", decompose=lambda _: steps)
    handle = stage.driver().submit(job, Order(), None, None)
    with pytest.raises(SpecError, match=r"part 'decompose' of job 'local'.*generator") as caught:
        await handle.result(WITHIN_S)
    assert "journal='off'" in caught.value.advice
    assert [type(update) for update in await read_all(handle)] == [Finished]
    assert not stage.ledger.entries


async def test_a_result_that_cannot_travel_says_so_and_is_complete(stage: Stage) -> None:
    job = Job[Order, Any](
        name="odd", decompose=plan, transform=lambda merged: (done for done in merged)
    )
    handle = stage.driver().submit(job, Order(), None, "one")
    with pytest.raises(ResultRejected, match="a generator, cannot leave") as caught:
        await handle.result(WITHIN_S)
    assert "complete" in caught.value.advice
    assert handle.state().status is ExecutionStatus.COMPLETED


# --- one owner -----------------------------------------------------------------------------------


async def test_two_drivers_resume_one_execution_and_it_runs_once(stage: Stage) -> None:
    Worker.held = {0}
    first = stage.driver()
    handle = first.submit(JOB, Order(count=20), None, "one")
    await stage.ran(20)
    await first.leave()
    with pytest.raises(HostLost, match=r"continues in system") as caught:
        await handle.result(WITHIN_S)
    assert "system.resume(job, 'one')" in caught.value.advice
    handles = await asyncio.gather(*(stage.driver().resume(JOB, "one") for _ in range(2)))
    assert Worker.gate is not None
    Worker.gate.set()
    for follower in handles:
        assert numbers(await follower.result(WITHIN_S)) == list(range(20))
    assert sorted(Worker.runs) == list(range(20))
    assert str(Kind.RESUMED) not in [event.kind for event in stage.events("one")]
    assert stage.incarnations == 1


async def test_an_id_is_taken_once_and_a_request_may_be_repeated(stage: Stage) -> None:
    driver = stage.driver()
    take = driver._take(JOB, "one", pack_job(JOB, Order(count=3), {}), is_new=True)
    for _ in range(2):  # As after the answer was lost with the execution service.
        await driver._ask(take)
    assert len(await (await driver.resume(JOB, "one")).result(WITHIN_S)) == 3
    await stage.kill()
    await driver._ask(take)  # It is in the journal only by now.
    again = await driver.submit(JOB, Order(count=3), None, "one").result(WITHIN_S)
    assert numbers(again) == [0, 1, 2]
    with pytest.raises(ExecutionIdTaken, match="count is 3 there and 4 here"):
        await driver.submit(JOB, Order(count=4), None, "one").result(WITHIN_S)
    with pytest.raises(UsageError, match="not 'other'"):
        await driver.resume(Job[Order, Any](name="other", decompose=plan), "one")
    with pytest.raises(UsageError, match="no execution 'none'"):
        await driver.resume(JOB, "none")
    assert sorted(Worker.runs) == [0, 1, 2]


async def test_drivers_that_submit_one_id_at_once_follow_one_execution(stage: Stage) -> None:
    Worker.held = {2}
    drivers = [stage.driver() for _ in range(4)]
    handles = [driver.submit(JOB, Order(count=3), None, "one") for driver in drivers]
    await stage.ran(3)
    handles.append(stage.driver().submit(JOB, Order(count=3), None, "one"))
    with pytest.raises(ExecutionIdTaken, match="count is 3 there and 9 here"):
        await stage.driver().submit(JOB, Order(count=9), None, "one").result(WITHIN_S)
    assert Worker.gate is not None
    Worker.gate.set()
    for handle in handles:
        assert numbers(await handle.result(WITHIN_S)) == [0, 1, 2]
    assert sorted(Worker.runs) == [0, 1, 2]
    assert [event.kind for event in stage.events("one")].count(str(Kind.SUBMITTED)) == 1


async def test_drivers_with_other_requests_at_once_get_one_execution(stage: Stage) -> None:
    orders = [Order(count=count) for count in (3, 4, 5)]
    handles = [stage.driver().submit(JOB, order, None, "one") for order in orders]
    outcomes = await asyncio.gather(
        *(handle.result(WITHIN_S) for handle in handles), return_exceptions=True
    )
    done = [len(outcome) for outcome in outcomes if isinstance(outcome, list)]
    assert len(done) == 1
    assert sum(isinstance(outcome, ExecutionIdTaken) for outcome in outcomes) == 2
    assert sorted(Worker.runs) == list(range(done[0]))


async def test_a_submission_follows_what_a_killed_service_has_left(stage: Stage) -> None:
    Worker.held = {2}
    first = stage.driver().submit(JOB, Order(count=3), None, "one")
    await stage.ran(3)
    await stage.kill()
    again = stage.driver().submit(JOB, Order(count=3), None, "one")
    assert Worker.gate is not None
    Worker.gate.set()
    for handle in (first, again):
        assert numbers(await handle.result(WITHIN_S)) == [0, 1, 2]


async def test_what_is_over_for_long_is_read_from_the_journal(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_services, "ENDED_KEPT_S", 0.0)
    driver = stage.driver()
    first = await driver.submit(JOB, Order(count=3), None, "one").result(WITHIN_S)
    before = len(stage.events("one"))
    assert await (await driver.resume(JOB, "one")).result(WITHIN_S) == first
    assert await driver.submit(JOB, Order(count=3), None, "one").result(WITHIN_S) == first
    with pytest.raises(ExecutionIdTaken):
        await driver.submit(JOB, Order(count=3), {"who": "me"}, "one").result(WITHIN_S)
    assert len(stage.events("one")) == before
    assert sorted(Worker.runs) == [0, 1, 2]
    await until(lambda: not stage.ledger.entries)


# --- deaths --------------------------------------------------------------------------------------


async def test_a_killed_execution_service_goes_on_and_repeats_nothing_that_was_done(
    stage: Stage,
) -> None:
    Worker.held = {30, 31}
    handle = stage.driver().submit(JOB, Order(count=32), None, "one")
    reading = asyncio.ensure_future(read_all(handle))
    await stage.ran(32)
    await until(lambda: handle.state().metrics.done == 30)
    await stage.kill()
    await stage.ran(34)
    assert Worker.gate is not None
    Worker.gate.set()
    assert numbers(await handle.result(WITHIN_S)) == list(range(32))
    assert sorted(Worker.runs) == [*range(30), 30, 30, 31, 31]
    assert Worker.keys.count("one/s30") == 2
    updates = await reading
    steps = [update.to for update in updates if isinstance(update, StateChanged)]
    assert steps == [ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED]
    phases = [update.phase for update in updates if isinstance(update, PhaseChanged)]
    assert phases == list(ExecutionPhase)
    await until(lambda: not stage.ledger.entries)


async def test_the_next_execution_service_starts_accepted_executions(
    stage: Stage,
) -> None:
    """The service dies between the write to the ledger and the first one to the journal."""
    driver = stage.driver()
    await driver.submit(JOB, Order(count=1), None, "before").result(WITHIN_S)
    stage.is_away = True
    handle = driver.submit(JOB, Order(count=4), None, "one")
    await until(lambda: "one" in stage.ledger.entries)
    assert not stage.events("one")
    await stage.kill()
    stage.is_away = False
    assert numbers(await handle.result(WITHIN_S)) == list(range(4))


async def test_an_execution_service_that_stops_in_order_leaves_what_has_not_ended(
    stage: Stage,
) -> None:
    Worker.held = {0}
    handle = stage.driver().submit(JOB, Order(count=2), None, "one")
    await stage.ran(2)
    await stage.system.stop(stage.execution_service)
    assert "one" in stage.ledger.entries
    assert [event.kind for event in stage.events("one")].count(Kind.STEPPED) == 1
    assert Worker.gate is not None
    Worker.gate.set()
    await stage.start_one()
    assert numbers(await handle.result(WITHIN_S)) == [0, 1]


# --- the journal ---------------------------------------------------------------------------------


async def test_without_its_journal_nothing_is_taken(stage: Stage) -> None:
    stage.is_away = True
    with pytest.raises(StoreUnavailable, match="out of reach"):
        await stage.driver().submit(JOB, Order(), None, None).result(WITHIN_S)
    assert not stage.ledger.entries


async def test_a_journal_that_goes_away_is_waited_for(stage: Stage) -> None:
    Worker.held = {3}
    handle = stage.driver().submit(JOB, Order(count=4), None, "one")
    reading = asyncio.ensure_future(read_all(handle))
    await stage.ran(4)
    await until(lambda: handle.state().metrics.done == 3)
    stage.is_away = True
    assert Worker.gate is not None
    Worker.gate.set()
    await until(lambda: execution_of(handle).problem)
    with pytest.raises(DeadlineExceeded, match="waits for the journal") as caught:
        await handle.result(0.001)
    assert "out of reach" in caught.value.advice
    stage.is_away = False
    assert numbers(await handle.result(WITHIN_S)) == list(range(4))
    assert sorted(Worker.runs)[:3] == [0, 1, 2]
    # That it had to be begun again is nothing that a reader has to know.
    followed = await reading
    steps = [update.to for update in followed if isinstance(update, StateChanged)]
    assert steps == [ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED]
    phases = [update.phase for update in followed if isinstance(update, PhaseChanged)]
    assert phases == list(ExecutionPhase)
    await until(lambda: not stage.ledger.entries)


async def test_an_execution_service_whose_journal_another_has_taken_does_not_take_it_back(
    stage: Stage,
) -> None:
    Worker.held = {1}
    driver = stage.driver()
    handle = driver.submit(JOB, Order(count=2), None, "one")
    await stage.ran(2)
    stage.log.second_handle().take_over("another")
    assert Worker.gate is not None
    Worker.gate.set()
    with pytest.raises(WriterFenced):
        await handle.result(WITHIN_S)
    assert stage.incarnations == 1
    assert set(stage.ledger.entries) == {"one"}, "the next service needs it"
    # Until a driver resumes it.
    assert numbers(await (await driver.resume(JOB, "one")).result(WITHIN_S)) == [0, 1]
    assert stage.incarnations == 2


async def test_an_execution_service_that_a_newer_one_has_replaced_ends(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A person sees why; the ledger is the successor's."""
    Worker.held = {1}
    stage.driver().submit(JOB, Order(count=2), None, "one")
    await stage.ran(2)
    stage.log.second_handle().take_over("a newer service", 1 << 62)
    assert Worker.gate is not None
    ended = stage.system.watch(stage.execution_service)
    Worker.gate.set()
    async with asyncio.timeout(WITHIN_S):
        down = await ended
    assert down.kind is ExitReason.NORMAL
    assert set(stage.ledger.entries) == {"one"}
    assert len(stage.events("one")) == len(stage.log.second_handle().read_stream("execution/one"))
    (line,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith(f"the execution service of {stage.name} ends: a newer one writes its")
    assert "a newer service" in line


# --- steering ------------------------------------------------------------------------------------


async def test_a_cancel_right_after_the_submission_is_not_lost(stage: Stage) -> None:
    Worker.held = {0}
    handle = stage.driver().submit(JOB, Order(), None, "one")
    assert handle.cancel()
    with pytest.raises(Cancelled):
        await handle.result(WITHIN_S)
    assert not handle.cancel()
    assert stage.events("one")[-1].kind == Kind.STEPPED


async def test_one_sub_task_is_cancelled(stage: Stage) -> None:
    Worker.held = {0}
    handle = stage.driver().submit(JOB, Order(count=3), None, "one")
    await stage.ran(3)
    assert await handle.cancel_task("s0")
    assert numbers(await handle.result(WITHIN_S)) == [1, 2]
    with pytest.raises(UsageError):
        await handle.cancel_task("s0")


async def test_a_step_in_doubt_waits_over_deaths_until_somebody_decides(stage: Stage) -> None:
    Worker.fails = {0}
    job = Job[Order, list[Done]](
        name="unsafe", decompose=lambda _: [SubTask("s0", Step(n=0), non_idempotent=True)]
    )
    first = stage.driver()
    handle = first.submit(job, Order(), None, "one")
    await until_in_doubt(handle)
    await first.leave()
    await stage.kill()
    handle = await stage.driver().resume(job, "one")
    await until_in_doubt(handle)
    with pytest.raises(UsageError, match="no sub-task 's9'"):
        await handle.decide("s9", Decision.RUN_AGAIN)
    assert not await handle.decide("s0", Decision.ASK)
    assert Worker.runs == [0]
    assert await handle.decide("s0", Decision.RUN_AGAIN, by="a person")
    assert numbers(await handle.result(WITHIN_S)) == [0]
    assert Worker.keys == ["one/s0"] * 2


async def until_in_doubt(handle: ExecutionHandle[Any]) -> None:
    async with asyncio.timeout(WITHIN_S):
        async for _ in handle.updates():
            figures = handle.statistics().scheduler
            if figures is not None and figures.progress.in_doubt:
                return
