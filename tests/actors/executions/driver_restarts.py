"""Executions over several lives: submitted, abandoned, and gone on with by another driver."""

import itertools
import random
import time
from typing import Any

from callboard.actors.executions.execution import Execution
from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.executions.history.blobs import Blobs
from callboard.actors.executions.history.events import LostResult, stream_of
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.actors.executions.history.reading import read_history
from callboard.actors.executions.history.recorder import Recorder
from callboard.actors.executions.history.snapshots import HistorySnapshots
from callboard.actors.journal.journal import Journal
from callboard.messages.jobs.job import Job
from callboard.messages.jobs.plan import SubTask
from callboard.messages.jobs.retry import RetryPolicy
from callboard.messages.storage.events import RecordedEvent
from callboard.runtime.stores.memory import MemoryEventStore
from tests.actors.executions.execution_fixture import Square, Stumble, World

__all__ = [
    "ID",
    "WAIT_S",
    "begin",
    "events_of",
    "opened",
    "random_job",
    "recorder_of",
    "resume",
    "submit",
    "undisturbed",
]

ID = "e-1"
WAIT_S = 10.0
NONCES = itertools.count(1)
# In each life a stumbler fails once more, and failures of earlier lives count.
AGAIN = RetryPolicy(attempts_max=6, backoff_min_s=0.001, backoff_max_s=0.001)


async def opened(store: MemoryEventStore) -> Journal:
    journal = Journal(store, owner="test")
    await journal.open()
    return journal


def recorder_of(
    world: World,
    journal: Journal,
    job: Job[Any, Any],
    version: int = 0,
    blobs: Blobs | None = None,
    snapshots: HistorySnapshots | None = None,
) -> Recorder:
    return Recorder(
        journal,
        world.driver.codec,
        execution_id=ID,
        owner="test",
        nonce=f"nonce-{next(NONCES)}",
        wall_time=time.time,
        result_bytes_max=job.result_bytes_max,
        version=version,
        blobs=blobs,
        stored_bytes_max=job.stored_bytes_max,
        on_durable=None if snapshots is None else snapshots.committed,
    )


def begin(
    world: World,
    job: Job[Any, Any],
    recorder: Recorder,
    history: ExecutionHistory | None = None,
    blobs: Blobs | None = None,
    **attributes: Any,
) -> ExecutionHandle[Any]:
    return Execution.start(
        world.driver,
        job,
        Square(number=7),
        new_id=lambda: ID,
        random=random.Random(1).random,
        wall_time=time.time,
        attributes=attributes,
        recorder=recorder,
        history=history,
        blobs=None if blobs is None else blobs.store,
    )


def submit(
    world: World,
    journal: Journal,
    job: Job[Any, Any],
    blobs: Blobs | None = None,
    snapshots: HistorySnapshots | None = None,
    **attributes: Any,
) -> ExecutionHandle[Any]:
    recorder = recorder_of(world, journal, job, blobs=blobs, snapshots=snapshots)
    recorder.submitted(job.name, Square(number=7), attributes, {})
    return begin(world, job, recorder, blobs=blobs, **attributes)


async def resume(
    world: World,
    journal: Journal,
    job: Job[Any, Any],
    blobs: Blobs | None = None,
    snapshots: HistorySnapshots | None = None,
) -> ExecutionHandle[Any]:
    base = None if snapshots is None else await snapshots.load(ID)
    history = await read_history(journal.read_stream, ID, base=base)
    if history is None:
        return submit(world, journal, job, blobs, snapshots)
    recorder = recorder_of(world, journal, job, history.version, blobs, snapshots)
    if not history.is_over:
        recorder.resumed()
        losses = {} if blobs is None else await blobs.lost(history)
        if losses:
            rows = [
                LostResult(index, history.results[index][0], str(why))
                for index, why in losses.items()
            ]
            history.lose(rows)
            recorder.lost(rows)
    return begin(world, job, recorder, history, blobs)


def events_of(store: MemoryEventStore) -> list[RecordedEvent]:
    return store.read_stream(stream_of(ID), limit=10_000)


def random_job(plan: list[tuple[bool, bool]]) -> Job[Any, Any]:
    """Each sub-task: whether it needs the one before the last, and whether it stumbles once."""

    def decompose(_request: Any) -> tuple[SubTask, ...]:
        return tuple(
            SubTask(
                f"t{n}",
                Stumble(label=f"t{n}") if stumbles else Square(number=n),
                needs=(f"t{n - 2}",) if needs and n > 1 else (),
            )
            for n, (needs, stumbles) in enumerate(plan)
        )

    def expand(sub_task: SubTask, _result: Any) -> tuple[SubTask, ...]:
        number = getattr(sub_task.request, "number", -1)
        if 0 <= number < 100 and number % 3 == 0:
            return (SubTask(f"g{number}", Square(number=100 + number)),)
        return ()

    return Job(
        name="random", decompose=decompose, expand=expand, task_retry=AGAIN, threads=frozenset()
    )


def undisturbed(plan: list[tuple[bool, bool]]) -> list[int]:
    right: list[int] = []
    for n, (_, stumbles) in enumerate(plan):
        right.append(-1 if stumbles else n)
        if not stumbles and n % 3 == 0:
            right.append(100 + n)
    return right
