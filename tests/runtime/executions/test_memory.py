"""The memory of executions that have ended: a driver with a journal keeps a bounded part."""

import gc
import linecache
import tracemalloc
from pathlib import Path

import pytest

import callboard
from callboard import Agent, Contract, Job, Request, SubTask, System, handler
from callboard.runtime.executions.executions import Executions
from callboard.runtime.stores.sqlite import group
from callboard.runtime.stores.sqlite.events import SqliteEventStore

WAIT_S = 60.0
AT_ONCE = 100
MEASURED = 2_000
KNOWN = 100
"""The streams that the writer knows, in place of its usual limit."""
BYTES_MAX = 150
"""The most that one more execution may keep. The name of its stream alone takes 300."""


class Doubled(Contract, name="memory.doubled"):
    number: int


class Double(Request[Doubled], name="memory.double"):
    number: int


class Doubler(Agent):
    @handler
    async def double(self, request: Double) -> Doubled:
        return Doubled(number=2 * request.number)


JOB: Job[Double, list[Doubled]] = Job(name="doubling", decompose=lambda r: [SubTask("a", r)])


async def run_many(system: System, count: int, prefix: str) -> None:
    for first in range(0, count, AT_ONCE):
        handles = [
            system.submit(JOB, Double(number=number), execution_id=f"{prefix}{number}")
            for number in range(first, first + AT_ONCE)
        ]
        for handle in handles:
            await handle.result(WAIT_S)


def traced_bytes() -> int:
    gc.collect()
    files = (linecache.__file__, tracemalloc.__file__)  # They keep the lines of sources.
    filters = [tracemalloc.Filter(inclusive=False, filename_pattern=file) for file in files]
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(filters).traces)


@pytest.mark.soak
async def test_thousands_of_ended_executions_keep_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "STREAMS_KNOWN_MAX", KNOWN)
    journal = str(tmp_path / "journal.db")
    async with callboard.start(
        engine="inline", hosts=1, journal=journal, durability="off"
    ) as system:
        await system.pool(Doubler, size=4)
        await run_many(system, 2 * KNOWN, "warm-")
        tracemalloc.start()
        try:
            await run_many(system, 2 * KNOWN, "first-")
            before = traced_bytes()
            await run_many(system, MEASURED, "second-")
            grown = traced_bytes() - before
        finally:
            tracemalloc.stop()
        executions = system._executions
        assert isinstance(executions, Executions)
        assert not executions._by_id
        assert not executions._recorders
        assert executions.journal is not None
        store = executions.journal.store
        assert isinstance(store, SqliteEventStore)
        assert KNOWN // 2 <= len(store._standing.streams) <= KNOWN
    assert grown < MEASURED * BYTES_MAX
