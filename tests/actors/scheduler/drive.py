"""Drives a scheduler's core in virtual time; an attempt takes the weight of its sub-task."""

from heapq import heappop, heappush
from typing import Any

from callboard.actors.scheduler.core import SchedulerCore
from callboard.actors.scheduler.effects import Dispatch
from callboard.messages.core.errors import CallboardError, HandlerFailed
from callboard.messages.jobs.plan import Plan, SubTask

OFFERS = frozenset({"review", "merge"})


def task(id_: str, *needs: str, **fields: Any) -> SubTask:
    """A sub-task for the agent `review`, unless said otherwise."""
    fields.setdefault("agent", "review")
    return SubTask(id_, request=None, needs=needs, **fields)


def started(*tasks: SubTask, credit: int = 1, **options: Any) -> SchedulerCore:
    """A core with one executor, `h1`."""
    core = SchedulerCore(Plan(tasks), **options)
    add_executor(core, credit=credit)
    return core


def add_executor(core: SchedulerCore, name: str = "h1", credit: int = 1) -> None:
    core.executor_available(name, credit, OFFERS)


def names(dispatches: list[Dispatch]) -> list[str]:
    return [dispatch.task_id for dispatch in dispatches]


def done(core: SchedulerCore, *dispatches: Dispatch, now: float = 0.0) -> None:
    """Report success; the result is the id in capitals."""
    core.tasks_done([(d.task_id, d.attempt, d.task_id.upper()) for d in dispatches], now)


def failed(
    core: SchedulerCore, dispatch: Dispatch, error: CallboardError | None = None, now: float = 0.0
) -> None:
    core.task_failed(dispatch.task_id, dispatch.attempt, error or flaky(), now, random=0.5)


def flaky() -> HandlerFailed:
    """A failure that a retry may avoid."""
    return HandlerFailed("it broke", remote_type="builtins.ValueError")


def broken() -> HandlerFailed:
    """A failure of every attempt."""
    return HandlerFailed("it is wrong", remote_type="builtins.TypeError")


def run_to_end(core: SchedulerCore) -> tuple[float, list[str]]:
    """Run on the core's executors until nothing runs; returns makespan and order."""
    now, order = 0.0, []
    ends: list[tuple[float, int, Dispatch]] = []
    while True:
        for dispatch in core.dispatch(now):
            order.append(dispatch.task_id)
            weight = core.sub_task(dispatch.task_id).weight
            heappush(ends, (now + weight, len(order), dispatch))
        if not ends:
            return now, order
        now, _, ended = heappop(ends)
        done(core, ended, now=now)
