"""Results too large for the journal, on a whole system: stored, shared, lost and reported."""

import asyncio
import contextlib
import logging
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import callboard
from callboard import Agent, Contract, Job, Request, SubTask, System, handler
from callboard.actors.executions.history.blobs import Blobs, Limits
from callboard.jobs import LargeResults
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.jobs.execution import ExecutionStatus, TaskStatus
from callboard.messages.jobs.job import Decision
from callboard.messages.jobs.retry import RetryPolicy
from callboard.messages.storage.errors import ResultLost, StoreFault
from callboard.runtime.executions.executions import Executions, read_history
from callboard.runtime.hosting.settings import Settings

SIZE = 100_000
WAIT_S = 30.0
ID = "large"


class Bulk(Contract, name="large.bulk"):
    data: bytes


class Make(Request[Bulk], name="large.make"):
    """A bulk of so many bytes, all of them `fill`."""

    fill: int
    size: int = SIZE


class Wait(Request[Bulk], name="large.wait"):
    """Answered in the second incarnation."""


class Maker(Agent):
    made: ClassVar[list[int]] = []
    waits: ClassVar[bool] = True

    @handler
    async def make(self, request: Make) -> Bulk:
        Maker.made.append(request.fill)
        return Bulk(data=bytes([request.fill]) * request.size)

    @handler
    async def wait(self, request: Wait) -> Bulk:
        if Maker.waits:
            await asyncio.Event().wait()
        return Bulk(data=b"end")


@pytest.fixture(autouse=True)
def _maker() -> None:
    Maker.made, Maker.waits = [], True


def job_of(*sub_tasks: SubTask, **options: Any) -> Job[Make, list[Bulk]]:
    given: dict[str, Any] = {
        "large_results": LargeResults.STORE,
        "result_bytes_max": 1_000,
        **options,
    }
    return Job(name="large", decompose=lambda _request: sub_tasks, **given)


PLAN = (
    SubTask("a", Make(fill=1)),
    SubTask("b", Make(fill=2)),
    SubTask("after", Make(fill=3), needs=("b",)),
    SubTask("small", Make(fill=4, size=10)),
    SubTask("wait", Wait(), needs=("a", "after", "small")),
)


@contextlib.asynccontextmanager
async def system_at(path: Path, **options: Any) -> AsyncIterator[System]:
    async with callboard.start(engine="inline", hosts=1, journal=str(path), **options) as system:
        await system.pool(Maker, size=4)
        yield system


async def first_run(path: Path, job: Job[Make, list[Bulk]]) -> None:
    """Run until all sub-tasks but the waiting one are done."""
    async with system_at(path) as system:
        execution = system.submit(job, Make(fill=0), execution_id=ID)
        async with asyncio.timeout(WAIT_S):
            async for _ in execution.updates():
                if execution.state().intermediate_results >= len(PLAN) - 1:
                    break
    assert sorted(Maker.made) == [1, 2, 3, 4]
    Maker.made, Maker.waits = [], False


def executions_of(system: System) -> Executions:
    """The executions that run in the driver itself."""
    assert isinstance(system._executions, Executions)
    return system._executions


async def second_run(path: Path, job: Job[Make, list[Bulk]]) -> list[int]:
    """Resume, check that all sub-tasks are done, and return the results."""
    async with system_at(path) as system:
        execution = await system.resume(job, ID)
        result = await execution.result(WAIT_S)
        journal = executions_of(system).journal
        assert journal is not None
        history = await read_history(journal, ID)
        assert history is not None
        assert set(history.statuses) == {TaskStatus.DONE}
        assert not history.lost
    return [len(bulk.data) for bulk in result]


def blobs_of(path: Path) -> list[Path]:
    return sorted(path.with_name(path.name + ".blobs").glob("??/*"))


def blob_of(path: Path, fill: int) -> Path:
    (found,) = [blob for blob in blobs_of(path) if blob.read_bytes().endswith(bytes([fill]) * 9)]
    return found


ALL = [SIZE, SIZE, SIZE, 10, 3]


async def test_a_stored_result_is_not_made_again(tmp_path: Path) -> None:
    path, job = tmp_path / "j.db", job_of(*PLAN)
    await first_run(path, job)
    assert len(blobs_of(path)) == 3
    assert await second_run(path, job) == ALL
    assert Maker.made == []
    # Resume once more after its end: nothing runs, and the result is there.
    assert await second_run(path, job) == ALL
    assert path.stat().st_size < 2 * SIZE, "the journal has references to three results"


@pytest.mark.parametrize("how", ["deleted", "damaged"])
async def test_a_lost_one_runs_again_and_nothing_else(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A done sub-task that needed it stays done."""
    path, job = tmp_path / "j.db", job_of(*PLAN)
    await first_run(path, job)
    blob = blob_of(path, 2)
    blob.unlink() if how == "deleted" else blob.write_bytes(b"something else")
    with caplog.at_level(logging.WARNING, "callboard"):
        assert await second_run(path, job) == ALL
    assert Maker.made == [2]
    (warning,) = [record.message for record in caplog.records if "lost" in record.message]
    assert "large" in warning
    assert "'b'" in warning or " b" in warning
    assert len(blobs_of(path)) == 3


async def test_what_a_lost_one_made_grow_does_not_grow_twice(tmp_path: Path) -> None:
    def expand(sub_task: SubTask, _result: Any) -> tuple[SubTask, ...]:
        return (SubTask("grown", Make(fill=9)),) if sub_task.id == "b" else ()

    path = tmp_path / "j.db"
    job = job_of(SubTask("b", Make(fill=2)), SubTask("wait", Wait()), expand=expand)
    async with system_at(path) as system:
        execution = system.submit(job, Make(fill=0), execution_id=ID)
        async with asyncio.timeout(WAIT_S):
            async for _ in execution.updates():
                if execution.state().intermediate_results == 2:
                    break
    Maker.made, Maker.waits = [], False
    blob_of(path, 2).unlink()
    assert await second_run(path, job) == [SIZE, SIZE, 3]
    assert Maker.made == [2]


async def test_a_lost_non_idempotent_result_waits_for_a_decision(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    plan = tuple(task._replace(non_idempotent=True) if task.id == "b" else task for task in PLAN)
    await first_run(path, job_of(*plan))
    blob_of(path, 2).unlink()
    asked: list[str] = []

    def decide(sub_task: SubTask, error: CallboardError) -> Decision:
        asked.append(f"{sub_task.id}: {error}")
        return Decision.RUN_AGAIN

    assert await second_run(path, job_of(*plan, in_doubt=decide)) == ALL
    assert Maker.made == [2]
    assert len(asked) == 1
    assert "was done, and its result is lost" in asked[0]


async def test_of_an_execution_that_is_over_a_lost_one_is_said_and_it_stays_over(
    tmp_path: Path,
) -> None:
    path, job = tmp_path / "j.db", job_of(*PLAN)
    await first_run(path, job)
    await second_run(path, job)
    blob = blob_of(path, 1)
    kept = blob.read_bytes()
    blob.unlink()
    async with system_at(path) as system:
        with pytest.raises(ResultLost, match="'a' cannot be read"):
            await (await system.resume(job, ID)).result(WAIT_S)
    blob.write_bytes(kept)
    assert await second_run(path, job) == ALL
    assert Maker.made == []


async def test_two_that_are_equal_are_stored_once(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with system_at(path) as system:
        job = job_of(*(SubTask(f"t{n}", Make(fill=7)) for n in range(5)))
        assert len(await system.submit(job, Make(fill=0)).result(WAIT_S)) == 5
        blobs = executions_of(system)._blobs
        assert blobs is not None
        figures = blobs.statistics()
        assert (figures.stored, figures.lost) == (5, 0)
        assert 1 <= figures.stored - figures.shared <= 2, "two threads may store it at once"
    assert len(blobs_of(path)) == 1


@contextlib.contextmanager
def full(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def faults(system: System) -> Blobs:
    """Wait until the store reports the full disk."""
    blobs = executions_of(system)._blobs
    assert blobs is not None
    async with asyncio.timeout(WAIT_S):
        while not blobs.statistics().faults[StoreFault.FULL]:  # noqa: ASYNC110 - of a thread
            await asyncio.sleep(0.005)
    return blobs


async def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    job = job_of(SubTask("a", Make(fill=1, size=5_000_000)))
    async with system_at(tmp_path / "j.db") as system:
        with full(2_000_000):
            execution = system.submit(job, Make(fill=0))
            await faults(system)
            assert execution.state().intermediate_results == 0, "nothing counts before it is stored"
        (bulk,) = await execution.result(WAIT_S)
        assert len(bulk.data) == 5_000_000
    assert Maker.made == [1]


async def test_a_disk_that_stays_full_fails_the_attempt_and_says_that_it_has_run(
    tmp_path: Path,
) -> None:
    plan, once = SubTask("a", Make(fill=1, size=5_000_000)), RetryPolicy(attempts_max=1)
    path, job = tmp_path / "j.db", job_of(plan, task_retry=once)
    async with system_at(path) as system:
        blobs = executions_of(system)._blobs
        assert blobs is not None
        blobs._limits = Limits(patience_s=0.0)
        with full(2_000_000), pytest.raises(CallboardError) as caught:
            await system.submit(job, Make(fill=0), execution_id=ID).result(WAIT_S)
        assert "store_full" in str(caught.value.to_data())
        assert "Make room" in str(caught.value.to_data())
        journal = executions_of(system).journal
        assert journal is not None
        history = await read_history(journal, ID)
        assert history is not None
        assert history.status is ExecutionStatus.FAILED
    assert not blobs_of(path)


async def test_over_its_own_limit_and_by_default_a_large_result_fails_at_once(
    tmp_path: Path,
) -> None:
    path, plan = tmp_path / "j.db", SubTask("a", Make(fill=1))
    for options, advice in (
        ({"stored_bytes_max": SIZE}, "Job.stored_bytes_max"),
        ({"large_results": LargeResults.FAIL}, "Job.large_results"),
    ):
        async with system_at(path) as system:
            with pytest.raises(CallboardError) as caught:
                await system.submit(job_of(plan, **options), Make(fill=0)).result(WAIT_S)
        assert advice in str(caught.value.to_data())
    assert Maker.made == [1, 1]
    assert not blobs_of(path)


async def test_a_system_that_keeps_no_blobs_does_not_take_them_for_lost(tmp_path: Path) -> None:
    path, job = tmp_path / "j.db", job_of(*PLAN)
    await first_run(path, job)
    async with system_at(path, blobs="off") as system:
        with pytest.raises(UsageError, match="setting `blobs`"):
            await system.resume(job, ID)
    assert await second_run(path, job) == ALL
    assert Maker.made == []


def test_wrong_options_are_refused() -> None:
    with pytest.raises(CallboardError, match="stored_bytes_max"):
        job_of(stored_bytes_max=-1)
    with pytest.raises(CallboardError, match="blobs"):
        Settings(blobs="")
