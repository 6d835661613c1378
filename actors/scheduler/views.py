"""Views of one execution's scheduler; they change nothing."""

from collections.abc import Sequence

from callboard.messages.core.errors import CallboardError
from callboard.messages.jobs.execution import ExecutionStatus, Progress, TaskStatus
from callboard.messages.jobs.plan import SubTask

from .attempts import Attempts
from .executor_pool import ExecutorPool
from .flow import TaskFlow
from .graph import STATUSES, TaskGraph
from .statistics import ExecutorStatistics, SchedulerStatistics, UnservedKind

__all__ = ["SchedulerViews"]


class SchedulerViews:
    """The views of a `SchedulerCore`."""

    _flow: TaskFlow
    _graph: TaskGraph
    _attempts: Attempts
    _pool: ExecutorPool
    _status: ExecutionStatus
    _attempts_started: int
    _retries: int
    _timeouts: int
    _host_losses: int
    _stale_reports: int
    _cancels_unanswered: int

    def status_of(self, task_id: str) -> TaskStatus:
        """The state of one sub-task."""
        return STATUSES[self._graph.status[self._graph.index[task_id]]]

    def sub_task(self, task_id: str) -> SubTask:
        """One sub-task of the plan."""
        return self._graph.sub_tasks[self._graph.index[task_id]]

    def sub_tasks(self) -> Sequence[SubTask]:
        """All known sub-tasks, in the order of their addition."""
        return self._graph.sub_tasks

    def error_of(self, task_id: str) -> CallboardError | None:
        """The error of a sub-task that failed for good; `None` if it did not."""
        return self._attempts.errors.get(self._graph.index[task_id])

    def result_of(self, task_id: str) -> object:
        """The handle of a finished sub-task's result; `None` if it has none."""
        return self._attempts.results[self._graph.index[task_id]]

    def bindings_of(self, task_id: str) -> dict[str, object]:
        """The result handles for the bound fields; `None` for an absent optional need."""
        return {
            name: self.result_of(bound)
            if isinstance(bound, str)
            else tuple(self.result_of(id_) for id_ in bound)
            for name, bound in self.sub_task(task_id).bind.items()
        }

    @property
    def status(self) -> ExecutionStatus:
        """The status of the execution."""
        return self._status

    def progress(self) -> Progress:
        """The number of sub-tasks in each state, in constant time."""
        return Progress(*self._graph.count_by_status)

    def unserved(self) -> tuple[UnservedKind, ...]:
        """Kinds with ready sub-tasks that no executor offered at the last `dispatch`."""
        return tuple(
            UnservedKind(kind.name, kind.ready, kind.unserved_since)
            for kind in self._pool.kinds.values()
            if kind.unserved_since is not None and kind.ready
        )

    def statistics(self) -> SchedulerStatistics:
        """The state and the counters of the execution."""
        return SchedulerStatistics(
            status=self._status,
            progress=self.progress(),
            attempts_started=self._attempts_started,
            attempts_running=len(self._attempts.running),
            attempts_cancelling=len(self._attempts.cancelling),
            retries=self._retries,
            timeouts=self._timeouts,
            host_losses=self._host_losses,
            stale_reports=self._stale_reports,
            cancels_unanswered=self._cancels_unanswered,
            deadlines=len(self._flow.deadlines),
            executors=tuple(
                ExecutorStatistics(
                    executor.executor_id, executor.credit, executor.occupied, len(executor.parked)
                )
                for executor in self._pool.executors.values()
            ),
            unserved=self.unserved(),
        )
