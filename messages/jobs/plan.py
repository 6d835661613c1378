"""A plan: the work of one execution, as data.

A plan is a graph of sub-tasks without behaviour: the scheduler's core runs it, and a
journal stores it. Making a plan checks it and reports all problems together, so the code
that runs plans checks nothing again.

Invariants of a `Plan`: every id occurs once, every need is a sub-task of the same plan,
no sub-task needs itself through others, and every bound field names one of its needs.

Sub-tasks are named tuples without validation: a plan of 100,000 of them is ordinary, a
named tuple costs a quarter of a frozen dataclass, and one check of the whole plan costs
less than 100,000 checks.
"""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ..core.errors import PlanError
from ..core.names import problem_of, problems_of, shown
from .retry import RETRY_DEFAULT, RetryPolicy

__all__ = [
    "PROBLEMS_MAX",
    "SUB_TASKS_MAX",
    "Plan",
    "SubTask",
    "check_sub_tasks",
]

SUB_TASKS_MAX: Final = 1_000_000
"""The most sub-tasks of one execution, growth included: about 1 GB of scheduler state."""

PROBLEMS_MAX: Final = 20
"""The most problems that one `PlanError` lists."""

CYCLE_NAMES_MAX: Final = 12
"""A longer cycle is shown without its middle."""


_BINDS_NOTHING: Final[Mapping[str, str | tuple[str, ...]]] = {}
"""Shared by all sub-tasks that bind nothing. A plain dictionary, because it can be pickled."""


class SubTask(NamedTuple):
    """One piece of work: a request for an agent, and the sub-tasks that it needs.

    `bind` fills fields of the request at dispatch: a field bound to one id gets the result of
    that sub-task, and a field bound to a tuple of ids gets a tuple of their results.

    An `optional` sub-task that ends without a result (failed, cancelled or skipped) does not
    fail the execution: sub-tasks that need it run, and a field bound to it gets `None`.

    `agent` names the pool or agent that must run the sub-task. Without it, any agent that
    offers the request's contract may run it. Sub-tasks with the same `key` run on the same
    host while that host lives, so that the keyed agent behind them exists once.

    `timeout_s` limits each attempt, in seconds. Sub-tasks with a higher `priority` start
    first. `weight` is the expected cost, in any unit; it decides which path is the critical one.

    A `non_idempotent` sub-task has effects outside that must not happen twice and that no
    idempotency key protects: an attempt that may have run is never repeated. Then
    `Job.in_doubt` or a person decides.
    """

    id: str
    """Its id, unique in the plan."""
    request: Any  # a contract object; neither plan nor scheduler looks into it
    """The request for an agent: a contract."""
    needs: tuple[str, ...] = ()
    """The ids of the sub-tasks whose end it waits for."""
    bind: Mapping[str, str | tuple[str, ...]] = _BINDS_NOTHING
    """Fields of the request, and the sub-tasks whose results fill them."""
    priority: int = 0
    """Higher ones start first."""
    timeout_s: float | None = None
    """The limit of each attempt, in seconds; None for that of the job."""
    retry: RetryPolicy = RETRY_DEFAULT
    """How often, and when, it is tried again."""
    weight: float = 1.0
    """The expected cost, in any unit."""
    optional: bool = False
    """Whether the execution goes on without its result."""
    agent: str | None = None
    """The pool or agent that must run it; None for any that offers the contract."""
    key: str | None = None
    """Sub-tasks of one key run on one host."""
    non_idempotent: bool = False
    """Whether an attempt that may have run must not be repeated."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked graph of sub-tasks: every `Plan` can run.

    Raises:
        PlanError: lists all problems (up to `PROBLEMS_MAX`): cycles with their paths, missing
            needs, duplicate ids, wrong fields, or too many sub-tasks.
    """

    sub_tasks: tuple[SubTask, ...]
    """The sub-tasks, in the order in which they were given."""

    def __init__(self, sub_tasks: Iterable[SubTask] = ()) -> None:
        object.__setattr__(self, "sub_tasks", tuple(sub_tasks))
        check_sub_tasks(self.sub_tasks)

    def __len__(self) -> int:
        return len(self.sub_tasks)


def check_sub_tasks(
    sub_tasks: Sequence[SubTask], *, known: Container[str] = frozenset(), known_count: int = 0
) -> None:
    """Check `sub_tasks` as an addition to a valid plan with the ids `known`, in O(new).

    Only new sub-tasks can form a cycle: an old one never needs a new one.

    Raises:
        PlanError: lists every problem found, up to `PROBLEMS_MAX`.
    """
    total = known_count + len(sub_tasks)
    if total > SUB_TASKS_MAX:
        raise PlanError(
            f"A plan of {total} sub-tasks is over the limit of {SUB_TASKS_MAX}.",
            advice="Let one sub-task do more, or submit several executions.",
            limit=SUB_TASKS_MAX,
            count=total,
        )
    new = {sub_task.id: sub_task for sub_task in sub_tasks}
    problems = [f"the id {shown(id_)} {problem}" for id_, problem in problems_of(list(new))]
    if len(new) != len(sub_tasks):
        problems += _duplicates(sub_tasks)
    if known_count:
        problems += [f"{shown(id_)} is in the plan already" for id_ in new if id_ in known]
    tied = False
    for sub_task in sub_tasks:
        tied = tied or bool(sub_task.needs)
        # One chain of comparisons for the usual case keeps the check of 100,000 cheap.
        if not (
            sub_task.needs == ()
            and not sub_task.bind
            and 0 < sub_task.weight < math.inf
            and sub_task.timeout_s is None
            and sub_task.agent is None
            and sub_task.key is None
        ):
            problems += _wrong_fields(sub_task, new, known)
    cycles = _cycles(new) if tied else []
    problems += ["cycle: " + " -> ".join(_shortened(cycle)) for cycle in cycles]
    if problems:
        _raise_problems(problems, cycles)


def _raise_problems(problems: list[str], cycles: list[list[str]]) -> None:
    shown = problems[:PROBLEMS_MAX]
    more = f"; and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise PlanError(
        f"The plan has {count}: " + "; ".join(shown) + more + ".",
        advice="None of its sub-tasks ran: correct the plan and submit again.",
        problems=shown,
        problems_count=len(problems),
        cycle=_shortened(cycles[0]) if cycles else [],
    )


def _shortened(cycle: list[str]) -> list[str]:
    names = [shown(id_) for id_ in cycle]
    if len(names) <= CYCLE_NAMES_MAX:
        return names
    half = CYCLE_NAMES_MAX // 2
    return [*names[:half], f"({len(names) - 2 * half} more)", *names[-half:]]


def _duplicates(sub_tasks: Sequence[SubTask]) -> list[str]:
    times: dict[str, int] = {}
    for sub_task in sub_tasks:
        times[sub_task.id] = times.get(sub_task.id, 0) + 1
    return [f"the id {shown(id_)} occurs {n} times" for id_, n in times.items() if n > 1]


def _wrong_fields(
    sub_task: SubTask, new: Mapping[str, SubTask], known: Container[str]
) -> list[str]:
    name = shown(sub_task.id)
    problems = []
    for what, given in (("agent", sub_task.agent), ("key", sub_task.key)):
        wrong = None if given is None else problem_of(given)
        if wrong is not None:
            problems.append(f"the {what} {shown(given)} of {name} {wrong}")
    if not 0 < sub_task.weight < math.inf:
        problems.append(f"{name} has the weight {sub_task.weight}, not a positive number")
    if sub_task.timeout_s is not None and not 0 < sub_task.timeout_s < math.inf:
        problems.append(f"{name} has the timeout_s {sub_task.timeout_s}, not a positive number")
    if not _is_tuple(sub_task.needs):
        return [*problems, f"{name} has {type(sub_task.needs).__name__} as needs, not a tuple"]
    problems += [
        f"{name} needs {shown(need)}, which is not in the plan"
        for need in dict.fromkeys(sub_task.needs)
        if need not in new and need not in known
    ]
    for field_name, bound in sub_task.bind.items():
        ids = (bound,) if isinstance(bound, str) else bound
        problems += [
            f"{name} binds {field_name} to {shown(id_)}, which is not among its needs"
            for id_ in ids
            if id_ not in sub_task.needs
        ]
    return problems


def _cycles(new: Mapping[str, SubTask]) -> list[list[str]]:
    """A path for every edge that closes a cycle, up to PROBLEMS_MAX; depth first, no recursion.

    A path reads `a -> b -> a`: a needs b, b needs a.
    """
    found: list[list[str]] = []
    done: set[str] = set()
    for start in new:
        if start in done:
            continue
        path: dict[str, None] = {start: None}
        trail = [iter(_needs_of(new[start]))]
        while trail:
            need = next(trail[-1], None)
            if need is None:
                trail.pop()
                done.add(path.popitem()[0])
            elif need in path:
                names = list(path)
                found.append([*names[names.index(need) :], need])
                if len(found) == PROBLEMS_MAX:
                    return found
            elif need in new and need not in done:
                path[need] = None
                trail.append(iter(_needs_of(new[need])))
    return found


def _needs_of(sub_task: SubTask) -> tuple[str, ...]:
    # A needs="abc" is reported as a wrong field; here its letters must not count as ids.
    return sub_task.needs if _is_tuple(sub_task.needs) else ()


def _is_tuple(value: object) -> bool:
    # Typed as `object`: callers without a type checker pass other values.
    return isinstance(value, tuple)
