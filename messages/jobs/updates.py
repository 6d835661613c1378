"""The updates of a running execution, and the record of its state.

Updates are contracts: they are streamed to the caller, and may be sent on to any actor.
Names follow the data-flow document (`AgentExecutionState`, `StateTransition`, ...), in
Python spelling.

A slow reader gets every `StateChanged`, `PhaseChanged` and `Finished`. `Progressed` and
`PartialResult` show the newest state and skip those between. Of `TaskTroubled`, only the
first `TROUBLES_MAX` are kept, and of `SubTaskPartial` the last `PARTIALS_KEPT`.
"""

import datetime as dt
from enum import StrEnum, auto
from typing import Any, Final

from pydantic import Field

from ..core.contract import Contract
from .execution import ExecutionStatus, StateTransition, StateTransitionTrigger

__all__ = [
    "DEPENDENCIES_SHOWN_MAX",
    "PARTIALS_KEPT",
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
    "SubTaskPartial",
    "TaskDependency",
    "TaskTroubled",
]

TROUBLES_MAX: Final = 1_000
"""Failed attempts of one execution that are reported one by one; all of them are counted."""

PARTIALS_KEPT: Final = 256
"""Partial results of sub-tasks that an execution keeps for its readers: those behind miss some."""

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
    """The id of the execution."""
    from_status: ExecutionStatus
    """The status before."""
    to: ExecutionStatus
    """The status now."""
    timestamp: float
    """Seconds since 1970."""
    trigger: StateTransitionTrigger
    """What caused the change."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Further plain values about the change, such as the error of a failure."""

    def transition(self) -> StateTransition:
        """The same transition, as it is journalled."""
        return StateTransition(
            self.from_status, self.to, self.timestamp, self.trigger, self.metadata
        )


class PhaseChanged(Contract, name="callboard.execution.phase_changed"):
    """The execution entered its next phase."""

    execution_id: str
    """The id of the execution."""
    phase: ExecutionPhase
    """The phase that begins now."""
    timestamp: float
    """Seconds since 1970."""


class Progressed(Contract, name="callboard.execution.progressed"):
    """The number of sub-tasks in each status, now."""

    execution_id: str
    """The id of the execution."""
    waiting: int
    """Sub-tasks that wait for others."""
    ready: int
    """Sub-tasks that could run and wait for an agent."""
    running: int
    """Sub-tasks that run on an agent."""
    backing_off: int
    """Sub-tasks that wait for their next attempt."""
    in_doubt: int = 0
    """Sub-tasks that wait for a decision, because an attempt may have run."""
    done: int
    """Sub-tasks with a result."""
    failed: int
    """Sub-tasks that have failed for good."""
    cancelled: int
    """Sub-tasks that were cancelled."""
    skipped: int
    """Sub-tasks that cannot run, because one that they need has no result."""
    total: int
    """All sub-tasks so far; a plan may grow."""
    fraction: float
    """The share of sub-tasks that have ended, from 0 to 1."""
    retries: int
    """Attempts after a first one, of all sub-tasks so far."""
    elapsed_s: float
    """Seconds since the start of the execution."""


class TaskTroubled(Contract, name="callboard.execution.task_troubled"):
    """An attempt of a sub-task failed."""

    execution_id: str
    """The id of the execution."""
    task_id: str
    """The id of the sub-task in the plan."""
    attempt: int
    """The number of the attempt, from 1; 0 when the sub-task has failed for good."""
    code: str
    """The code of the error, as `CallboardError.code` has it."""
    message: str
    """The error, for people."""
    retried: bool
    """Whether there will be another attempt."""


class PartialResult(Contract, name="callboard.execution.partial_result"):
    """The results so far, merged; other sub-tasks are still running."""

    execution_id: str
    """The id of the execution."""
    value: Any
    """What the job's reducer has made of these results; without a reducer, their list."""
    results: int
    """The number of results in `value`."""


class SubTaskPartial(Contract, name="callboard.execution.sub_task_partial"):
    """A partial result of one sub-task, which its agent has yielded and still works on."""

    execution_id: str
    """The id of the execution."""
    task_id: str
    """The id of the sub-task in the plan."""
    attempt: int
    """The attempt that yielded it, from 1: a retry begins again at 1."""
    number: int
    """Its place among the partial results of this attempt, from 1."""
    contract: str
    """The name of its contract."""
    value: Any
    """The partial result."""
    is_journalled: bool = False
    """Whether the journal has it; see `Job.streams`."""
    skipped: int = 0
    """How many before this one the reader has missed, because it was behind."""


class Finished(Contract, name="callboard.execution.finished"):
    """The end of the execution: every stream of updates ends with it."""

    execution_id: str
    """The id of the execution."""
    status: ExecutionStatus
    """Completed, failed or cancelled."""
    elapsed_s: float
    """Seconds from the start of the execution to its end."""
    result: Any = None
    """The result of the execution; None unless it completed."""
    error: dict[str, Any] | None = None
    """The error of the execution, as `CallboardError.to_data` gives it."""


ExecutionUpdate = (
    StateChanged
    | PhaseChanged
    | Progressed
    | TaskTroubled
    | PartialResult
    | SubTaskPartial
    | Finished
)
"""All updates that `ExecutionHandle.updates` gives; a closed set for `match`."""


class ExecutionMetrics(Contract, name="callboard.execution.metrics"):
    """The figures of one execution."""

    sub_tasks: int
    """All sub-tasks so far."""
    done: int
    """Sub-tasks with a result."""
    failed: int
    """Sub-tasks that have failed for good."""
    attempts: int
    """Attempts that were started."""
    retries: int
    """Attempts after a first one."""
    timeouts: int
    """Attempts that took longer than their limit."""
    host_losses: int
    """Attempts that were lost with their host."""
    running: int
    """Attempts that run now."""
    elapsed_s: float
    """Seconds from the start to now, or to the end."""


class TaskDependency(Contract, name="callboard.execution.task_dependency"):
    """A sub-task and the sub-tasks that it needs."""

    task_id: str
    """The id of the sub-task that waits."""
    needs: tuple[str, ...]
    """The ids of the sub-tasks that it needs."""


class ExecutionState(Contract, name="callboard.execution.state"):
    """The state of one execution, as `ExecutionHandle.state` gives it."""

    execution_id: str
    """The id of the execution."""
    agent_id: str
    """The host that runs the execution."""
    job: str
    """The name of the job."""
    status: ExecutionStatus
    """The status now."""
    current_phase: ExecutionPhase
    """The phase now."""
    start_time: dt.datetime
    """When it was submitted."""
    end_time: dt.datetime | None
    """When it ended; None before."""
    context: dict[str, Any]
    """The attributes that the caller submitted with the request."""
    intermediate_results: int
    """The number of results that have been collected."""
    metrics: ExecutionMetrics
    """Its figures."""
    dependencies: tuple[TaskDependency, ...]
    """Sub-tasks that need others and have not ended, at most `DEPENDENCIES_SHOWN_MAX`."""
    transitions: tuple[StateChanged, ...]
    """All changes of its status, the first one first."""
    error: dict[str, Any] | None = None
    """The error of a failed execution, as `CallboardError.to_data` gives it."""
