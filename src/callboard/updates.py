"""The updates of a running execution; see `ExecutionHandle.updates`.

`StatusLines` shows them where there is no terminal.
"""

from callboard.actors.executions.executors import ExecutorFigures
from callboard.actors.executions.record import ExecutionStatistics
from callboard.actors.scheduler.statistics import (
    ExecutorStatistics,
    SchedulerStatistics,
    UnservedKind,
)
from callboard.messages.jobs.execution import Progress, StateTransition
from callboard.messages.jobs.updates import (
    ExecutionMetrics,
    ExecutionPhase,
    ExecutionState,
    ExecutionUpdate,
    Finished,
    PartialResult,
    PhaseChanged,
    Progressed,
    StateChanged,
    SubTaskPartial,
    TaskDependency,
    TaskTroubled,
)
from callboard.runtime.api.status_lines import StatusLines

__all__ = [
    "ExecutionMetrics",
    "ExecutionPhase",
    "ExecutionState",
    "ExecutionStatistics",
    "ExecutionUpdate",
    "ExecutorFigures",
    "ExecutorStatistics",
    "Finished",
    "PartialResult",
    "PhaseChanged",
    "Progress",
    "Progressed",
    "SchedulerStatistics",
    "StateChanged",
    "StateTransition",
    "StatusLines",
    "SubTaskPartial",
    "TaskDependency",
    "TaskTroubled",
    "UnservedKind",
]
