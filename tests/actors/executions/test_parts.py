"""The parts of a job: each is called in its phase, may be replaced, and may refuse."""

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest

from callboard.actors.aggregator.reducers import Count
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    ExecutionFailed,
    OutputError,
    PlanError,
    RequestRejected,
    ResultRejected,
    SpecError,
)
from callboard.messages.jobs.execution import ExecutionStatus
from callboard.messages.jobs.job import LEFT_OUT, Job, JobContext, Route
from callboard.messages.jobs.plan import Plan, SubTask
from callboard.messages.jobs.updates import ExecutionPhase
from tests.actors.executions.execution_fixture import Square, Squared, SumUp, World, squares

ValueT = TypeVar("ValueT")


class Total(Count):
    """The sum of the squares."""

    def add(self, accumulator: int, value: Any, key: int) -> int:
        return accumulator + int(value.square)


async def test_a_job_without_parts_runs_the_request_and_lists_its_reply(world: World) -> None:
    handle = world.submit(Job(), Square(number=7))
    assert await handle.result(5) == [Squared(number=7, square=49)]
    assert handle.state().status is ExecutionStatus.COMPLETED


async def test_results_are_listed_in_the_order_of_the_plan(world: World) -> None:
    await world.add_pool(2, 1)
    result = await world.submit(Job(decompose=lambda _: squares(50))).result(5)
    assert [each.number for each in result] == list(range(50))


async def test_every_part_is_called_in_its_order_with_what_the_one_before_gave(
    world: World,
) -> None:
    called: list[str] = []

    def note(name: str, value: ValueT) -> ValueT:
        called.append(name)
        return value

    def enrich(request: Square, context: JobContext) -> Square:
        assert context.attributes == {"more": 2}
        assert context.offers("test.square")
        return note("enrich", Square(number=request.number + context.attributes["more"]))

    job: Job[Square, str] = Job(
        validate=(lambda request: note("validate", None),),
        enrich=enrich,
        route=lambda request: note("route", Route(plan_maker="many")),
        plan_makers={"many": lambda request: note("decompose", squares(request.number))},
        collect=lambda sub_task, result: note("collect", result) if result.number else LEFT_OUT,
        reducer=Total(),
        resolve=lambda merged: note("resolve", merged + 100),
        check=(lambda merged: note("check", None),),
        transform=lambda merged: note("transform", f"the sum is {merged}"),
        format=lambda result: note("format", result.encode()),
        deliver=lambda output: called.extend((output.decode(), "deliver")),
    )
    assert await world.submit(job, Square(number=1), more=2).result(5) == "the sum is 105"
    assert called == [
        "validate", "enrich", "route", "decompose", "collect", "collect",
        "resolve", "check", "transform", "format", "the sum is 105", "deliver",
    ]  # fmt: skip


async def test_all_problems_of_a_request_are_reported_together_and_nothing_runs(
    world: World,
) -> None:
    def no(text: str) -> Any:
        def refuse(request: Square) -> None:
            raise RequestRejected(f"{text} is wrong.")

        return refuse

    def value_error(request: Square) -> None:
        raise ValueError("the number is odd")

    handle = world.submit(Job(validate=(no("this"), value_error, no("that"))))
    with pytest.raises(RequestRejected, match=r"this is wrong.*number is odd.*that is wrong"):
        await handle.result(5)
    assert handle.state().transitions[-1].from_status is ExecutionStatus.PENDING
    assert world.ticks.handled == []


async def test_a_refused_result_fails_the_execution_after_it_ran(world: World) -> None:
    def empty(merged: object) -> None:
        raise ResultRejected("nothing was found.")

    with pytest.raises(ResultRejected, match=r"nothing was found"):
        await world.submit(Job(check=(empty,))).result(5)
    assert world.ticks.handled == [0]


@pytest.mark.parametrize(
    ("part", "phase", "error"),
    [
        ("enrich", ExecutionPhase.ENRICHING, ExecutionFailed),
        ("route", ExecutionPhase.ROUTING, ExecutionFailed),
        ("decompose", ExecutionPhase.DECOMPOSING, ExecutionFailed),
        ("collect", ExecutionPhase.RUNNING, ExecutionFailed),
        ("expand", ExecutionPhase.RUNNING, ExecutionFailed),
        ("resolve", ExecutionPhase.RESOLVING, ExecutionFailed),
        ("transform", ExecutionPhase.TRANSFORMING, ExecutionFailed),
        ("format", ExecutionPhase.FORMATTING, ExecutionFailed),
        ("deliver", ExecutionPhase.DELIVERING, OutputError),
    ],
)
async def test_a_part_that_breaks_is_named_with_its_phase(
    world: World, part: str, phase: ExecutionPhase, error: type[Exception]
) -> None:
    def broken(*given: Any) -> Any:
        raise KeyError("nobody expected this")

    job: Job[Square, Any] = dataclasses.replace(Job(), **{part: broken})  # type: ignore[arg-type]
    with pytest.raises(error, match=rf"failed while {phase}: KeyError") as caught:
        await world.submit(job).result(5)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("part", ["enrich", "decompose", "collect", "expand", "deliver"])
@pytest.mark.parametrize(
    "error", [asyncio.CancelledError, SystemExit, GeneratorExit, StopIteration, KeyboardInterrupt]
)
async def test_a_part_fails_whatever_it_raises(
    world: World, part: str, error: type[BaseException]
) -> None:
    def broken(*given: Any) -> Any:
        raise error

    job: Job[Square, Any] = dataclasses.replace(Job(), **{part: broken})  # type: ignore[arg-type]
    handle = world.submit(job)
    with pytest.raises((ExecutionFailed, OutputError), match="failed while"):
        await handle.result(5)
    assert handle.state().status is ExecutionStatus.FAILED


async def test_a_refusal_in_a_group_is_the_refusal(world: World) -> None:
    def empty(merged: object) -> None:
        raise ExceptionGroup("checks", [ResultRejected("nothing was found.")])

    with pytest.raises(ResultRejected, match="nothing was found"):
        await world.submit(Job(check=(empty,))).result(5)


async def test_a_reducer_that_breaks_ends_the_execution_and_stops_the_rest(world: World) -> None:
    class Broken(Count):
        def add(self, accumulator: int, value: Any, key: int) -> int:
            raise ResultRejected("it does not add up.")

    with pytest.raises(ResultRejected, match="add up"):
        await world.submit(Job(decompose=lambda _: squares(500), reducer=Broken())).result(5)


async def test_a_delivery_that_cannot_write_is_an_output_error(world: World) -> None:
    def full(output: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        await world.submit(Job(deliver=full)).result(5)


async def test_a_plan_that_cannot_run_is_refused_whole(world: World) -> None:
    def circle(request: Contract) -> tuple[SubTask, ...]:
        return (
            SubTask("a", Square(number=1), needs=("b",)),
            SubTask("b", Square(number=2), needs=("a",)),
            SubTask("c", Square(number=3)),
        )

    with pytest.raises(PlanError, match="cycle"):
        await world.submit(Job(decompose=circle)).result(5)
    assert world.ticks.handled == []


async def test_a_sub_task_without_a_contract_is_refused(world: World) -> None:
    with pytest.raises(PlanError, match="'a' has a int"):
        await world.submit(Job(decompose=lambda _: (SubTask("a", 5),))).result(5)


async def test_an_unknown_plan_maker_is_named(world: World) -> None:
    job: Job[Square, Any] = Job(
        route=lambda _: Route(plan_maker="other"), plan_makers={"many": lambda _: squares(1)}
    )
    with pytest.raises(SpecError, match=r"'other'.*many"):
        await world.submit(job).result(5)


async def test_a_route_sends_a_contract_to_one_pool(world: World) -> None:
    special = await world.add_pool(2, 1, name="special")
    job: Job[Square, Any] = Job(
        route=lambda _: Route(agents={"test.square": "special"}), decompose=lambda _: squares(20)
    )
    handle = world.submit(job)
    await handle.result(5)
    assert [executor.executor for executor in handle.statistics().executors] == [str(special)]


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_generator_may_be_the_plan_maker(world: World, in_thread: bool) -> None:
    def make(request: Contract) -> Iterator[SubTask]:
        yield from squares(3_000)

    threads = {ExecutionPhase.DECOMPOSING} if in_thread else set()
    job: Job[Square, int] = Job(decompose=make, reducer=Total(), threads=frozenset(threads))
    assert await world.submit(job).result(10) == sum(n * n for n in range(3_000))


async def test_an_empty_plan_is_complete_at_once(world: World) -> None:
    assert await world.submit(Job(decompose=lambda _: Plan(()))).result(5) == []


async def test_results_are_bound_into_the_requests_that_need_them(world: World) -> None:
    def tree(request: Contract) -> tuple[SubTask, ...]:
        leaves = squares(4)
        ids = tuple(leaf.id for leaf in leaves)
        return (*leaves, SubTask("sum", SumUp(), needs=ids, bind={"squares": ids}))

    job: Job[Square, int] = Job(decompose=tree, transform=lambda merged: merged[-1].total)
    assert await world.submit(job).result(5) == 0 + 1 + 4 + 9


async def test_a_bound_result_of_the_wrong_kind_fails_its_sub_task(world: World) -> None:
    def wrong(request: Contract) -> tuple[SubTask, ...]:
        return (
            SubTask("a", Square(number=1)),
            SubTask("b", Square(number=1), needs=("a",), bind={"number": "a"}),
        )

    with pytest.raises(ExecutionFailed, match=r"'b'.*number"):
        await world.submit(Job(decompose=wrong)).result(5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency_max": 0},
        {"concurrency_max_by_kind": {"test.square": 0}},
        {"timeout_s": 0},
        {"partial_every": -1},
        {"threads": frozenset({ExecutionPhase.RUNNING})},
    ],
)
def test_a_job_with_a_wrong_option_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        Job(**wrong)
