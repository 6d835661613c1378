"""Makes the plan that runs of a plan-maker's sub-tasks: checked, with the job's defaults.

A plan of 100,000 sub-tasks takes a tenth of a second to prepare. So a large plan is prepared in
a thread, and a generator runs in slices.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import PlanError
from callboard.messages.jobs.execution import TASK_TRANSITIONS
from callboard.messages.jobs.job import Job, Route
from callboard.messages.jobs.plan import PROBLEMS_MAX, Plan, SubTask
from callboard.messages.jobs.retry import RETRY_DEFAULT
from callboard.messages.jobs.updates import DEPENDENCIES_SHOWN_MAX, TaskDependency

from ..scheduler.core import SchedulerCore
from ..scheduler.effects import TaskDone
from .collector import Collector

if TYPE_CHECKING:
    from ..kernel.host.host import Host
    from .executors import Executors
    from .history.replay import Replay

__all__ = ["PLAN_INLINE_MAX", "Preparation", "gather_sub_tasks"]

PLAN_INLINE_MAX: Final = 4_000
"""A plan of more sub-tasks than this, some 10 ms of work, is prepared in a thread."""

DEPENDENCIES_CHECKED_MAX: Final = 2_000
"""The most sub-tasks that one call of `dependencies` checks."""

ENDED: Final = frozenset(status for status, steps in TASK_TRANSITIONS.items() if not steps)

TAKEN_AT_ONCE: Final = 1_024
"""Sub-tasks that a generator yields before the event loop gets its turn."""


async def gather_sub_tasks(made: Plan | Iterable[SubTask]) -> Plan | tuple[SubTask, ...]:
    """All sub-tasks of a plan-maker; a generator runs in slices."""
    if isinstance(made, Plan):
        return made
    if not isinstance(made, Iterator):
        return tuple(made)
    gathered: list[SubTask] = []
    while some := list(islice(made, TAKEN_AT_ONCE)):
        gathered += some
        await asyncio.sleep(0)
    return tuple(gathered)


class Preparation:
    """Makes the scheduler's core of one execution, and prepares additions to its plan."""

    def __init__(
        self,
        host: "Host",
        job: Job[Any, Any],
        route: Route,
        executors: "Executors",
        collector: Collector,
    ) -> None:
        self._host = host
        self._job = job
        self._agents = dict(route.agents)
        self._executors = executors
        self._collector = collector
        self._made: SchedulerCore | None = None
        self._dependent: deque[SubTask] = deque()
        """Sub-tasks that need others; the first one has not ended."""
        self._has_defaults = (
            job.task_timeout_s is not None or job.task_retry is not None or job.task_priority != 0
        )

    async def core(self, made: Plan | Sequence[SubTask]) -> SchedulerCore:
        """The core that runs these sub-tasks. Raises `PlanError`."""
        if len(made) <= PLAN_INLINE_MAX:
            return self._core(made)
        core: SchedulerCore = await self._host.dispatcher.run_in_thread(self._core, made)
        return core

    async def restored(self, replay: "Replay") -> SchedulerCore:
        """The core of a resumed execution. Raises what decoding its messages raises."""
        core: SchedulerCore = await self._host.dispatcher.run_in_thread(self._restored, replay)
        return core

    def _restored(self, replay: "Replay") -> SchedulerCore:
        core = self._core(replay.plan())
        replay.apply(core, self._collector, self._host.now())
        self._collector.take(
            [effect for effect in core.take_effects() if type(effect) is TaskDone], core
        )
        replay.leave_doubts(core)  # These are new: the run handles them.
        return core

    def _core(self, made: Plan | Sequence[SubTask]) -> SchedulerCore:
        job = self._job
        sub_tasks = made.sub_tasks if isinstance(made, Plan) else made
        complete = self.complete(sub_tasks)
        is_checked = isinstance(made, Plan) and complete is sub_tasks
        plan = made if is_checked and isinstance(made, Plan) else Plan(complete)
        self._collector.admit(plan.sub_tasks)
        self._dependent.extend(sub_task for sub_task in plan.sub_tasks if sub_task.needs)
        self._made = SchedulerCore(
            plan,
            concurrency_max=job.concurrency_max,
            concurrency_max_by_kind=job.concurrency_max_by_kind,
            on_failure=job.on_failure,
            kind_of=self._kind_of,
            open_ended=job.expand is not None,
        )
        return self._made

    def dependencies(self) -> tuple[TaskDependency, ...]:
        """Sub-tasks that need others and have not ended, the first `DEPENDENCIES_SHOWN_MAX`."""
        core = self._made
        assert core is not None
        while self._dependent and core.status_of(self._dependent[0].id) in ENDED:
            self._dependent.popleft()
        checked = islice(self._dependent, DEPENDENCIES_CHECKED_MAX)
        open_ones = (task for task in checked if core.status_of(task.id) not in ENDED)
        return tuple(
            TaskDependency(task_id=task.id, needs=task.needs)
            for task in islice(open_ones, DEPENDENCIES_SHOWN_MAX)
        )

    def expand(self, sub_task: SubTask, result: Any) -> Sequence[SubTask]:
        """The sub-tasks that the job's `expand` adds for a result, with the job's defaults."""
        assert self._job.expand is not None
        more = self._job.expand(sub_task, result)
        added = self.complete(tuple(more)) if more else ()
        self._dependent.extend(task for task in added if task.needs)
        return added

    def complete(self, sub_tasks: Sequence[SubTask]) -> Sequence[SubTask]:
        """The sub-tasks with the job's defaults. Raises `PlanError` for a wrong request."""
        wrong = [task for task in sub_tasks if not isinstance(task.request, Contract)]
        if wrong:
            shown = ", ".join(
                f"{task.id!r} has a {type(task.request).__qualname__}"
                for task in wrong[:PROBLEMS_MAX]
            )
            raise PlanError(
                f"{len(wrong)} sub-tasks have no contract as their request: {shown}.",
                advice="Derive the class of the request from Request. None of these sub-tasks ran.",
            )
        if not self._has_defaults:
            return sub_tasks
        return tuple(self._with_defaults(sub_task) for sub_task in sub_tasks)

    def _with_defaults(self, sub_task: SubTask) -> SubTask:
        job = self._job
        timeout_s, retry = sub_task.timeout_s, sub_task.retry
        return sub_task._replace(
            timeout_s=job.task_timeout_s if timeout_s is None else timeout_s,
            priority=sub_task.priority or job.task_priority,
            retry=job.task_retry if retry is RETRY_DEFAULT and job.task_retry else retry,
        )

    def _kind_of(self, sub_task: SubTask) -> str:
        kind = sub_task.agent
        if kind is None:
            name: str = sub_task.request.contract_name
            kind = self._agents.get(name, name) if self._agents else name
        self._executors.want(kind)
        return kind
