"""The event `grown`: sub-tasks in the journal.

A row is [id, contract, body] for a sub-task that has nothing but a request without buffers, and
otherwise [id, contract, body, buffers, needs, bind, priority, timeout, policy, weight, optional,
agent, key, non-idempotent]. `contract` and `policy` are places in the tables of the event; a
policy of -1 is the default. `needs` are the numbers of sub-tasks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from callboard.messages.core.contract import ContractKey
from callboard.messages.jobs.plan import SubTask
from callboard.messages.jobs.retry import RETRY_DEFAULT, RetryPolicy

from .encoding import Event, Kind, Packed

__all__ = ["Grown", "GrownWriter"]

DEFAULT_POLICY: Final = -1
PLAIN: Final = SubTask("", None)[2:]
"""The fields of a sub-task of which only id and request are written."""


class _Written(NamedTuple):
    """The layout of a row."""

    id: str
    contract: int
    body: bytes
    buffers: Sequence[bytes] = ()
    needs: Sequence[int] = ()
    bind: Mapping[str, Any] = {}
    priority: int = 0
    timeout_s: float | None = None
    policy: int = DEFAULT_POLICY
    weight: float = 1.0
    optional: bool = False
    agent: str | None = None
    key: str | None = None
    non_idempotent: bool = False


PLAIN_FIELDS: Final = 3


class Grown(Event):
    """Sub-tasks were added: by the plan, or by a result."""

    __slots__ = ("_contracts", "_fields", "_policies", "_rows", "parent")
    kind: ClassVar[Kind] = Kind.GROWN

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields: Final = fields
        self._contracts: Final = [ContractKey(*key) for key in fields["contracts"]]
        self._policies: Final = [_policy_of(*row) for row in fields["policies"]]
        self._rows: Final[list[list[Any]]] = fields["rows"]
        self.parent: Final[int | None] = fields["parent"]
        """The sub-task whose result added them; None for the plan."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Grown":
        """See `Event.of`."""
        return cls(fields)

    def fields(self) -> Mapping[str, Any]:
        """See `Event.fields`."""
        return self._fields

    def __len__(self) -> int:
        return len(self._rows)

    def ids(self) -> list[str]:
        """The id of each sub-task."""
        return [row[0] for row in self._rows]

    def contract_names(self) -> list[str]:
        """The contract name of each sub-task's request."""
        return [self._contracts[row[1]].name for row in self._rows]

    def needs(self) -> list[Sequence[int]]:
        """The numbers of the sub-tasks that each sub-task needs."""
        return [() if len(row) == PLAIN_FIELDS else _Written(*row).needs for row in self._rows]

    def is_non_idempotent(self, place: int) -> bool:
        """Whether the sub-task at this place must not run twice."""
        return bool(_Written(*self._rows[place]).non_idempotent)

    def sub_tasks(self, ids: Sequence[str], message: Callable[[Packed], Any]) -> Iterator[SubTask]:
        """The sub-tasks. `ids` has the ids of the whole plan; `message` decodes a request."""
        contracts = self._contracts
        for row in self._rows:
            if len(row) == PLAIN_FIELDS:
                id_, contract, body = row
                yield SubTask(id_, message(Packed(contracts[contract], body)))
            else:
                yield self._sub_task(_Written(*row), ids, message)

    def _sub_task(
        self, row: _Written, ids: Sequence[str], message: Callable[[Packed], Any]
    ) -> SubTask:
        return SubTask(
            row.id,
            message(Packed(self._contracts[row.contract], row.body, tuple(row.buffers))),
            tuple(ids[need] for need in row.needs),
            {name: to if isinstance(to, str) else tuple(to) for name, to in row.bind.items()},
            row.priority,
            row.timeout_s,
            RETRY_DEFAULT if row.policy < 0 else self._policies[row.policy],
            row.weight,
            row.optional,
            row.agent,
            row.key,
            row.non_idempotent,
        )

    def renumbered(self, numbers: Mapping[int, int]) -> "Grown":
        """The same event with other numbers of sub-tasks."""
        rows = []
        for row in self._rows:
            if len(row) == PLAIN_FIELDS:
                rows.append(row)
            else:
                written = _Written(*row)
                rows.append([*written._replace(needs=[numbers[need] for need in written.needs])])
        parent = None if self.parent is None else numbers[self.parent]
        return Grown({**self._fields, "rows": rows, "parent": parent})


class GrownWriter:
    """Packs sub-tasks into one event."""

    def __init__(self) -> None:
        self.bytes = 0
        """The size of all requests."""
        self._rows: Final[list[list[Any]]] = []
        self._contracts: Final[dict[ContractKey, int]] = {}
        self._policies: Final[dict[RetryPolicy, int]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, sub_task: SubTask, request: Packed, index_of: Mapping[str, int]) -> None:
        """Add a sub-task; `index_of` has the numbers of the sub-tasks that it needs."""
        self.bytes += len(request.body) + sum(map(len, request.buffers))
        contract = self._contracts.setdefault(request.contract, len(self._contracts))
        row: list[Any] = [sub_task.id, contract, request.body]
        if sub_task[2:] != PLAIN or request.buffers:
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
                sub_task.non_idempotent,
            ]
        self._rows.append(row)

    def _policy(self, policy: RetryPolicy) -> int:
        if policy is RETRY_DEFAULT:
            return DEFAULT_POLICY
        return self._policies.setdefault(policy, len(self._policies))

    def event(self, parent: int | None) -> Grown:
        """The event of all added sub-tasks, which grew out of `parent`."""
        return Grown(
            {
                "parent": parent,
                "contracts": [list(key) for key in self._contracts],
                "policies": [_policy_row(policy) for policy in self._policies],
                "rows": self._rows,
            }
        )


def _policy_row(policy: RetryPolicy) -> list[Any]:
    return [
        policy.attempts_max,
        policy.backoff_min_s,
        policy.factor,
        policy.backoff_max_s,
        policy.jitter,
        policy.host_losses_max,
        None if policy.retry_on is None else sorted(policy.retry_on),
    ]


def _policy_of(
    attempts_max: int,
    backoff_min_s: float,
    factor: float,
    backoff_max_s: float,
    jitter: float,
    host_losses_max: int,
    retry_on: Sequence[str] | None,
) -> RetryPolicy:
    return RetryPolicy(
        attempts_max=attempts_max,
        backoff_min_s=backoff_min_s,
        factor=factor,
        backoff_max_s=backoff_max_s,
        jitter=jitter,
        host_losses_max=host_losses_max,
        retry_on=None if retry_on is None else frozenset(retry_on),
    )
