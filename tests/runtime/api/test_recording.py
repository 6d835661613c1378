"""Recording in a whole system: actors, drivers and Callboard itself, on two hosts."""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

import callboard
from callboard import Agent, Context, Contract, Request, System, handler
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.inspection.meter import Histogram
from callboard.actors.metrics.points import AppendPoints, PointsAccepted
from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.recording.extension import FlushRecording, Recorder
from callboard.actors.metrics.recording.options import RecordingOptions
from callboard.jobs import Job, SubTask
from callboard.messages.control.control_plane import CONTROL_CELL, StopHost
from callboard.messages.core.ref import Address
from callboard.runtime.api.inside import host_of
from tests.actors.metrics.recording.shards import MemoryShard

SHARDS: defaultdict[int, MemoryShard] = defaultdict(MemoryShard)


class Aggregator(Agent):
    """Takes points, as the aggregators do."""

    @handler
    async def append(self, request: AppendPoints) -> PointsAccepted:
        return SHARDS[request.shard].apply(request.batch)


class Done(Contract):
    number: int


class Work(Request[Done], name="test.work"):
    number: int


class Block(Request[Done], name="test.block"):
    number: int


class Worker(Agent):
    took: ClassVar[Histogram]

    async def started(self, ctx: Context) -> None:
        self.took = ctx.meter.bind_histogram("work_seconds", kind="test")  # type: ignore[misc]

    @handler
    async def work(self, request: Work, ctx: Context) -> Done:
        if request.number == 13:
            raise ValueError
        self.took.observe(0.5)
        ctx.meter.count("works_total")
        return Done(number=request.number)

    @handler
    def block(self, request: Block, ctx: Context) -> Done:
        ctx.meter.count("blocks_total")
        return Done(number=request.number)


@pytest.fixture
async def system() -> AsyncIterator[System]:
    SHARDS.clear()
    recording = RecordingOptions(shards=2, flush_s=0.05, service="shop")
    async with callboard.start(
        engine="inline", hosts=2, standbys=0, recording=recording, metrics_s=0.05
    ) as system:
        await system.spawn(Aggregator, offer=True)
        await system.pool(Worker, size=4)
        yield system


async def flushed(system: System) -> dict[str, list[tuple[dict[str, str], float]]]:
    """All points, by the names of their metrics, after a flush of each host."""
    host: Host = host_of(system)
    for slot in (0, 1, 2):
        answer = await host.ask(Address(slot, CONTROL_CELL), FlushRecording())
        assert answer.left == 0
    found: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
    for shard in SHARDS.values():
        for key, _, value in shard.points:
            found[key.name].append((dict(key.tags), value))
    return found


def total(points: list[tuple[dict[str, str], float]], **tags: str) -> float:
    return sum(value for found, value in points if tags.items() <= found.items())


async def test_actors_on_all_hosts_and_the_driver_record(system: System) -> None:
    for number in range(8):
        await system.ask(Work(number=number))
        await system.ask(Block(number=number))
    system.meter.count("drivers_total", 2)
    found = await flushed(system)
    assert total(found["works_total"], service="shop") == 8
    assert total(found["blocks_total"]) == 8
    assert {tags["instance"] for tags, _ in found["works_total"]} == {"host-1", "host-2"}
    assert found["work_seconds"][0][1] == 0.5
    assert total(found["drivers_total"]) == 2


async def test_steps_and_executions_are_measured_without_ids(system: System) -> None:
    def fan_out(request: Work) -> list[SubTask]:
        return [SubTask(f"s{number}", Work(number=number)) for number in range(10)]

    job: Job[Work, Any] = Job(name="fan", decompose=fan_out)
    await system.submit(job, Work(number=0)).result()
    found = await flushed(system)
    step: Any = {"job": "fan", "step": "test.work"}
    assert len(found["callboard_subtask_seconds"]) == 10
    assert total(found["callboard_subtask_attempts_total"], outcome="done", **step) == 10
    assert len(found["callboard_agent_seconds"]) == 10
    ((tags, seconds),) = found["callboard_execution_seconds"]
    assert (tags["job"], tags["outcome"], seconds > 0) == ("fan", "completed", True)
    names = {name for points in found.values() for tags, _ in points for name in tags}
    assert names <= {
        "agent", "environment", "instance", "job", "kind", "outcome", "reason", "service", "step",
        "way", "tier", "source", "status",
    }  # fmt: skip


async def test_a_failed_step_is_counted(system: System) -> None:
    def fan_out(request: Work) -> list[SubTask]:
        return [SubTask("one", Work(number=13))]

    job: Job[Work, Any] = Job(name="fails", decompose=fan_out)
    with pytest.raises(callboard.errors.CallboardError):
        await system.submit(job, Work(number=0)).result()
    found = await flushed(system)
    attempts = found["callboard_subtask_attempts_total"]
    assert total(attempts, outcome="failed", job="fails") == 1
    failures = total(found["callboard_agent_failures_total"], agent="Worker", step="test.work")
    assert failures == 1 + total(attempts, outcome="retried")
    assert total([(tags, 1.0) for tags, _ in found["callboard_execution_seconds"]]) == 1


async def test_callboard_records_its_own_figures(system: System) -> None:
    for number in range(5):
        await system.ask(Work(number=number))
    found = await flushed(system)
    while len({tags["instance"] for tags, _ in found["callboard_actors"]}) < 3:
        found = await flushed(system)  # Until the driver and both hosts have published.
    assert {tags["status"] for tags, _ in found["callboard_subtasks"]} == {
        "ready",
        "running",
        "waiting",
    }
    handled = found["callboard_messages_handled_total"]
    assert {tags["instance"] for tags, _ in handled} >= {"host-1", "host-2"}


async def test_a_host_that_stops_in_order_brings_its_last_points_first() -> None:
    SHARDS.clear()
    recording = RecordingOptions(shards=1, flush_s=3_600.0)
    async with callboard.start(engine="inline", hosts=2, standbys=0, recording=recording) as system:
        await system.spawn(Aggregator, offer=True, host=1)
        worker = await system.spawn(Worker, host=2)
        await worker.ask(Work(number=1))
        await host_of(system).ask(Address(2, CONTROL_CELL), StopHost())
        assert [value for key, _, value in SHARDS[0].points if key.name == "works_total"] == [1.0]
        system.meter.count("drivers_total")
    assert [value for key, _, value in SHARDS[0].points if key.name == "drivers_total"] == [1.0]


async def test_a_tap_gets_points_also_without_aggregators() -> None:
    async with callboard.start(engine="inline", hosts=1, standbys=0) as system:
        tapped: list[float] = []

        def tap(columns: PointColumns) -> None:
            tapped.extend(columns.values.tolist())

        host_of(system).extension(Recorder).begin(None, taps=[tap])
        system.meter.count("drivers_total", 3)
        await host_of(system).ask(Address(0, CONTROL_CELL), FlushRecording())
        assert tapped == [3.0]


async def test_without_options_points_are_dropped_and_counted() -> None:
    async with callboard.start(engine="inline", hosts=1, standbys=0) as system:
        await system.pool(Worker, size=1)
        await system.ask(Work(number=1))
        system.meter.count("drivers_total")
        assert system.meter.statistics()["dropped_off"] == 1
        assert not system.meter.is_on
