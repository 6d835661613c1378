"""The updates of a running execution; see `ExecutionHandle.updates`.

`StatusLines` shows them where there is no terminal.
"""

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
    TaskDependency,
    TaskTroubled,
)
from callboard.runtime.api.status_lines import StatusLines

__all__ = [
    "ExecutionMetrics",
    "ExecutionPhase",
    "ExecutionState",
    "ExecutionUpdate",
    "Finished",
    "PartialResult",
    "PhaseChanged",
    "Progressed",
    "StateChanged",
    "StatusLines",
    "TaskDependency",
    "TaskTroubled",
]
