"""What an execution tells while it runs, and the record that says where it stands.

Updates are contracts: they are streamed to the caller, and may be sent on to anybody.
Names follow the data-flow document (`AgentExecutionState`, `StateTransition`, ...), in
Python spelling.

What a slow reader may miss is decided by kind: `StateChanged`, `PhaseChanged` and
`Finished` are never dropped, `Progressed` and `PartialResult` always show the newest
state and skip what came between, and of `TaskTroubled` only the first
`TROUBLES_MAX` are kept.
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
"""Failed attempts that one execution tells one by one; all of them are counted."""

DEPENDENCIES_SHOWN_MAX: Final = 200
"""Dependencies that the record lists: it is for looking, the plan is the whole truth."""


class ExecutionPhase(StrEnum):
    """How far an execution is on its way; the order here is the order of the way."""

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
    """The execution stepped from one status to another."""

    execution_id: str
    from_status: ExecutionStatus
    to: ExecutionStatus
    timestamp: float
    """Seconds since 1970."""
    trigger: StateTransitionTrigger
    metadata: dict[str, Any] = Field(default_factory=dict)

    def transition(self) -> StateTransition:
        """The same as it is journalled."""
        return StateTransition(
            self.from_status, self.to, self.timestamp, self.trigger, self.metadata
        )


class PhaseChanged(Contract, name="callboard.execution.phase_changed"):
    """The execution came to the next part of its way."""

    execution_id: str
    phase: ExecutionPhase
    timestamp: float


class Progressed(Contract, name="callboard.execution.progressed"):
    """How many sub-tasks stand where, now."""

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
    """All that are known so far; a plan may grow."""
    fraction: float
    """The ended share of all, within 0 and 1."""
    retries: int
    elapsed_s: float


class TaskTroubled(Contract, name="callboard.execution.task_troubled"):
    """An attempt of a sub-task failed."""

    execution_id: str
    task_id: str
    attempt: int
    """0 when the sub-task has failed for good."""
    code: str
    message: str
    retried: bool


class PartialResult(Contract, name="callboard.execution.partial_result"):
    """What the results so far reduce to; the rest is still running."""

    execution_id: str
    value: Any
    results: int
    """How many results are in it."""


class Finished(Contract, name="callboard.execution.finished"):
    """The end: always the last update, and always there."""

    execution_id: str
    status: ExecutionStatus
    elapsed_s: float
    result: Any = None
    """What `ExecutionHandle.result` gives; None unless the execution completed."""
    error: dict[str, Any] | None = None
    """What it raises, as data (`messages.errors.error_from_data`)."""


ExecutionUpdate = StateChanged | PhaseChanged | Progressed | TaskTroubled | PartialResult | Finished
"""Everything that `ExecutionHandle.updates` gives; a closed vocabulary for `match`."""


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
    """A sub-task that needs others."""

    task_id: str
    needs: tuple[str, ...]


class ExecutionState(Contract, name="callboard.execution.state"):
    """Where one execution stands: the record that is shown, cached and stored."""

    execution_id: str
    agent_id: str
    """The host that drives it."""
    job: str
    status: ExecutionStatus
    current_phase: ExecutionPhase
    start_time: dt.datetime
    end_time: dt.datetime | None
    context: dict[str, Any]
    """What the caller gave along."""
    intermediate_results: int
    """How many results have been collected."""
    metrics: ExecutionMetrics
    dependencies: tuple[TaskDependency, ...]
    """Open ones, at most `DEPENDENCIES_SHOWN_MAX`."""
    transitions: tuple[StateChanged, ...]
    error: dict[str, Any] | None = None
