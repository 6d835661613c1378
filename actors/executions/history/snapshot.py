"""Encodes a history to bytes and decodes it: the content of an execution's snapshot.

Many values of a kind are columns, so that a hundred thousand results are a few lists. `SCHEMA` is
the version of the layout: a snapshot of another version is ignored, like an unreadable one.
"""

from itertools import repeat
from operator import attrgetter
from typing import Any, Final

import msgpack

from callboard.messages.core.contract import ContractKey
from callboard.messages.jobs.execution import ExecutionStatus, TaskStatus
from callboard.messages.storage.blobs import BlobRef

from .events import Forked, Grown, Owner, Packed, Phase, Submitted
from .fold import Added, ExecutionHistory, HistoryStep

__all__ = ["SCHEMA", "pack_history", "unpack_history"]

SCHEMA: Final = 1
"""Raise it with every change of the layout, or of the fold."""

STATUSES: Final = tuple(TaskStatus)
CONTRACT: Final = attrgetter("contract")
NUMBERS: Final = {status: number for number, status in enumerate(STATUSES)}


def pack_history(history: ExecutionHistory) -> bytes:
    """The history as bytes."""
    added = {id(one): number for number, one in enumerate(history.added)}
    data: bytes = msgpack.packb(
        {
            "id": history.id,
            "version": history.version,
            "last_id": history.last_id,
            "at": history.at,
            "submitted": history.submitted.fields(),
            "fork": {} if history.fork is None else history.fork.fields(),
            "status": str(history.status),
            "steps": history.steps,
            "phases": history.phases,
            "owners": history.owners,
            "agents": history.agents,
            "plan_maker": history.plan_maker,
            "planned_count": history.planned_count,
            "added": [[one.first, one.event.fields()] for one in history.added],
            "statuses": bytes([NUMBERS[status] for status in history.statuses]),
            "results": _results(history),
            "order": [
                [what, added[id(how)] if what == "grown" else how] for what, how in history.order
            ],
            "ended": _ended(history),
            "began": list(history.began.items()),
            "lost": list(history.lost.items()),
            "doubtful": list(history.doubtful.items()),
            "errors": list(history.errors.items()),
        }
    )
    return data


def _results(history: ExecutionHistory) -> list[Any]:
    kept = history.results
    packed = [packed for _, packed in kept.values()]
    contracts = {key: number for number, key in enumerate(dict.fromkeys(map(CONTRACT, packed)))}
    return [
        list(kept),
        [attempt for attempt, _ in kept.values()],
        [contracts[one.contract] for one in packed],
        [one.body for one in packed],
        [
            [index, one.buffers, one.blob]
            for index, one in zip(kept, packed, strict=True)
            if one.buffers or one.blob is not None
        ],
        list(contracts),
    ]


def _ended(history: ExecutionHistory) -> list[Any]:
    """The columns of the attempts; codes and messages only of failed ones."""
    if not history.ended:
        return [[], [], [], [], [], [], []]
    tasks, attempts, executors, began, took, codes, messages = zip(*history.ended, strict=True)
    numbers = {executor: number for number, executor in enumerate(dict.fromkeys(executors))}
    troubled = [[at, code, messages[at]] for at, code in enumerate(codes) if code]
    return [
        tasks,
        attempts,
        [numbers[executor] for executor in executors],
        began,
        took,
        troubled,
        [*numbers],
    ]


def unpack_history(data: bytes) -> ExecutionHistory:
    """The history in these bytes; other bytes may raise any exception."""
    fields = msgpack.unpackb(data, strict_map_key=False)
    history = ExecutionHistory(fields["id"])
    history.version, history.at = fields["version"], fields["at"]
    history.last_id = fields["last_id"]
    history.submitted = Submitted.of(fields["submitted"])
    history.fork = Forked.of(fields["fork"]) if fields["fork"] else None
    history.status = ExecutionStatus(fields["status"])
    history.steps.extend(
        [
            HistoryStep(ExecutionStatus(before), ExecutionStatus(to), *rest)
            for before, to, *rest in fields["steps"]
        ]
    )
    history.phases.extend([Phase(name, at) for name, at in fields["phases"]])
    history.owners.extend([Owner(name, at) for name, at in fields["owners"]])
    history.agents, history.plan_maker = fields["agents"], fields["plan_maker"]
    history.planned_count = fields["planned_count"]
    for first, event_fields in fields["added"]:
        added = Added(first, Grown(event_fields))
        history.added.append(added)
        history.ids.extend(added.event.ids())
    history.statuses.extend([STATUSES[number] for number in fields["statuses"]])
    _take_results(history, *fields["results"])
    history.order.extend(
        [
            (what, history.added[how] if what == "grown" else _order(what, how))
            for what, how in fields["order"]
        ]
    )
    _take_ended(history, *fields["ended"])
    history.began.update(fields["began"])
    history.lost.update((index, tuple(lost)) for index, lost in fields["lost"])
    history.doubtful.update((index, tuple(doubt)) for index, doubt in fields["doubtful"])
    history.errors.update(fields["errors"])
    if len({*map(len, fields["results"][:4])}) + len({*map(len, fields["ended"][:5])}) != 2:
        raise ValueError("its columns differ in length")
    if not len(history.ids) == len(history.statuses) >= len(history.results):
        raise ValueError("its columns differ in length")
    return history


def _order(what: str, how: Any) -> Any:
    return tuple(how) if isinstance(how, list) and what != "done" else how


def _take_results(
    history: ExecutionHistory,
    indices: list[int],
    attempts: list[int],
    numbers: list[int],
    bodies: list[bytes],
    special: list[Any],
    contracts: list[Any],
) -> None:
    keys = [ContractKey(*key) for key in contracts]
    # Iterators in C: a Python loop over a hundred thousand results costs more than reading them.
    rows = zip(map(keys.__getitem__, numbers), bodies, repeat(()), repeat(None))
    packed = map(Packed._make, rows)
    history.results.update(zip(indices, zip(attempts, packed, strict=True), strict=True))
    for index, buffers, blob in special:
        attempt, one = history.results[index]
        ref = None if blob is None else BlobRef(*blob)
        history.results[index] = (attempt, one._replace(buffers=tuple(buffers), blob=ref))


def _take_ended(
    history: ExecutionHistory,
    tasks: list[int],
    attempts: list[int],
    numbers: list[int],
    began: list[float],
    took: list[float],
    troubled: list[Any],
    executors: list[str],
) -> None:
    names = map(executors.__getitem__, numbers)
    history.ended.extend(zip(tasks, attempts, names, began, took, repeat(""), repeat("")))
    for at, code, message in troubled:
        *where, _, _ = history.ended[at]
        history.ended[at] = (*where, code, message)
