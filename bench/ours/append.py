"""`append`: events of 200 bytes through the journal, from the caller to the disk.

Light load is one append at a time. After each, the bench times a plain write and fdatasync of as
many bytes as the log grew, in the same folder. Then come three kinds of load, each with 16 writers
on one event loop: every writer awaits each event; every writer has many single events in flight;
every writer awaits batches.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench.loop import run_on_fastest_loop
from bench.outcome import Outcome, Params
from bench.stores import store_for
from bench.timing import NS_PER_MS, percentile, timed
from bench.workload import APPEND_WRITERS, append_total, appended_check, event_data, event_number
from callboard.actors.journal.journal import Journal
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.event_ids import new_event_id, new_event_ids
from callboard.messages.storage.events import Append, Appended, NewEvent
from callboard.runtime.hosting.memory import tune_gc
from callboard.runtime.stores.choose import event_store

__all__ = ["run"]

UNDER_WAY: Final = 2_048
"""Single events of one writer in flight, so that the next group waits while one is written."""
BATCH: Final = 256
SIZED: Final = 5
"""Appends that measure the growth of the log. The first one also creates its stream."""
PAGE: Final = 10_000


def run(params: Params) -> Outcome:
    """All kinds of load on one log, with the garbage collector as hosts and drivers set it."""
    tune_gc()
    with (
        tempfile.TemporaryDirectory(prefix="callboard-append-") as folder,
        store_for(params, Path(folder)) as (url, bytes_of),
    ):
        return run_on_fastest_loop(_run(params, Path(folder), url, bytes_of))


async def _run(params: Params, folder: Path, url: str, bytes_of: Callable[[], int]) -> Outcome:
    journal = Journal(event_store(url, durability="full"), owner="bench")
    await journal.open()
    try:
        numbers = iter(range(append_total(params)))
        await _awaiting(journal, numbers, params["warm_up"])
        figures = await _light_load(journal, numbers, params["alone"], folder, bytes_of)
        for figure, write in (
            ("one_at_a_time_events_per_s", _awaiting),
            ("events_per_s", _pipelined),
            ("batched_events_per_s", _batched),
        ):
            count = params[figure.removesuffix("_per_s")]
            with timed() as stopwatch:
                await write(journal, numbers, count)
            figures[figure] = stopwatch.per_s(count)
        found: list[int] = []
        while page := await journal.read(len(found), PAGE):
            found += [event_number(event.data) for event in page]
    finally:
        await journal.close()
    note = (
        f"{APPEND_WRITERS} writers; events_per_s: single events, each writer {UNDER_WAY} under "
        f"way; batched: appends of {BATCH} events, each awaited; one_at_a_time: single events, "
        "each awaited"
    )
    return Outcome(figures, appended_check(found), (note,))


def _event(number: int) -> NewEvent:
    return NewEvent(new_event_id(), "bench.appended", event_data(number))


def _events(numbers: Iterator[int], count: int) -> list[NewEvent]:
    return [
        NewEvent(id_, "bench.appended", event_data(next(numbers))) for id_ in new_event_ids(count)
    ]


async def _light_load(
    journal: Journal,
    numbers: Iterator[int],
    count: int,
    folder: Path,
    bytes_of: Callable[[], int],
) -> dict[str, float]:
    # The bytes that one append adds to SQLite's log, which grows until its first checkpoint.
    grown: list[float] = []
    for _ in range(SIZED):
        before = bytes_of()
        await journal.append("light", [_event(next(numbers))])
        grown.append(bytes_of() - before)
    log_bytes = int(percentile(grown, 50))
    is_here = any(folder.iterdir()) and log_bytes > 0
    taken_ns, disk_ns = [], []
    probe = os.open(folder / "probe", os.O_WRONLY | os.O_CREAT, 0o600)
    block = os.urandom(max(log_bytes, 1))
    try:
        for _ in range(count - SIZED):
            event = _event(next(numbers))
            start_ns = time.perf_counter_ns()
            await journal.append("light", [event])
            end_ns = time.perf_counter_ns()
            taken_ns.append(end_ns - start_ns)
            if is_here:
                os.write(probe, block)
                os.fdatasync(probe)
                disk_ns.append(time.perf_counter_ns() - end_ns)
    finally:
        os.close(probe)
    figures = _p50_and_p99("append", taken_ns)
    if disk_ns:
        figures |= _p50_and_p99("fsync", disk_ns)
        figures["append_p50_over_fsync"] = figures["append_p50_ms"] / figures["fsync_p50_ms"]
        figures["appended_log_bytes"] = float(log_bytes)
    return figures


def _p50_and_p99(name: str, taken_ns: list[int]) -> dict[str, float]:
    return {f"{name}_p{part}_ms": percentile(taken_ns, part) / NS_PER_MS for part in (50, 99)}


async def _awaiting(journal: Journal, numbers: Iterator[int], count: int) -> None:
    async def writer(name: str) -> None:
        for _ in range(count // APPEND_WRITERS):
            await journal.append(name, [_event(next(numbers))])

    async with asyncio.TaskGroup() as group:
        for number in range(APPEND_WRITERS):
            group.create_task(writer(f"w{number}"))


async def _batched(journal: Journal, numbers: Iterator[int], count: int) -> None:
    async def writer(name: str) -> None:
        left = count // APPEND_WRITERS
        while left:
            some = min(left, BATCH)
            await journal.append(name, _events(numbers, some))
            left -= some

    async with asyncio.TaskGroup() as group:
        for number in range(APPEND_WRITERS):
            group.create_task(writer(f"b{number}"))


async def _pipelined(journal: Journal, numbers: Iterator[int], count: int) -> None:
    async def writer(name: str) -> None:
        under_way = 0
        freed = asyncio.Event()
        failed: list[CallboardError] = []

        def done(result: Appended | CallboardError) -> None:
            nonlocal under_way
            under_way -= 1
            if isinstance(result, CallboardError):
                failed.append(result)
            if under_way <= UNDER_WAY // 2:
                freed.set()

        async def room(most: int) -> None:
            while under_way > most:
                freed.clear()
                await freed.wait()
            if failed:
                raise failed[0]

        for _ in range(count // APPEND_WRITERS):
            if under_way == UNDER_WAY:
                await room(UNDER_WAY // 2)
            under_way += 1
            journal.submit(Append(name, (_event(next(numbers)),)), done)
        await room(0)

    async with asyncio.TaskGroup() as group:
        for number in range(APPEND_WRITERS):
            group.create_task(writer(f"p{number}"))
