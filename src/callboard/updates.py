"""What an execution says of itself while it runs; see `ExecutionHandle.updates`."""

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
    "TaskDependency",
    "TaskTroubled",
]
