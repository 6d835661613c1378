"""The events of an execution, and how each is packed.

They stand in the stream `execution/<id>`. An event holds the change and never the state: what a
step costs in the journal is bounded by the step's own data. All that happened in one turn of
the scheduler is one event, so a busy turn costs one row of the log, not one a sub-task.

| kind | what it says | fields |
|---|---|---|
| submitted | somebody wants this | id, job, request, attributes, at, by, driver |
| entered | the next phases of its way | phases: [name, at] |
| planned | the plan is made; its sub-tasks follow in `grown` | agents, plan_maker, sub_tasks |
| grown | sub-tasks were added | parent, contracts, policies, rows |
| began | attempts that must not run twice are about to run | at, rows: [index, attempt] |
| moved | what became of attempts and sub-tasks in one turn | see `Moved` |
| stepped | the status changed | from, to, at, trigger, metadata |
| resumed | another owner goes on | by, at |
| lost | results that had been stored as blobs are gone | rows: [index, attempt, why], by, at |
| decided | a person or a policy settled a step in doubt | index, decision, by, at |
| forked | the first: begins with what another did | of, version, from, sub_tasks, shared, at, by |

Sub-tasks are numbered in the order in which they were added, over all `grown` events. A message
is packed as in a frame: the number of its contract in the event's own table, its body, and the
buffers beside it if there are any. A result that is too large stands in a blob: in its row the body
is empty, there are no buffers, and behind them stands the reference, [digest, bytes].
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgpack

from callboard.messages.blobs import BlobRef
from callboard.messages.contract import ContractKey
from callboard.messages.plan import SubTask
from callboard.messages.retry import RETRY_DEFAULT, RetryPolicy
from callboard.messages.storage_errors import StoreDamaged

__all__ = [
    "PREFIX",
    "Kind",
    "Moved",
    "Packed",
    "RowReader",
    "RowWriter",
    "pack",
    "policy_from_row",
    "stream_of",
    "unpack",
]

PREFIX: Final = "execution/"


def stream_of(execution_id: str) -> str:
    """The stream of one execution."""
    return PREFIX + execution_id


class Kind(StrEnum):
    """The kinds of events; a closed vocabulary."""

    SUBMITTED = "callboard.execution.submitted"
    ENTERED = "callboard.execution.entered"
    PLANNED = "callboard.execution.planned"
    GROWN = "callboard.execution.grown"
    BEGAN = "callboard.execution.began"
    MOVED = "callboard.execution.moved"
    STEPPED = "callboard.execution.stepped"
    RESUMED = "callboard.execution.resumed"
    LOST = "callboard.execution.lost"
    DECIDED = "callboard.execution.decided"
    FORKED = "callboard.execution.forked"


class Packed(NamedTuple):
    """A message as it was encoded."""

    contract: ContractKey
    body: bytes
    buffers: tuple[bytes, ...] = ()
    blob: BlobRef | None = None
    """Where body and buffers are, when they are not here."""

    @classmethod
    def beside(cls, contract: ContractKey, body: bytes, more: Sequence[Any]) -> "Packed":
        """A result out of its row; `more` is what stands behind the body."""
        return cls(contract, body, tuple(more[0]), BlobRef(*more[1]) if len(more) > 1 else None)


class Moved(NamedTuple):
    """One turn of the scheduler.

    Times are microseconds: `began` before `at`, and how long the attempt took.
    """

    at: float
    """When the turn was, in seconds since 1970."""
    lanes: list[str]
    """Where attempts ran: rows name a lane by its place here."""
    contracts: list[list[Any]]
    done: list[list[Any]]
    """[index, attempt, lane, began, took, contract, body, buffers if any, blob if any]"""
    troubled: list[list[Any]]
    """[index, attempt, lane, began, took, code, message, is the host's fault]: tried again"""
    failed: list[list[Any]]
    """[index, error as data; attempt, lane, began, took if one was under way]: failed for good"""
    cancelled: list[int]
    skipped: list[int]
    doubtful: list[list[Any]]
    """[index, attempt, code, message, lane, began, took]: may have run, and must not run twice

    Without the last three of an attempt whose owner had ended."""


MOVED_FIELDS: Final = Moved._fields


def pack(fields: Mapping[str, Any]) -> bytes:
    """The data of an event."""
    data: bytes = msgpack.packb(fields)
    return data


def unpack(kind: str, data: bytes) -> dict[str, Any]:
    """The fields of an event; raises `StoreDamaged`."""
    try:
        fields = msgpack.unpackb(data, strict_map_key=False)
    except Exception as error:
        raise StoreDamaged(
            f"an event {kind} of {len(data)} bytes does not decode: {error!r}."
        ) from error
    if not isinstance(fields, dict):
        raise StoreDamaged(f"an event {kind} holds a {type(fields).__name__}, not fields.")
    return fields


class RowWriter:
    """Packs sub-tasks into the rows of one `grown` event."""

    def __init__(self) -> None:
        self.contracts: Final[dict[ContractKey, int]] = {}
        self.policies: Final[list[list[Any]]] = []
        self.rows: Final[list[list[Any]]] = []
        self.bytes = 0
        self._policies: dict[RetryPolicy, int] = {}

    def contract(self, key: ContractKey) -> int:
        """The number of a contract in this event."""
        return self.contracts.setdefault(key, len(self.contracts))

    def add(self, sub_task: SubTask, request: Packed, index_of: Mapping[str, int]) -> None:
        """Add one; `index_of` numbers what it needs."""
        self.bytes += len(request.body) + sum(map(len, request.buffers))
        row: list[Any] = [sub_task.id, self.contract(request.contract), request.body]
        if sub_task[2:] != _PLAIN or request.buffers:
            row += [
                list(request.buffers),
                [index_of[need] for need in sub_task.needs],
                dict(sub_task.bind),
                sub_task.priority,
                sub_task.timeout_s,
                self._policy(sub_task.retry),
                sub_task.weight,
                sub_task.optional,
                sub_task.agent,
                sub_task.key,
                sub_task.unsafe,
            ]
        self.rows.append(row)

    def _policy(self, policy: RetryPolicy) -> int:
        if policy is RETRY_DEFAULT:
            return -1
        number = self._policies.get(policy)
        if number is None:
            number = self._policies[policy] = len(self.policies)
            retry_on = None if policy.retry_on is None else sorted(policy.retry_on)
            self.policies.append(
                [
                    policy.attempts_max,
                    policy.backoff_min_s,
                    policy.factor,
                    policy.backoff_max_s,
                    policy.jitter,
                    policy.host_losses_max,
                    retry_on,
                ]
            )
        return number

    def fields(self, parent: int | None) -> dict[str, Any]:
        """The event's fields."""
        return {
            "parent": parent,
            "contracts": [list(key) for key in self.contracts],
            "policies": self.policies,
            "rows": self.rows,
        }


_PLAIN: Final = SubTask("", None)[2:]


def policy_from_row(row: Sequence[Any]) -> RetryPolicy:
    """A retry policy as `RowWriter` packed it."""
    attempts_max, backoff_min_s, factor, backoff_max_s, jitter, host_losses_max, retry_on = row
    return RetryPolicy(
        attempts_max=attempts_max,
        backoff_min_s=backoff_min_s,
        factor=factor,
        backoff_max_s=backoff_max_s,
        jitter=jitter,
        host_losses_max=host_losses_max,
        retry_on=None if retry_on is None else frozenset(retry_on),
    )


class RowReader:
    """Reads the rows of one `grown` event."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields: Final = fields
        self.contracts: Final = [ContractKey(*key) for key in fields["contracts"]]
        self.policies: Final = [policy_from_row(row) for row in fields["policies"]]
        self.rows: Final[list[list[Any]]] = fields["rows"]
        self.parent: Final[int | None] = fields["parent"]

    def packed(self, row: Sequence[Any]) -> Packed:
        """The request of a row."""
        return Packed(self.contracts[row[1]], row[2], tuple(row[3]) if len(row) > 3 else ())

    def sub_task(self, row: Sequence[Any], request: Any, ids: Sequence[str]) -> SubTask:
        """The sub-task of a row; `ids` are those of all sub-tasks in order."""
        if len(row) == 3:
            return SubTask(row[0], request)
        _, _, _, _, needs, bind, priority, timeout_s, policy, *rest = row
        weight, optional, agent, key, unsafe = rest
        return SubTask(
            row[0],
            request,
            tuple(ids[need] for need in needs),
            {name: to if isinstance(to, str) else tuple(to) for name, to in bind.items()},
            priority,
            timeout_s,
            RETRY_DEFAULT if policy < 0 else self.policies[policy],
            weight,
            optional,
            agent,
            key,
            unsafe,
        )
