"""Streamed results on Ray: a host that is killed with -9 midway, and a journal that keeps them."""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.jobs import RetryPolicy, Streams
from callboard.runtime.api.start import start
from callboard.updates import SubTaskPartial

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.usefixtures("ray_here")]


class Line(Contract):
    number: int
    pid: int


class Poem(Contract):
    lines: int


class Write(Request[Poem]):
    lines: int


class Poet(Agent):
    @handler
    async def write(self, request: Write) -> AsyncIterator[Line | Poem]:
        for number in range(1, request.lines + 1):
            yield Line(number=number, pid=os.getpid())
            await asyncio.sleep(0.001)
        yield Poem(lines=request.lines)


async def test_a_killed_host_repeats_attempts_and_no_partial_result_of_one(
    tmp_path: Path,
) -> None:
    again = RetryPolicy(attempts_max=5, backoff_min_s=0.0, backoff_max_s=0.0)
    parts = [SubTask(f"t{n}", Write(lines=300), retry=again) for n in range(8)]
    job: Job[Write, list[Poem]] = Job(decompose=lambda _: parts, streams=Streams.JOURNAL)
    journal = str(tmp_path / "j.db")
    async with start(engine="ray", hosts=2, standbys=1, name="poets", journal=journal) as system:
        await system.pool(Poet, size=4)
        handle = system.submit(job, Write(lines=0))
        numbers: dict[tuple[str, int], list[int]] = defaultdict(list)
        is_killed = False
        async for update in handle.updates():
            if not isinstance(update, SubTaskPartial):
                continue
            assert update.is_journalled
            assert update.value.number == update.number
            assert not update.skipped
            numbers[update.task_id, update.attempt].append(update.number)
            if not is_killed and update.number == 100:
                is_killed = True
                os.kill(update.value.pid, signal.SIGKILL)
        assert await handle.result(60) == [Poem(lines=300)] * 8
    assert any(attempt > 1 for _, attempt in numbers)
    for found in numbers.values():
        assert found == list(range(1, len(found) + 1))
    last = {task: found for (task, _), found in sorted(numbers.items())}
    assert all(len(found) == 300 for found in last.values())
