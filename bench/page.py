"""The work of `page`: an execution with one event for each sub-task, and bars of a timeline."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench.outcome import Params, check_of
from bench.sides import Bench, Requirement, Side
from callboard.actors.executions.history.events import Kind, pack, stream_of
from callboard.messages.storage.events import Append, NewEvent
from callboard.runtime.stores.choose import event_store

__all__ = ["EXECUTION_ID", "PAGE", "check_page", "write_journal"]

EXECUTION_ID: Final = "large-1"
BATCH: Final = 1_000
BEGIN_S: Final = 1_700_000_000.0
MICROSECONDS: Final = 1_000_000
EXECUTORS: Final = 8
KINDS: Final = 4


def _expected(params: Params) -> str:
    """The check over what the page has to say about the execution and the timeline."""
    return check_page(params["sub_tasks"], params["bars"])


def check_page(sub_tasks: int, bars: int) -> str:
    """The check over the numbers that were found."""
    return check_of({"sub_tasks": sub_tasks, "bars": bars})


PAGE: Final = Bench(
    name="page",
    question="How soon does a browser show a long execution, and how fast does it draw one?",
    ours=Side(
        "callboard",
        "bench.ours",
        {"sub_tasks": 100_000, "bars": 10_000, "draws": 9},
        {"sub_tasks": 500, "bars": 200, "draws": 3},
        (
            Requirement("module", "playwright", "pip install 'callboard[browser]'", "playwright"),
            Requirement("program", "chromium", "install Chromium (on Debian: chromium)"),
        ),
        always=True,
    ),
    peers=(),
    expected_check=_expected,
)


def write_journal(path: Path, execution_id: str, sub_tasks: int) -> int:
    """Write an execution with one `moved` event for each sub-task; the number of its events."""
    store = event_store(str(path), durability="off")
    store.open()
    try:
        store.take_over("made")
        count = 0
        for batch in _batches(_events(sub_tasks)):
            store.commit([Append(stream_of(execution_id), tuple(batch), expected=count)])
            count += len(batch)
        return count
    finally:
        store.close()


def _batches(events: Iterator[NewEvent]) -> Iterator[list[NewEvent]]:
    batch: list[NewEvent] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _events(sub_tasks: int) -> Iterator[NewEvent]:
    yield _event(Kind.SUBMITTED, {"job": "made", "by": "made", "at": BEGIN_S})
    yield _event(Kind.PLANNED, {"agents": {}, "plan_maker": None, "sub_tasks": sub_tasks})
    contracts = [[f"made.kind{number}", 1, 1] for number in range(KINDS)]
    for first in range(0, sub_tasks, 10_000):
        numbers = range(first, min(sub_tasks, first + 10_000))
        rows = [[f"task-{number}", number % KINDS, b""] for number in numbers]
        yield _event(
            Kind.GROWN, {"parent": None, "contracts": contracts, "policies": [], "rows": rows}
        )
    yield _event(Kind.STEPPED, _step("pending", "running", 0.0))
    for number in range(sub_tasks):
        yield _event(Kind.MOVED, _moved(number))
    yield _event(Kind.STEPPED, _step("running", "completed", 0.01 * sub_tasks))


def _step(before: str, after: str, at_s: float) -> dict[str, Any]:
    return {
        "from": before, "to": after, "at": BEGIN_S + at_s, "trigger": "made", "metadata": {},
    }  # fmt: skip


def _moved(number: int) -> dict[str, Any]:
    took = (20 + number * 7919 % 400) * 1_000
    done = [[number, 1, 0, took, took, 0, b""]]  # It began `took` before the time of the event.
    lists: dict[str, Sequence[Any]] = dict.fromkeys(
        ("troubled", "failed", "cancelled", "skipped", "doubtful"), ()
    )
    return {
        "at": BEGIN_S + 0.01 * number + took / MICROSECONDS,
        "lanes": [f"{1 + number % EXECUTORS}/9"],
        "contracts": [["made.result", 1, 1]], "done": done, **lists,
    }  # fmt: skip


def _event(kind: Kind, fields: dict[str, Any]) -> NewEvent:
    return NewEvent(uuid.uuid4().bytes, str(kind), pack(fields))
