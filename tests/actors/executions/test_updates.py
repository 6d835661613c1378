"""The updates of a running execution for its caller, and its state and figures."""

import asyncio
import itertools
from typing import Any

from callboard.actors.aggregator.reducers import Collect, MergeDicts
from callboard.actors.executions.handle import execution_of
from callboard.actors.executions.update_stream import INTERVAL_S, Mark
from callboard.messages.jobs.execution import ExecutionStatus
from callboard.messages.jobs.job import Job
from callboard.messages.jobs.plan import SubTask
from callboard.messages.jobs.retry import RetryPolicy
from callboard.messages.jobs.updates import (
    TROUBLES_MAX,
    ExecutionPhase,
    ExecutionUpdate,
    Finished,
    PartialResult,
    PhaseChanged,
    Progressed,
    StateChanged,
    TaskTroubled,
)
from tests.actors.executions.execution_fixture import Linger, Square, Stumble, World, squares, turns


def plan_of(*sub_tasks: SubTask, **parts: Any) -> Job[Square, Any]:
    return Job(decompose=lambda _: sub_tasks, **parts)


async def read_all(handle: Any, pause_s: float = 0.0) -> list[ExecutionUpdate]:
    updates = []
    async for update in handle.updates():
        updates.append(update)
        await asyncio.sleep(pause_s)
    return updates


async def test_phases_come_in_the_order_of_the_way_and_finished_is_the_last(world: World) -> None:
    updates = await read_all(world.submit(plan_of(*squares(100))))
    phases = [update.phase for update in updates if isinstance(update, PhaseChanged)]
    assert phases == list(ExecutionPhase)
    steps = [update.to for update in updates if isinstance(update, StateChanged)]
    assert steps == [ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED]
    end = updates[-1]
    assert isinstance(end, Finished)
    assert len(end.result) == 100
    assert sum(isinstance(update, Finished) for update in updates) == 1


async def test_the_last_progress_says_that_all_is_done(world: World) -> None:
    updates = await read_all(world.submit(plan_of(*squares(100))))
    progress = [update for update in updates if isinstance(update, Progressed)]
    assert (progress[-1].done, progress[-1].total, progress[-1].fraction) == (100, 100, 1.0)


async def test_a_failure_is_reported_with_its_error(world: World) -> None:
    bad = SubTask("bad", Stumble(label="bad", error="TypeError"))
    end = (await read_all(world.submit(plan_of(bad))))[-1]
    assert isinstance(end, Finished)
    assert (end.status, end.result) == (ExecutionStatus.FAILED, None)
    assert end.error is not None
    assert end.error["details"]["failed_task"] == "bad"


async def test_partial_results_come_before_the_end_without_any_barrier(world: World) -> None:
    """One sub-task never ends; the results of the others are there all the same."""
    handle = world.submit(plan_of(*squares(10), SubTask("last", Linger(label="last"))))
    async for update in handle.updates():
        if isinstance(update, PartialResult) and update.results == 10:
            assert [each.number for each in update.value] == list(range(10))
            break
    assert handle.state().status is ExecutionStatus.RUNNING
    assert handle.state().intermediate_results == 10
    world.ticks.release.set()
    assert len(await handle.result(5)) == 11


async def test_partial_results_of_a_reducer_that_minds_the_order_are_in_it(world: World) -> None:
    class InOrder(Collect[Any]):
        commutative = False

    handle = world.submit(
        plan_of(*squares(5), SubTask("last", Linger(label="l")), reducer=InOrder())
    )
    async for update in handle.updates():
        if isinstance(update, PartialResult) and update.results == 5:
            assert [each.number for each in update.value] == list(range(5))
            break
    world.ticks.release.set()
    assert len(await handle.result(5)) == 6


async def test_partial_results_can_be_turned_off(world: World) -> None:
    handle = world.submit(plan_of(*squares(50), partial_every=0))
    assert not [u for u in await read_all(handle) if isinstance(u, PartialResult)]


async def test_what_cannot_be_reduced_yet_is_no_partial_result_and_no_failure(
    world: World,
) -> None:
    job = plan_of(
        *squares(3),
        collect=lambda task, result: {"same": result.number},
        reducer=MergeDicts("last"),
        check=(),
    )
    assert await world.submit(job).result(5) == {"same": 2}


async def test_a_slow_reader_misses_progress_and_nothing_else(world: World) -> None:
    handle = world.submit(plan_of(*squares(4_000)))
    slow = asyncio.ensure_future(read_all(handle, pause_s=0.02))
    await handle.result(10)
    updates = await slow
    assert [u.phase for u in updates if isinstance(u, PhaseChanged)] == list(ExecutionPhase)
    assert len([u for u in updates if isinstance(u, StateChanged)]) == 2
    assert isinstance(updates[-1], Finished)
    assert len([u for u in updates if isinstance(u, Progressed)]) < 50


async def test_a_reader_that_comes_late_hears_it_from_the_beginning(world: World) -> None:
    handle = world.submit(plan_of(*squares(10)))
    await handle.result(5)
    updates = await read_all(handle)
    assert [u.phase for u in updates if isinstance(u, PhaseChanged)] == list(ExecutionPhase)
    assert isinstance(updates[-1], Finished)


async def test_progress_is_reported_at_most_every_50_ms(world: World) -> None:
    often = RetryPolicy(attempts_max=1_000, backoff_min_s=0.002, factor=1.0)
    handle = world.submit(
        plan_of(SubTask("again", Stumble(label="again", times=1_000), retry=often))
    )
    given: list[Progressed] = []
    async for update in handle.updates():
        if isinstance(update, Progressed):
            given.append(update)
        if len(given) == 4:
            break
    handle.cancel()
    assert given[-1].retries > 4, "there were more changes than updates"
    gaps = [later.elapsed_s - earlier.elapsed_s for earlier, later in itertools.pairwise(given)]
    assert all(gap >= 0.045 for gap in gaps)


async def test_troubles_are_reported_up_to_a_limit_and_counted_beyond(world: World) -> None:
    once = RetryPolicy(attempts_max=1)
    count = TROUBLES_MAX + 50
    tasks = [
        SubTask(f"b{n}", Stumble(label=f"b{n}", error="ValueError"), optional=True, retry=once)
        for n in range(count)
    ]
    updates = await read_all(world.submit(plan_of(*tasks)))
    assert len([u for u in updates if isinstance(u, TaskTroubled)]) == TROUBLES_MAX
    assert [u for u in updates if isinstance(u, Progressed)][-1].failed == count


async def test_the_record_says_what_is_open_and_why_it_waits(world: World) -> None:
    job = plan_of(
        *squares(2),
        SubTask("a", Linger(label="a"), needs=("s0",)),
        SubTask("b", Square(number=5), needs=("a", "s1")),
    )
    handle = world.submit(job, tenant="blue")
    await world.ticks.lingering.wait()
    await turns()
    state = handle.state()
    assert state.execution_id == handle.id
    assert state.context == {"tenant": "blue"}
    assert state.current_phase is ExecutionPhase.RUNNING
    assert [(d.task_id, d.needs) for d in state.dependencies] == [
        ("a", ("s0",)),
        ("b", ("a", "s1")),
    ]
    assert state.metrics.done == 2
    world.ticks.release.set()
    await handle.result(5)
    ended = handle.state()
    assert ended.end_time is not None
    assert ended.end_time >= ended.start_time
    assert ended.dependencies == ()
    assert [step.to for step in ended.transitions] == [
        ExecutionStatus.RUNNING,
        ExecutionStatus.COMPLETED,
    ]


async def test_updates_can_travel_as_messages(world: World) -> None:
    handle = world.submit(plan_of(*squares(3)))
    codec, contracts = world.driver.codec, world.driver.contracts
    for update in [*await read_all(handle), handle.state()]:
        body, buffers = codec.encode(update)
        build = contracts.learn(type(update)).build
        assert codec.decode(body, build, buffers) == update


async def test_updates_since_a_mark_are_given_once(world: World) -> None:
    handle = world.submit(plan_of(*squares(50)))
    stream = execution_of(handle).record.stream  # type: ignore[attr-defined] # one that runs here
    mark, given = Mark(), list[ExecutionUpdate]()
    while not given or not isinstance(given[-1], Finished):
        updates, mark = await stream.since(mark, 5.0, partials=False)
        given += updates
    assert [u.phase for u in given if isinstance(u, PhaseChanged)] == list(ExecutionPhase)
    assert not any(isinstance(u, PartialResult) for u in given)
    assert [u for u in given if isinstance(u, Progressed)][-1].done == 50
    updates, again = await stream.since(mark, 5.0, partials=True)
    assert ([type(update) for update in updates], again) == ([Finished], mark)


async def test_the_end_of_the_wait_gives_no_updates_and_hurries_no_progress(
    world: World,
) -> None:
    handle = world.submit(plan_of(SubTask("a", Linger(label="a")), *squares(3)))
    stream = execution_of(handle).record.stream  # type: ignore[attr-defined] # one that runs here
    mark = Mark()
    while handle.state().metrics.done < 3:
        _, mark = await stream.since(mark, 5.0, partials=True)
    _, mark = await stream.since(mark, 0.1, partials=True)
    assert await stream.since(mark, 0.0, partials=True) == ([], mark)
    began_s = asyncio.get_running_loop().time()
    waiting = asyncio.ensure_future(stream.since(mark, 5.0, partials=True))
    await asyncio.sleep(0)
    stream.moved(3, 0)
    updates, _ = await waiting
    assert [type(update) for update in updates] == [Progressed]
    assert asyncio.get_running_loop().time() - began_s >= INTERVAL_S * 0.9
    handle.cancel()
