"""The updates of a running execution; see `ExecutionHandle.updates`."""

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
