"""Running a plan on real hosts: growth, retries, time, cancellation, loss, limits, volume."""

import asyncio
from typing import Any

import pytest

from callboard.actors.aggregator.reducers import Count
from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.kernel.flow_key import WHOLE_CELL
from callboard.actors.scheduler.statistics import SchedulerStatistics
from callboard.messages.core.errors import Cancelled, DeadlineExceeded, ExecutionFailed, UsageError
from callboard.messages.jobs.execution import ExecutionStatus, OnFailure
from callboard.messages.jobs.job import Job
from callboard.messages.jobs.plan import SubTask
from callboard.messages.jobs.retry import RetryPolicy
from callboard.messages.jobs.updates import PartialResult, Progressed, TaskTroubled
from tests.actors.executions.execution_fixture import (
    Linger,
    Nobody,
    Square,
    Stumble,
    SumUp,
    World,
    squares,
    turns,
)

AT_ONCE = RetryPolicy(attempts_max=3, backoff_min_s=0.0, backoff_max_s=0.0)


def plan_of(*sub_tasks: SubTask, **parts: Any) -> Job[Square, Any]:
    return Job(decompose=lambda _: sub_tasks, **parts)


def lingering(*labels: str, **fields: Any) -> tuple[SubTask, ...]:
    return tuple(SubTask(label, Linger(label=label), **fields) for label in labels)


async def results_of(handle: ExecutionHandle[Any], count: int) -> None:
    """Wait until so many results are there."""
    async for update in handle.updates():
        if isinstance(update, PartialResult) and update.results >= count:
            return


def scheduler_of(handle: ExecutionHandle[Any]) -> SchedulerStatistics:
    figures = handle.statistics().scheduler
    assert figures is not None
    return figures


async def failure_of(handle: Any) -> dict[str, Any]:
    with pytest.raises(ExecutionFailed) as caught:
        await handle.result(5)
    return caught.value.details


# --- growth ------------------------------------------------------------------------------


async def test_a_plan_grows_by_what_its_results_show(world: World) -> None:
    def more(sub_task: SubTask, result: Any) -> tuple[SubTask, ...]:
        if result.number >= 4:
            return ()
        number = result.number + 1
        return tuple(SubTask(f"{sub_task.id}.{n}", Square(number=number)) for n in range(2))

    handle = world.submit(plan_of(SubTask("t", Square(number=1)), expand=more))
    assert len(await handle.result(5)) == 1 + 2 + 4 + 8
    assert scheduler_of(handle).progress.done == 15


async def test_grown_results_stand_behind_what_they_grew_out_of(world: World) -> None:
    """The order is that of the tree, whichever sub-task finishes first."""
    await world.add_pool(2, 3)

    def more(sub_task: SubTask, result: Any) -> tuple[SubTask, ...]:
        if result.number >= 100:
            return ()
        base = result.number * 100
        return tuple(SubTask(f"{sub_task.id}.{n}", Square(number=base + n)) for n in (1, 2))

    roots = [SubTask(f"r{n}", Square(number=n)) for n in (3, 1, 2)]
    result = await world.submit(plan_of(*roots, expand=more)).result(5)
    assert [each.number for each in result] == [3, 301, 302, 1, 101, 102, 2, 201, 202]


async def test_growth_that_is_no_plan_fails_the_execution(world: World) -> None:
    job = plan_of(*squares(1), expand=lambda task, _: (SubTask(task.id, Square(number=1)),))
    with pytest.raises(Exception, match="in the plan already"):
        await world.submit(job).result(5)


# --- retries and time ---------------------------------------------------------------------


async def test_a_failing_sub_task_is_tried_again_until_it_works(world: World) -> None:
    handle = world.submit(plan_of(SubTask("s", Stumble(label="s", times=2), retry=AT_ONCE)))
    assert (await handle.result(5))[0].number == 3
    assert scheduler_of(handle).retries == 2


async def test_a_back_off_is_waited_for(world: World) -> None:
    slow = RetryPolicy(backoff_min_s=0.1, jitter=0.0)
    handle = world.submit(plan_of(SubTask("s", Stumble(label="s")), task_retry=slow))
    await handle.result(5)
    assert handle.statistics().elapsed_s >= 0.09


async def test_attempts_come_to_an_end_and_the_failure_says_which_sub_task(world: World) -> None:
    handle = world.submit(plan_of(SubTask("s", Stumble(label="s", times=9), retry=AT_ONCE)))
    details = await failure_of(handle)
    assert details["failed_task"] == "s"
    assert details["cause"]["code"] == "handler_failed"
    assert world.ticks.begun["s"] == 3


async def test_a_programming_error_is_not_tried_again(world: World) -> None:
    task = SubTask("s", Stumble(label="s", error="TypeError"), retry=AT_ONCE)
    await failure_of(world.submit(plan_of(task)))
    assert world.ticks.begun["s"] == 1


async def test_an_attempt_that_takes_too_long_is_stopped_at_its_handler(world: World) -> None:
    once = RetryPolicy(attempts_max=1)
    job = plan_of(*lingering("slow", timeout_s=0.05, retry=once))
    assert (await failure_of(world.submit(job)))["cause"]["code"] == "deadline_exceeded"
    await turns()
    assert world.ticks.stopped == ["slow"]


async def test_an_execution_that_takes_too_long_is_stopped_whole(world: World) -> None:
    handle = world.submit(plan_of(*lingering("a", "b"), timeout_s=0.05))
    with pytest.raises(DeadlineExceeded, match=r"took over 0\.05 s"):
        await handle.result(5)
    await turns()
    # On a busy machine the time may be over before one of them has begun.
    assert sorted(world.ticks.stopped) == sorted(world.ticks.begun)
    assert not world.driver.pending
    assert handle.state().status is ExecutionStatus.FAILED


# --- cancellation -------------------------------------------------------------------------


@pytest.mark.parametrize("slot", [0, 1])
async def test_cancelling_reaches_the_running_handler(empty_world: World, slot: int) -> None:
    await empty_world.add_pool(slot, 2)
    handle = empty_world.submit(plan_of(*lingering("a")))
    await empty_world.ticks.lingering.wait()
    assert handle.cancel()
    with pytest.raises(Cancelled):
        await handle.result(5)
    await turns()
    assert empty_world.ticks.stopped == ["a"]
    assert handle.state().status is ExecutionStatus.CANCELLED
    assert not handle.cancel()
    assert not empty_world.driver.pending


async def test_cancelling_before_anything_ran(world: World) -> None:
    handle = world.submit(plan_of(*squares(3)))
    assert handle.cancel()
    with pytest.raises(Cancelled):
        await handle.result(5)
    await turns()
    assert world.ticks.handled == []


async def test_cancelling_one_sub_task_lets_the_others_finish(world: World) -> None:
    job = plan_of(
        *lingering("a"),
        *squares(3),
        SubTask("needs a", Square(number=9), needs=("a",)),
    )
    handle = world.submit(job)
    await world.ticks.lingering.wait()
    assert await handle.cancel_task("a")
    assert len(await handle.result(5)) == 3
    assert world.ticks.stopped == ["a"]
    with pytest.raises(UsageError):
        await handle.cancel_task("a")


async def test_the_agent_of_a_cancelled_sub_task_serves_the_next(empty_world: World) -> None:
    await empty_world.add_pool(1, 1)
    handle = empty_world.submit(plan_of(*lingering("a"), *squares(3)))
    await empty_world.ticks.lingering.wait()
    await handle.cancel_task("a")
    assert len(await handle.result(5)) == 3


async def test_giving_up_on_a_result_leaves_the_execution_alone(world: World) -> None:
    handle = world.submit(plan_of(*lingering("a")))
    with pytest.raises(DeadlineExceeded):
        await handle.result(0.01)
    world.ticks.release.set()
    assert len(await handle.result(5)) == 1


# --- failure ------------------------------------------------------------------------------


def failing() -> SubTask:
    return SubTask("bad", Stumble(label="bad", error="TypeError"))


async def test_fail_fast_stops_what_runs(world: World) -> None:
    handle = world.submit(plan_of(*lingering("a"), failing()))
    assert (await failure_of(handle))["failed_task"] == "bad"
    await turns()
    assert world.ticks.stopped == ["a"]


async def test_finish_rest_lets_the_others_end_and_then_fails(world: World) -> None:
    job = plan_of(
        failing(),
        *squares(20),
        SubTask("needs bad", Square(number=99), needs=("bad",)),
        on_failure=OnFailure.FINISH_REST,
    )
    handle = world.submit(job)
    await failure_of(handle)
    progress = scheduler_of(handle).progress
    assert (progress.done, progress.failed, progress.skipped) == (20, 1, 1)
    assert 99 not in world.ticks.handled


async def test_an_optional_failure_is_bound_as_nothing(world: World) -> None:
    job = plan_of(
        SubTask("bad", Stumble(label="bad", error="TypeError"), optional=True),
        *squares(3),
        SubTask(
            "sum",
            SumUp(),
            needs=("bad", "s1", "s2"),
            bind={"squares": ("bad", "s1", "s2")},
        ),
        transform=lambda merged: merged[-1].total,
    )
    assert await world.submit(job).result(5) == 5


async def test_a_cancellation_that_nobody_asked_for_is_a_failure_of_a_sub_task(
    world: World,
) -> None:
    job = plan_of(
        SubTask("odd", Stumble(label="odd", error="CancelledError", times=1), retry=AT_ONCE),
        SubTask("bad", Stumble(label="bad", error="CancelledError", times=99), retry=AT_ONCE),
    )
    details = await failure_of(world.submit(job))
    assert details["cause"]["code"] == "handler_failed"
    assert "CancelledError" in details["cause"]["details"]["remote_type"]
    assert world.ticks.begun == {"odd": 2, "bad": 3}, "it is retried like any other"


async def test_a_kind_without_offers_fails_after_the_grace_and_lists_the_offers(
    world: World,
) -> None:
    job = plan_of(SubTask("n", Nobody()), *squares(2), unserved_grace_s=0.05)
    details = await failure_of(world.submit(job))
    assert details["cause"]["code"] == "no_agent_offers"
    assert "test.square" in details["cause"]["message"]


async def test_agents_that_come_within_the_grace_are_used(empty_world: World) -> None:
    handle = empty_world.submit(plan_of(*squares(5)))
    await turns()
    await empty_world.add_pool(1, 2)
    assert len(await handle.result(5)) == 5


# --- hosts that are lost ------------------------------------------------------------------


async def test_the_work_of_a_lost_host_is_done_by_another(world: World) -> None:
    handle = world.submit(plan_of(*lingering("a", "b", "c"), *squares(10)))
    await world.ticks.lingering.wait()
    await world.add_pool(2, 4)
    world.kill(1)
    world.ticks.release.set()
    assert len(await handle.result(5)) == 13
    figures = handle.statistics()
    assert scheduler_of(handle).host_losses >= 3
    assert "1/100" not in [executor.executor for executor in figures.executors]


async def test_a_lost_host_that_comes_back_goes_on(world: World) -> None:
    handle = world.submit(plan_of(*lingering("a", "b")))
    await world.ticks.lingering.wait()
    world.kill(1)
    await turns()
    world.ticks.release.set()
    await world.revive(1, 4)
    assert len(await handle.result(5)) == 2
    assert scheduler_of(handle).host_losses == 2
    assert world.ticks.begun == {"a": 2, "b": 2}


async def test_losing_hosts_in_the_middle_of_much_work_loses_and_repeats_no_result(
    world: World,
) -> None:
    await world.add_pool(2, 4)
    handle = world.submit(plan_of(*squares(5_000)))
    await results_of(handle, 500)
    world.kill(2)
    await asyncio.sleep(0)
    await world.revive(2, 4)
    assert [each.number for each in await handle.result(10)] == list(range(5_000))


async def test_what_still_waited_for_the_way_to_a_lost_host_runs_once_elsewhere(
    world: World,
) -> None:
    soon = RetryPolicy(backoff_min_s=0.02, jitter=0.0)
    again = SubTask("again", Stumble(label="again"), retry=soon)
    handle = world.submit(plan_of(again, *lingering("a")))
    async for update in handle.updates():
        if isinstance(update, TaskTroubled):
            break
    world.driver.link(1).outbox.pause(100, WHOLE_CELL)
    async for update in handle.updates():
        if isinstance(update, Progressed) and update.running == 2:
            break
    assert world.ticks.begun == {"again": 1, "a": 1}
    await world.add_pool(2, 4)
    world.kill(1)
    world.ticks.release.set()
    assert len(await handle.result(5)) == 2
    await world.revive(1, 4)
    await turns()
    assert world.ticks.begun == {"again": 2, "a": 2}


# --- order, limits, volume ----------------------------------------------------------------


async def test_with_one_at_a_time_the_more_urgent_goes_first(world: World) -> None:
    tasks = [SubTask(f"p{n}", Square(number=n), priority=n % 7) for n in range(21)]
    await world.submit(plan_of(*tasks, concurrency_max=1)).result(5)
    urgency = [number % 7 for number in world.ticks.handled]
    assert urgency == sorted(urgency, reverse=True)


@pytest.mark.parametrize(
    "limits", [{"concurrency_max": 1}, {"concurrency_max_by_kind": {"test.square": 1}}]
)
async def test_a_limit_of_one_loses_nothing(world: World, limits: dict[str, Any]) -> None:
    handle = world.submit(plan_of(*squares(200), **limits))
    assert len(await handle.result(10)) == 200
    assert sorted(world.ticks.handled) == list(range(200))


async def test_slow_work_is_not_queued_at_a_busy_executor(world: World) -> None:
    """What waits at one executor could not be given to another that comes later."""
    handle = world.submit(plan_of(*lingering(*(f"l{n}" for n in range(12)))))
    await world.ticks.lingering.wait()
    await turns()
    assert [executor.under_way for executor in handle.statistics().executors] == [4]
    await world.add_pool(2, 4)
    async for update in handle.updates():
        if isinstance(update, Progressed) and update.running >= 8:
            break
    assert [executor.under_way for executor in handle.statistics().executors] == [4, 4]
    world.ticks.release.set()
    assert len(await handle.result(5)) == 12


@pytest.mark.parametrize("slots", [(0,), (1,), (0, 1, 2)])
async def test_twenty_thousand_sub_tasks_are_all_done_once(
    empty_world: World, slots: tuple[int, ...]
) -> None:
    for slot in slots:
        await empty_world.add_pool(slot, 4)

    class Total(Count):
        def add(self, accumulator: int, value: Any, key: int) -> int:
            return accumulator + int(value.square)

    tasks = squares(20_000)
    handle = empty_world.submit(plan_of(*tasks, reducer=Total()))
    assert await handle.result(60) == sum(n * n for n in range(20_000))
    assert sorted(empty_world.ticks.handled) == list(range(20_000))
    figures = handle.statistics()
    assert scheduler_of(handle).attempts_started == 20_000
    assert sum(executor.delivered for executor in figures.executors) == 20_000
    assert all(executor.credit > 4 for executor in figures.executors)
    assert not empty_world.driver.pending


async def test_two_executions_share_a_pool(world: World) -> None:
    first, second = world.submit(plan_of(*squares(2_000))), world.submit(plan_of(*squares(2_000)))
    assert len(await first.result(10)) == len(await second.result(10)) == 2_000
    assert first.id != second.id


async def test_a_host_that_closes_leaves_no_caller_waiting(world: World) -> None:
    handle = world.submit(plan_of(*lingering("a")))
    await world.ticks.lingering.wait()
    await world.driver.close()
    with pytest.raises(Exception, match=r"cancelled|stopped"):
        await handle.result(5)
