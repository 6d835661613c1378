"""The updates of a running execution, and the record of its state.

Updates are contracts: they are streamed to the caller, and may be sent on to any actor.
Names follow the data-flow document (`AgentExecutionState`, `StateTransition`, ...), in
Python spelling.

A slow reader gets every `StateChanged`, `PhaseChanged` and `Finished`. `Progressed` and
`PartialResult` show the newest state and skip those between. Of `TaskTroubled`, only the
first `TROUBLES_MAX` are kept.
"""

import datetime as dt
from enum import StrEnum, auto
from typing import Any, Final

from pydantic import Field

from ..core.contract import Contract
from .execution import ExecutionStatus, StateTransition, StateTransitionTrigger

__all__ = [
    "DEPENDENCIES_SHOWN_MAX",
    "TROUBLES_MAX",
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

TROUBLES_MAX: Final = 1_000
"""Failed attempts of one execution that are reported one by one; all of them are counted."""

DEPENDENCIES_SHOWN_MAX: Final = 200
"""Dependencies that the record lists; the plan has all of them."""


class ExecutionPhase(StrEnum):
    """The phases of an execution, in their order."""

    VALIDATING = auto()
    ENRICHING = auto()
    ROUTING = auto()
    DECOMPOSING = auto()
    RUNNING = auto()
    """Scheduling, running on agents and collecting: results are reduced as they come."""
    MERGING = auto()
    RESOLVING = auto()
    CHECKING = auto()
    TRANSFORMING = auto()
    FORMATTING = auto()
    DELIVERING = auto()
    ENDED = auto()


class StateChanged(Contract, name="callboard.execution.state_changed"):
    """The status of the execution changed."""

    execution_id: str
    from_status: ExecutionStatus
    to: ExecutionStatus
    timestamp: float
    """Seconds since 1970."""
    trigger: StateTransitionTrigger
    metadata: dict[str, Any] = Field(default_factory=dict)

    def transition(self) -> StateTransition:
        """The same transition, as it is journalled."""
        return StateTransition(
            self.from_status, self.to, self.timestamp, self.trigger, self.metadata
        )


class PhaseChanged(Contract, name="callboard.execution.phase_changed"):
    """The execution entered its next phase."""

    execution_id: str
    phase: ExecutionPhase
    timestamp: float


class Progressed(Contract, name="callboard.execution.progressed"):
    """The number of sub-tasks in each status, now."""

    execution_id: str
    waiting: int
    ready: int
    running: int
    backing_off: int
    in_doubt: int = 0
    done: int
    failed: int
    cancelled: int
    skipped: int
    total: int
    """All sub-tasks so far; a plan may grow."""
    fraction: float
    """The share of sub-tasks that have ended, from 0 to 1."""
    retries: int
    elapsed_s: float


class TaskTroubled(Contract, name="callboard.execution.task_troubled"):
    """An attempt of a sub-task failed."""

    execution_id: str
    task_id: str
    attempt: int
    """The number of the attempt, from 1; 0 when the sub-task has failed for good."""
    code: str
    message: str
    retried: bool


class PartialResult(Contract, name="callboard.execution.partial_result"):
    """The results so far, merged; other sub-tasks are still running."""

    execution_id: str
    value: Any
    results: int
    """The number of results in `value`."""


class Finished(Contract, name="callboard.execution.finished"):
    """The end of the execution: every stream of updates ends with it."""

    execution_id: str
    status: ExecutionStatus
    elapsed_s: float
    result: Any = None
    """The result of the execution; None unless it completed."""
    error: dict[str, Any] | None = None
    """The error of the execution, as `CallboardError.to_data` gives it."""


ExecutionUpdate = StateChanged | PhaseChanged | Progressed | TaskTroubled | PartialResult | Finished
"""All updates that `ExecutionHandle.updates` gives; a closed set for `match`."""


class ExecutionMetrics(Contract, name="callboard.execution.metrics"):
    """The figures of one execution."""

    sub_tasks: int
    done: int
    failed: int
    attempts: int
    retries: int
    timeouts: int
    host_losses: int
    running: int
    elapsed_s: float


class TaskDependency(Contract, name="callboard.execution.task_dependency"):
    """A sub-task and the sub-tasks that it needs."""

    task_id: str
    needs: tuple[str, ...]


class ExecutionState(Contract, name="callboard.execution.state"):
    """The state of one execution, as `ExecutionHandle.state` gives it."""

    execution_id: str
    agent_id: str
    """The host that runs the execution."""
    job: str
    status: ExecutionStatus
    current_phase: ExecutionPhase
    start_time: dt.datetime
    end_time: dt.datetime | None
    context: dict[str, Any]
    """The attributes that the caller submitted with the request."""
    intermediate_results: int
    """The number of results that have been collected."""
    metrics: ExecutionMetrics
    dependencies: tuple[TaskDependency, ...]
    """Sub-tasks that need others and have not ended, at most `DEPENDENCIES_SHOWN_MAX`."""
    transitions: tuple[StateChanged, ...]
    error: dict[str, Any] | None = None
    """The error of a failed execution, as `CallboardError.to_data` gives it."""
