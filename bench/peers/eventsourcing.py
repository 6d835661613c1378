"""The package eventsourcing with its recorder on SQLite: `append`.

Its application recorder gives each event a position in the whole log, as ours does. It uses WAL
mode with each commit synced (`synchronous` is FULL, which the bench checks). Large batches of one
thread are its fastest way; for one event at a time it gets 16 threads.
"""

import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.timing import NS_PER_MS, percentile, timed
from bench.workload import APPEND_WRITERS, append_total, appended_check, event_data, event_number

__all__: list[str] = []

BATCH = 4_096
PAGE = 10_000
FULL = 2
LOCK_TIMEOUT_S = 60


class Stream:
    """One stream and its next version."""

    def __init__(self) -> None:
        self._id = uuid.uuid4()
        self._version = 0

    def event(self, number: int) -> Any:
        """The next event."""
        self._version += 1
        return StoredEvent(self._id, self._version, "bench.appended", event_data(number))


def append(params: Params) -> Outcome:
    """One event at a time, then in batches."""
    with tempfile.TemporaryDirectory(prefix="bench-append-") as folder:
        datastore = SQLiteDatastore(
            str(Path(folder) / "log.db"), lock_timeout=LOCK_TIMEOUT_S, pool_size=APPEND_WRITERS
        )
        try:
            return _append(params, datastore)
        finally:
            datastore.close()


def _append(params: Params, datastore: Any) -> Outcome:
    recorder: Any = SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    with datastore.get_connection(commit=True) as connection:
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous")
        assert cursor.fetchone()[0] == FULL, "its commits are not synced"
    numbers = iter(range(append_total(params)))
    stream = Stream()
    _batches(recorder, stream, numbers, params["warm_up"])
    taken_ns = []
    for _ in range(params["alone"]):
        event = stream.event(next(numbers))
        start_ns = time.perf_counter_ns()
        recorder.insert_events([event])
        taken_ns.append(time.perf_counter_ns() - start_ns)
    figures = {f"append_p{part}_ms": percentile(taken_ns, part) / NS_PER_MS for part in (50, 99)}
    count = params["one_at_a_time_events"]
    with timed() as stopwatch:
        _threads(recorder, [next(numbers) for _ in range(count)])
    figures["one_at_a_time_events_per_s"] = stopwatch.per_s(count)
    count = params["batched_events"]
    with timed() as stopwatch:
        _batches(recorder, stream, numbers, count)
    figures["batched_events_per_s"] = figures["events_per_s"] = stopwatch.per_s(count)
    found: list[int] = []
    while page := recorder.select_notifications(start=len(found) + 1, limit=PAGE):
        found += [event_number(event.state) for event in page]
    notes = (f"events_per_s and batched: inserts of {BATCH} events by one thread",)
    return Outcome(figures, appended_check(found), notes)


def _batches(recorder: Any, stream: Stream, numbers: Iterator[int], count: int) -> None:
    for start in range(0, count, BATCH):
        some = min(BATCH, count - start)
        recorder.insert_events([stream.event(next(numbers)) for _ in range(some)])


def _threads(recorder: Any, numbers: list[int]) -> None:
    def write(mine: list[int]) -> None:
        stream = Stream()
        for number in mine:
            recorder.insert_events([stream.event(number)])

    threads = [
        threading.Thread(target=write, args=(numbers[start::APPEND_WRITERS],))
        for start in range(APPEND_WRITERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    serve({"append": append})
